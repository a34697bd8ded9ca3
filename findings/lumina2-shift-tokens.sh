#!/usr/bin/env bash
# With dynamic shifting, Lumina 2's pipeline shifts by the number of latent channels: the same for every size of picture.
#
# Expected: docstring of FlowMatchEulerDiscreteScheduler: `use_dynamic_shifting` is "whether to apply timestep shifting
#   on-the-fly based on the image resolution", from `base_shift` at `base_image_seq_len` to `max_shift` at `max_image_seq_len`.
# What happens: the pipeline takes `latents.shape[1]` for the length of the sequence. That is right where latents are packed
#   into tokens first, as for Flux; here they are not, and it is their channels, 16. Pictures of 256 and of 1024 pixels a side
#   (256 and 4096 tokens) get mu = 0.459 where 0.5 and 1.15 are meant. Nothing is logged. A fixed shift is not affected.
#   Known upstream (diffusers issue 12913).
# Versions: diffusers 0.42.1, transformers 5.23.0, torch 2.13.0.
# Why it matters here: the levels that are visited are half of what makes a sampler, and a scheduler of another flow model put
#   in for a comparison often shifts dynamically. At 1024 pixels the middle of two steps is at sigma 0.613 in place of 0.760.
# What to do instead: for each size set `base_shift` and `max_shift` both to the mu that is meant; or hand over a scheduler
#   with use_dynamic_shifting=False and shift=exp(mu).
set -euo pipefail
export HF_HUB_OFFLINE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 diffusers==0.42.1 transformers==5.23.0

"$work/venv/bin/python" - <<'PY'
import math
import sys
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, Lumina2Pipeline, Lumina2Transformer2DModel

heads = dict(num_attention_heads=2, num_kv_heads=1, axes_dim_rope=(4, 6, 6), axes_lens=(64, 64, 64))
transformer = Lumina2Transformer2DModel(
    in_channels=16, hidden_size=32, num_layers=1, num_refiner_layers=1, multiple_of=16, cap_feat_dim=16, **heads
)
blocks = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
vae = AutoencoderKL(**blocks, block_out_channels=(4,) * 4, norm_num_groups=2, latent_channels=16)
text = dict(prompt_embeds=torch.zeros(1, 4, 16), prompt_attention_mask=torch.ones(1, 4, dtype=torch.long))


def middle(side, **shifts):
    """Sigma after one of two steps, and the number of tokens that the network saw."""
    scheduler = FlowMatchEulerDiscreteScheduler(**shifts)
    pipe = Lumina2Pipeline(transformer=transformer, scheduler=scheduler, vae=vae, text_encoder=None, tokenizer=None)
    pipe.set_progress_bar_config(disable=True)
    settings = dict(num_inference_steps=2, guidance_scale=1.0, output_type="latent")
    latents = pipe(height=side, width=side, **text, **settings).images
    return scheduler.sigmas[1].item(), latents[0, 0].numel() // transformer.config.patch_size**2


dynamic = dict(use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096)
for side, tokens, meant in ((256, 256, 0.5), (1024, 4096, 1.15)):
    sigma, count = middle(side, **dynamic)
    mu = math.log(sigma / (1 - sigma))  # for sigma 1/2 before the shift
    right, _ = middle(side, shift=math.exp(meant))
    print(f"{side:4} pixels, {count:4} tokens: mu {mu:.4f}, meant {meant}; sigma {sigma:.4f}, with the fixed shift {right:.4f}")
    if count != tokens or abs(mu - (0.5 - 240 * 0.65 / 3840)) > 1e-4 or abs(right - 1 / (1 + math.exp(-meant))) > 1e-4:
        sys.exit(f"changed: {count} tokens gave mu {mu}; the fixed shift gave sigma {right}")
PY
