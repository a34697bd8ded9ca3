# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A trained network
#
# Closed-form priors are exact, but no networks. A miniature Stable Diffusion ships as well: 32 x 32 pictures of furniture of 55
# names, an autoencoder, a CLIP text encoder and a UNet of diffusers' own classes, trained here on two CPU cores
# (`python -m sdi_bench.train recipe=small`; its [card](../sdi_bench/data/trained/README.md) says what it can do). It is a
# folder that diffusers opens as it is, so any peer's code can run on it.

# %%
import os
import sys
import warnings
from io import BytesIO
from pathlib import Path

QUICK = os.environ.get("SDI_BENCH_QUICK") == "1"  # few levels and prompts
sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "analysis").is_dir())))

warnings.filterwarnings("ignore", message="IProgress not found")  # no bars are drawn here

import torch
from IPython.display import Image, display
from matplotlib import pyplot as plt

import sdi_bench as sb
from analysis.trained import FOLDER
from sdi_bench.models.trained import trained
from sdi_bench.plotting.style import tile

prompts = ["a brown sofa, side view", "a gray armchair, front view", "a brown table, side view", "a green plant"]
n_levels = 10 if QUICK else 50

# %% [markdown]
# ## As diffusers sees it
#
# `model.pipe` is what `StableDiffusionPipeline.from_pretrained` makes of the folder; it samples as any other does.

# %%
model = trained()
pipe = model.pipe
pipe.set_progress_bar_config(disable=True)
draw = torch.Generator().manual_seed(0)
made = pipe(prompts, num_inference_steps=n_levels, guidance_scale=3.0, generator=draw, output_type="pt").images
figure, axes = plt.subplots(1, len(prompts), figsize=(6, 1.9), layout="constrained")
for axis, prompt, image in zip(axes, prompts, made, strict=True):
    tile(axis, 2 * image.numpy() - 1, title=prompt.replace(", ", ",\n"))
figure.savefig(drawn := BytesIO(), dpi=110)
display(Image(data=drawn.getvalue()))

# %% [markdown]
# ## The same items by each sampler
#
# One prompt and seed, one starting noise, in a column. The samplers know nothing of latents: they move x0 wherever the model
# lives, and what they end with is decoded.

# %%
guidance, grid = sb.Guidance(3.0), sb.UniformT(n_levels)
samplers = {
    "ddim": sb.Ddim(grid, guidance),
    "previous": sb.Distillation(sb.Annealed(grid), noise=sb.Previous(), guidance=guidance),
    "sds": sb.Distillation(sb.Annealed(grid), noise=sb.Fresh(), guidance=guidance),
    "sdi": sb.Distillation(sb.Annealed(grid), noise=sb.Inversion(guidance_scale=-3.0), guidance=guidance),
    "sdi, t_min .2": sb.Distillation(sb.Annealed(grid), noise=sb.Inversion(guidance_scale=-3.0, t_min=0.2), guidance=guidance),
}
images = {name: sb.sample(model, sampler, prompts=prompts, seeds=range(2)).numpy() for name, sampler in samplers.items()}
figure, axes = plt.subplots(len(samplers), 8, figsize=(8.6, 5.2), layout="constrained")
for line, (name, row) in zip(axes, images.items(), strict=True):
    for k, (axis, image) in enumerate(zip(line, row, strict=True)):
        title = prompts[k // 2].replace(", ", ",\n") if line[0] is axes[0, 0] and k % 2 == 0 else ""
        tile(axis, image, name if k == 0 else "", title)
figure.savefig(drawn := BytesIO(), dpi=110)
display(Image(data=drawn.getvalue()))

# %% [markdown]
# With the last prediction cached as its noise, score distillation is DDIM on a trained network too, but for float32:

# %%
print(f"largest difference of a pixel: {abs(images['previous'] - images['ddim']).max():.1e}")

# %% [markdown]
# ## On 256 held-out captions, beside the closed-form prior
#
# `experiment=trained` runs both priors on the same items, in 2D and 3D; the tables, with intervals and every claim, are in
# `results/trained/tables.txt`. Each sampler less DDIM at the same guidance:

# %%
display(Image(filename=str(FOLDER / "beside.png")))

# %% [markdown]
# And how well each choice of noise solves eq. 8 on the network:

# %%
display(Image(filename=str(FOLDER / "residual.png")))
