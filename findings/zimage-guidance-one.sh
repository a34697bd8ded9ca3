#!/usr/bin/env bash
# In Z-Image's pipeline guidance_scale=1 guides already: it is what the other pipelines call 2.
#
# Expected: docstring of ZImagePipeline.__call__: "`guidance_scale` is defined as `w` of equation 2. of Imagen Paper. Guidance
#   scale is enabled by setting `guidance_scale > 1`". That equation (arXiv 2205.11487) is w * cond + (1 - w) * uncond, so 1 is
#   the conditional output alone. Pipelines with the same words, Sana's for one, do that, also for all scales below 1.
# What happens: the pipeline takes cond + guidance_scale * (cond - uncond), which is w = guidance_scale + 1. With 0 it is not
#   guided, and with 1 it goes twice as far from the unconditional output as the conditional one is.
#   Known upstream (diffusers issue 12905, after which values between 0 and 1 guide too); the docstring has stayed.
# Versions: diffusers 0.42.1, transformers 5.23.0, torch 2.13.0.
# Why it matters here: guidance scales are swept and compared between models, and 1 is taken for "no guidance", the setting in
#   which exact samplers and their inversions are checked. Here it is guided, and the network sees twice as many pictures; a
#   scale of 5 here stands beside one of 6 elsewhere.
# What to do instead: hand over w - 1 for the w of the equation, 0 for no guidance.
set -euo pipefail
export HF_HUB_OFFLINE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 diffusers==0.42.1 transformers==5.23.0

"$work/venv/bin/python" - <<'PY'
import sys
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

tokenizer = Qwen2Tokenizer({word: i for i, word in enumerate(["<|endoftext|>", *sorted(ByteLevel.alphabet())])}, [])
tokenizer.chat_template = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"
heads = dict(num_attention_heads=2, num_key_value_heads=1, head_dim=8)
text = Qwen3Config(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=2, **heads)
sizes = dict(in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16)
pipe = ZImagePipeline(
    scheduler=FlowMatchEulerDiscreteScheduler(),
    vae=AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, latent_channels=4, shift_factor=0.0),
    text_encoder=Qwen3Model(text).eval(),
    tokenizer=tokenizer,
    transformer=ZImageTransformer2DModel(**sizes, axes_dims=[4, 6, 6], axes_lens=[1024, 16, 16]).eval(),
)
pipe.set_progress_bar_config(disable=True)
torch.manual_seed(0)
for part in (pipe.text_encoder, pipe.transformer):
    for parameter in part.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
calls = []
pipe.transformer.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))


def end(prompt, scale):
    """Latents after one Euler step, which are linear in the network's output."""
    settings = dict(height=16, width=16, num_inference_steps=1, output_type="latent")
    return pipe(prompt, guidance_scale=scale, generator=torch.Generator().manual_seed(0), **settings).images


said = " ".join(ZImagePipeline.__call__.__doc__.split())
sentence = "Guidance scale is enabled by setting `guidance_scale > 1`."
print(f"the docstring says so: {sentence in said and 'defined as `w` of equation 2.' in said}")
conditional, unconditional = end("a cat", 0.0), end("", 0.0)
direction = conditional - unconditional
for scale in (0.0, 0.5, 1.0, 4.0):
    calls.clear()
    guided = end("a cat", scale) - unconditional
    w = ((guided * direction).sum() / direction.square().sum()).item()
    rest = ((guided - w * direction).norm() / direction.norm()).item()
    print(f"guidance_scale={scale}: w={w:.4f} of the equation ({rest:.0e} beside it), {calls[0]} pictures through the network")
    if abs(w - scale - 1) > 1e-3 or rest > 1e-3 or calls != [1 if scale == 0 else 2]:
        sys.exit(f"changed: guidance_scale={scale} is w={w}, rest {rest}, calls {calls}")
if sentence not in said:
    sys.exit("changed: the docstring no longer says that guidance begins above 1")
PY
