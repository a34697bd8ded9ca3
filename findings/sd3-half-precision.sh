#!/usr/bin/env bash
# Stable Diffusion 3's transformer stays in float32 when diffusers is asked for bfloat16 without accelerate.
#
# Expected: docstring of ModelMixin.from_pretrained: "dtype: Override the default torch.dtype and load the model with another
#   dtype". Flux's transformer, and the UNets, do.
# What happens: without accelerate (or with low_cpu_mem_usage=False) the dtype of the FIRST tensor decides whether the file's
#   tensors are copied into the model's or put in their place. SD3's first is its table of positions, float32 in the file and
#   by design in the model, so the file's float32 tensors replace all the bfloat16 ones. Nothing is logged.
# Versions: diffusers 0.42.1, torch 2.13.0.
# Why it matters here: twice the memory and another arithmetic than the run records; the autoencoder and text encoders beside it
#   are in bfloat16, so the precision is not even the same within one pipeline.
# What to do instead: `.to(torch.bfloat16)` after opening, or install accelerate; assert the dtype of the parameters.
set -euo pipefail
export HF_HUB_OFFLINE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 diffusers==0.42.1

"$work/venv/bin/python" - "$work" <<'PY'
import sys
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel

small = dict(patch_size=1, in_channels=4, num_layers=1, num_attention_heads=2, joint_attention_dim=16, pooled_projection_dim=16)
models = {
    "SD3": SD3Transformer2DModel(
        **small, sample_size=8, attention_head_dim=8, caption_projection_dim=16, out_channels=4, pos_embed_max_size=8
    ),
    "Flux": FluxTransformer2DModel(**small, num_single_layers=1, attention_head_dim=16, axes_dims_rope=(4, 4, 8)),
}
seen = {}
for name, model in models.items():
    model.save_pretrained(f"{sys.argv[1]}/{name}")
    opened = type(model).from_pretrained(f"{sys.argv[1]}/{name}", dtype=torch.bfloat16, low_cpu_mem_usage=False)
    seen[name] = {str(parameter.dtype) for parameter in opened.parameters()}
    print(f"{name}: first tensor {next(iter(model.state_dict()))}, asked for bfloat16, parameters are {seen[name]}")
if seen != {"SD3": {"torch.float32"}, "Flux": {"torch.bfloat16"}}:
    sys.exit(f"changed: {seen}")
PY
