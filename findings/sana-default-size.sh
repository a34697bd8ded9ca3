#!/usr/bin/env bash
# Sana's pipeline makes pictures of 1024 pixels by default for every checkpoint: a 512 pixel network's are enlarged silently.
#
# Expected: docstring of SanaPipeline.__call__: height and width are "defaults to self.unet.config.sample_size", and
#   `use_resolution_binning` maps to "the closest resolutions using ASPECT_RATIO_1024_BIN". There are checkpoints of 512, 1024,
#   2048 and 4096 pixels, whose `sample_size` says which, so that the default is a checkpoint's own size.
# What happens: both defaults are the number 1024. The bins, on the other hand, do follow `sample_size`, and binning, which
#   brings pictures back to the size asked for, is on by default: a network of 512 pixels samples 512 x 512, and the decoded
#   picture is enlarged to 1024 x 1024, bilinearly; one of 2048 samples 2048 x 2048 and is shrunk. Nothing is logged.
# Versions: diffusers 0.42.1, transformers 5.23.0, torch 2.13.0.
# Why it matters here: an interpolated picture has no fine detail, which is what FID, sharpness and spectra see first; and what
#   is encoded from it has 32 x 32 cells where 16 x 16 were sampled, so an inversion of it starts elsewhere.
# What to do instead: hand over height and width of 32 * sample_size, a cell of latents being 32 pixels, and
#   use_resolution_binning=False.
set -euo pipefail
export HF_HUB_OFFLINE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 diffusers==0.42.1 transformers==5.23.0

"$work/venv/bin/python" - <<'PY'
import sys
import torch
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel

torch.manual_seed(0)
six = dict.fromkeys(("encoder_block_types", "decoder_block_types"), ("ResBlock",) * 6)
six |= dict.fromkeys(("encoder_layers_per_block", "decoder_layers_per_block"), (1,) * 6)
six |= dict.fromkeys(("encoder_block_out_channels", "decoder_block_out_channels"), (4,) * 5 + (8,))
six |= dict.fromkeys(("encoder_qkv_multiscales", "decoder_qkv_multiscales"), ((),) * 6)
vae = AutoencoderDC(latent_channels=4, **six).eval()  # 32 pixels a cell, as the published one
vae.decoder.conv_out.weight.data *= 0.2  # no pixel is clipped
heads = dict(num_attention_heads=2, attention_head_dim=8, num_cross_attention_heads=2, cross_attention_head_dim=8)
sizes = dict(in_channels=4, out_channels=4, num_layers=1, cross_attention_dim=16, caption_channels=16)
text = dict(prompt_embeds=torch.randn(1, 4, 16), prompt_attention_mask=torch.ones(1, 4, dtype=torch.long))


def call(sample_size, **settings):
    torch.manual_seed(0)  # the same network each time
    pipe = SanaPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=vae,
        transformer=SanaTransformer2DModel(sample_size=sample_size, **sizes, **heads).eval(),
        scheduler=DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
    )
    pipe.set_progress_bar_config(disable=True)
    settings = dict(num_inference_steps=2, guidance_scale=1.0, generator=torch.Generator().manual_seed(0)) | settings
    return pipe(**text, **settings).images


seen = {}
for sample_size in (16, 32, 64):
    seen[sample_size] = 32 * call(sample_size, output_type="latent").shape[-1]
    print(f"network of {32 * sample_size} pixels: latents are sampled for {seen[sample_size]} pixels")
default = call(16, output_type="pt")
own = call(16, output_type="pt", height=512, width=512)
print(f"network of 512 pixels: the picture that is returned has {default.shape[-2]} x {default.shape[-1]} pixels")
enlarged = torch.nn.functional.interpolate(own, size=default.shape[-2:], mode="bilinear")
error, spread = (default - enlarged).abs().max().item(), own.std().item()
print(f"largest difference to that of height=512, width=512 enlarged: {error:.0e}, where pixels spread by {spread:.2f}")
if seen != {16: 512, 32: 1024, 64: 2048} or default.shape[-2:] != (1024, 1024) or own.shape[-2:] != (512, 512):
    sys.exit(f"changed: sampled at {seen}, returned {tuple(default.shape)} and {tuple(own.shape)}")
if error > 1e-3 * spread:
    sys.exit(f"changed: the default is {error} off the enlarged picture, pixels spread by {spread}")
PY
