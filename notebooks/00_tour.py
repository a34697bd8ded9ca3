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
# # A tour in five minutes
#
# Score distillation turns a trained image denoiser into a generator. Its oldest form, SDS, and the sampler DDIM are the same
# update of a clean image `x0`:
#
#     x0(next) = x0 - sigma_next · [ eps(a_next·x0 + b_next·kappa, level_next) - kappa ]
#
# Add noise `kappa` to the image, ask the denoiser which noise it sees, and step by *predicted minus added*. What differs is
# where `kappa` comes from: **drawn anew** at every step it is SDS; the **last prediction** it is DDIM; **found by DDIM
# inversion** of `x0` it is SDI (arXiv 2405.15891). This notebook takes that one step, then whole paths, then swaps the noise,
# and ends with a table of results and how to read it.

# %%
import os
import sys
import tempfile
from pathlib import Path

QUICK = os.environ.get("SDI_BENCH_QUICK") == "1"  # fewer seeds and prompts
sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "analysis").is_dir())))
folder = tempfile.TemporaryDirectory()  # all that is written goes there
os.chdir(folder.name)
os.environ["TQDM_DISABLE"] = "1"

import numpy as np
from IPython.display import Image, display

import sdi_bench as sb
from sdi_bench.directions import PredictedMinusAdded
from sdi_bench.draws import PhiloxDraws, items_of
from sdi_bench.levels import Step
from sdi_bench.models import builtin
from sdi_bench.noise import Last
from sdi_bench.pictures import side_by_side
from sdi_bench.predictor import Predictor
from sdi_bench.probes.base import rms
from sdi_bench.samplers.distillation import evaluate
from sdi_bench.schedules import scaled_linear

# %% [markdown]
# ## One step of the one rule
#
# The model here is the optimal denoiser of 1,797 handwritten digits: it ships with the package, its law is known, and a path
# of 50 levels takes milliseconds. We walk DDIM's path half way, stop at some `x0`, and take the next step with three
# different noises. See the columns: the image, the noise that is added, and where the step leads. The noises of DDIM and SDS
# look alike, white; but DDIM's is the one that belongs to this image, and its `x0` moves least. What inversion (SDI) finds is
# far smaller.

# %%
digits = sb.Empirical.of()
grid = sb.UniformT(50)
items = items_of(["3"], [0])
net, draws = Predictor(digits, scaled_linear(), sb.Guidance(), ("3",)), PhiloxDraws(tuple(items))
states = list(sb.Ddim(grid).sample(net, draws))
here, there = states[25], states[26]
step = Step(here.level, there.level, there.index)
noises = {"DDIM": sb.Previous(), "SDS": sb.Fresh(), "SDI": sb.Inversion(guidance_scale=-1.0)}
last, kind = Last(here.eps), PredictedMinusAdded()
made = {name: evaluate(here.x0, step, last, noise, kind, net, draws) for name, noise in noises.items()}
columns = {
    "x0": [here.x0 for _ in made],
    "kappa, halved": [found.kappa / 2 for found in made.values()],
    "x0(next)": [found.target for found in made.values()],
}
side_by_side(
    Path("step.png"),
    {name: np.concatenate(rows) for name, rows in columns.items()},
    list(made),
    f"one step from sigma {float(here.level.sigma):.2f} to {float(there.level.sigma):.2f}",
)
display(Image("step.png"))

# %% [markdown]
# `x0(next)` is DDIM's own next image in the first row, to rounding. That is no accident: the next notebook proves it.

# %%
for name, found in made.items():
    print(f"{name}: kappa has size {float(rms(found.kappa)):.2f}, x0 moves by {float(rms(found.target - here.x0)):.3f} (rms)")
gap = float((made["DDIM"].target - there.x0).abs().max())
print(f"largest difference of a pixel to DDIM's formula of its own: {gap:.1e}")

# %% [markdown]
# ## Whole paths, on the digits
#
# A sampler is a grid of levels and a choice of noise; `sb.sample` does the rest. The same seed starts from the same noise in
# every sampler, so a column shows what the sampler alone changes. See that DDIM's digits keep the grain of the data (each
# digit of this law is blurred by noise of 0.2), SDS's less of it, and SDI's almost none.

# %%
annealed = sb.Annealed(grid)
samplers = {
    "ddim": sb.Ddim(grid),
    "sds": sb.Distillation(annealed, noise=sb.Fresh()),
    "sdi": sb.Distillation(annealed, noise=sb.Inversion(guidance_scale=-1.0)),
}
prompts, seeds = ["3", "8"], range(3 if QUICK else 6)
images = {name: sb.sample(digits, sampler, prompts, seeds).numpy() for name, sampler in samplers.items()}
names = [f"{item.prompt} · {item.seed}" for item in items_of(prompts, seeds)]
columns = {name: np.stack([images[row][k] for row in images]) for k, name in enumerate(names)}
side_by_side(Path("digits.png"), columns, list(images), "digits: prompt · seed")
display(Image("digits.png"))

# %% [markdown]
# ## Whole paths, from text
#
# The built-in text-to-image prior is a denoiser in closed form too, of captioned pictures of furniture and emoji; nothing is
# downloaded or trained. Here at 32 pixels and guidance 3: what the prompt changes in the prediction counts three times. SDI
# inverts at -3, as its paper has it.
#
# See that all three draw whole pictures, each sampler its own, and that here and there parts of unlike pictures meet.

# %%
prior = builtin.mosaic(size=32)
text = ["a brown sofa, side view", "a gray armchair, front view", "owl, twemoji emoji", "rocket, fluent flat emoji"]
text = text[1:3] if QUICK else text
guided = {
    "ddim": sb.Ddim(grid, guidance=sb.Guidance(3.0)),
    "sds": sb.Distillation(annealed, noise=sb.Fresh(), guidance=sb.Guidance(3.0)),
    "sdi": sb.Distillation(annealed, noise=sb.Inversion(guidance_scale=-3.0), guidance=sb.Guidance(3.0)),
}
images = {name: sb.sample(prior, sampler, text, [0]).numpy() for name, sampler in guided.items()}
columns = {name: np.stack([images[row][k] for row in images]) for k, name in enumerate(text)}
side_by_side(Path("prior.png"), columns, list(images), "the built-in prior, guidance 3")
display(Image("prior.png"))

# %% [markdown]
# ## Swap the noise
#
# Nothing but `noise=` changes from row to row. `Mixed` runs from DDIM (`lam=0`) over DDPM (`lam=1`) to SDS (infinity); the
# mean of many fresh draws is a small noise, and `Zero` none at all: see how both bring all seeds to the same smooth digits.
# `Fixed` draws once and repeats that. The digits again, for speed.

# %%
noises = {
    "Previous (DDIM)": sb.Previous(),
    "Mixed, lam 1 (DDPM)": sb.Mixed(),
    "Mixed, lam 4": sb.Mixed(lam=4.0),
    "Fresh (SDS)": sb.Fresh(),
    "Fresh, mean of 16": sb.Fresh(n_avg=16),
    "Inversion (SDI)": sb.Inversion(guidance_scale=-1.0),
    "Fixed": sb.Fixed(),
    "Zero": sb.Zero(),
}
images = {
    name: sb.sample(digits, sb.Distillation(annealed, noise=noise), prompts, seeds).numpy() for name, noise in noises.items()
}
columns = {name: np.stack([images[row][k] for row in images]) for k, name in enumerate(names)}
side_by_side(Path("noises.png"), columns, list(images), "one choice of noise a row: prompt · seed")
display(Image("noises.png"))

# %% [markdown]
# ## A table of results
#
# On the command line this is `python -m sdi_bench.run -m model=digits sampler=sds,sdi,ddim seeds=0..7`; the same from Python:
# check the whole sweep, run what is missing, measure. Every sweep also runs a paired reference (DDIM at 200 levels, the same
# items).

# %%
from sdi_bench.jobs import execute, summarise
from sdi_bench.sweeps import preflight

asked = "-m model=digits sampler=sds,sdi,ddim results=results seeds=" + ("0..3" if QUICK else "0..31")
plans = preflight(asked.split())
for pair in plans:
    for plan in pair:
        execute(plan)
summarise(plans)

# %% [markdown]
# How to read it:
#
# - A row is a run. `data` is not sampled: fresh draws of the model's own law, what a perfect sampler would get. Read every
#   other row against that one, not against 0.
# - `±` is half of a 95 % interval; two rows whose intervals are far apart differ. Pairs of runs share their items, so `python
#   -m sdi_bench.evaluate` compares them more sharply, in pairs.
# - *contrast*, *sharpness*: log ratios to the data, below 0 is less. *energy*, *sliced W2*: distances to the data's law.
#   *modes*: how many of the data's modes are met. *nearest*: distance to the nearest training image: low means that samples
#   have lost their own grain and lie on top of training images.
# - *to reference*: how far the pictures are from the reference's of the same seed. Only DDIM is near: the others draw other
#   pictures.
# - *rows*: network rows an image, conditional/unconditional/inversion/other. SDI pays for its inversion.
# - The files are named by what was chosen, so the same command again runs nothing.

# %%
for plan, _ in plans:
    print(plan.label, "is finished" if not plan.missing else "is missing", "in", plan.folder.path)

# %% [markdown]
# Next: `01_equivalence` (what is exact), `02_noise` (what the noise does), `03_guidance_and_inversion` (where SDI fails,
# and why), `04_benchmark` (the results).
