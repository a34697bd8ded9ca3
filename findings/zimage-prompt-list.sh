#!/usr/bin/env bash
# Z-Image's pipeline writes its chat template into the caller's list of prompts, so a second call gives another picture.
#
# Expected: docstring of ZImagePipeline.__call__: `prompt` is "the prompt or prompts to guide the image generation": an input.
#   The same list and a generator of the same seed then give the same picture, as a string does and as other pipelines do.
# What happens: each prompt is put in the chat template and stored back at its place in the list that was handed over. Every
#   further call puts what it finds there in the template once more. Lists of negative prompts are changed as well. A string is
#   not, so the first call and all calls with a string agree. Nothing is logged. The same line is in the image-to-image,
#   inpainting and ControlNet pipelines of Z-Image.
#   Known for the model (issue 99 of Tongyi-MAI/Z-Image).
# Versions: diffusers 0.42.1, transformers 5.23.0, torch 2.13.0.
# Why it matters here: one list of prompts is used for all seeds, samplers and guidance scales of a comparison. All but the
#   first are then asked for something else, and a file of results that records the list afterwards records the wrong prompts.
# What to do instead: hand over a copy, `pipe(list(prompts), ...)`, also of the negative prompts; or encode a copy once and
#   hand over `prompt_embeds`.
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

torch.manual_seed(0)
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
for part in (pipe.text_encoder, pipe.transformer):
    for parameter in part.parameters():
        torch.nn.init.normal_(parameter, std=0.3)


def picture(prompt, negative):
    settings = dict(height=16, width=16, num_inference_steps=4, guidance_scale=3.0, output_type="np")
    return pipe(prompt, negative_prompt=negative, generator=torch.Generator().manual_seed(0), **settings).images


prompts, negatives = ["a cat"], ["fog"]
by_string = picture("a cat", "fog")
first = picture(prompts, negatives)
seen = [(prompts[0], negatives[0])]
second = picture(prompts, negatives)
seen.append((prompts[0], negatives[0]))
copied = picture(["a cat"], ["fog"])
print(f"handed over: ('a cat', 'fog'); after one call: {seen[0]}; after two: {seen[1]}")
same, other, again = (abs(first - each).max().item() for each in (by_string, second, copied))
print(f"largest difference to the first picture: {same:.4f} by strings, {again:.4f} by new lists, {other:.4f} by the same")
if seen != [("[a cat]", "[fog]"), ("[[a cat]]", "[[fog]]")] or max(same, again) > 1e-5 or other < 1e-3:
    sys.exit(f"changed: the lists were {seen}, the differences {same}, {again} and {other}")
PY
