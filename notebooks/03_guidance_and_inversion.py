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
# # Guidance and inversion
#
# SDI looks for its noise by running DDIM backwards from `x0`. Four questions about that search, each asked live on a few
# pictures of an earlier built-in text-to-image prior (`model=windows`; on the present one SDI draws whole pictures), at 32
# pixels and guidance 1: why does it fall to pieces on this prior, and what mends it? What has the prior's kernel to do with
# it? Which guidance should the inversion have? And is there a better way to solve the equation that it is meant to solve?

# %%
import os
import sys
import tempfile
from pathlib import Path

QUICK = os.environ.get("SDI_BENCH_QUICK") == "1"  # fewer prompts and kernels
sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "analysis").is_dir())))
folder = tempfile.TemporaryDirectory()  # all that is written goes there
os.chdir(folder.name)
os.environ["TQDM_DISABLE"] = "1"

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from IPython.display import Image, Markdown, display

import sdi_bench as sb
from analysis.plot import FOLDER, named
from analysis.runs import Runs
from sdi_bench.coordinates import noisy
from sdi_bench.draws import PhiloxDraws, items_of
from sdi_bench.jobs import execute
from sdi_bench.levels import Step
from sdi_bench.models import builtin
from sdi_bench.noise import Last
from sdi_bench.pictures import side_by_side
from sdi_bench.plotting.style import ordered, panels, save
from sdi_bench.predictor import Predictor
from sdi_bench.probes.base import rms
from sdi_bench.schedules import scaled_linear
from sdi_bench.store import Listed, write_index
from sdi_bench.sweeps import preflight

pd.options.display.float_format = "{:.3g}".format
prompts = ["a brown sofa, side view", "a gray armchair, front view", "owl, twemoji emoji", "octopus, noto emoji"]
prompts = prompts[1:3] if QUICK else prompts
prior, grid = builtin.local(size=32), sb.UniformT(50)
annealed, ddim = sb.Annealed(grid), sb.Ddim(grid)

# %% [markdown]
# ## SDI shatters here, and a bound on its inversion mends it
#
# `t_min` says below which time the inversion asks the network nothing: it still starts at the picture, but the predictions of
# its first steps are those of the network at `t_min`. It is ours, not the paper's. Nothing else changes from row to row.
#
# See that without a bound there is hardly a picture left, that a small bound mends a part, and that with 0.2 all are whole.

# %%
noises = {f"sdi, t_min {t_min or 'none'}": sb.Inversion(guidance_scale=-1.0, t_min=t_min) for t_min in (None, 0.05, 0.2)}
images = {"ddim": sb.sample(prior, ddim, prompts).numpy()}
images |= {name: sb.sample(prior, sb.Distillation(annealed, noise=noise), prompts).numpy() for name, noise in noises.items()}
columns = {prompt: np.stack([x[k] for x in images.values()]) for k, prompt in enumerate(prompts)}
side_by_side(Path("bounds.png"), columns, list(images), "guidance 1, the inversion's at -1")
display(Image("bounds.png"))

# %% [markdown]
# ## Why: off the data an exact prediction grows as the noise falls
#
# The prior is a set of pictures, each blurred by a kernel of standard deviation `width`. An `x0` on the way is none of them,
# it lies off the data. Asked about it at a low noise level, the exact denoiser answers "this is a picture plus a very large
# noise": `eps` is about the distance to the data over `sigma`, until `sigma` falls below the kernel's width. A trained
# network would answer something tame.
#
# We take the `x0` half way down DDIM's path and ask at every level without adding noise, as the first step of the inversion
# does. See that the size of the prediction rises as the level falls and that a wider kernel cuts it off earlier. White noise
# has size 1, drawn as a line: what lies above is no noise of that level. Dotted: the level of `t_min = 0.2`.

# %%
widths, schedule = ((0.02, 0.2) if QUICK else (0.02, 0.05, 0.1, 0.2)), scaled_linear()
items = items_of(prompts, [0])
priors = {width: replace(prior, width=width) for width in widths}
nets = {width: Predictor(each, schedule, sb.Guidance(), tuple(prompts)) for width, each in priors.items()}
states = list(ddim.sample(nets[0.02], PhiloxDraws(tuple(items))))
here, there = states[25], states[26]
low, high = float(schedule.lowest.t), float(here.level.t)
times = low + (high - low) * torch.linspace(0, 1, 8 if QUICK else 20, dtype=torch.float64) ** 3  # closer together below
found = []
for width, net in nets.items():
    for t in times:
        level = net.level(t)
        eps = net(noisy(here.x0, 0 * here.x0, level), level).eps
        found.append({"width": width, "sigma": float(level.sigma), "size": float(rms(eps).mean())})
table = pd.DataFrame(found)

figure, axes = panels(1, 1, width=5.0, height=3.2)
for width, some in table.groupby("width"):
    style = ordered([f"{each:g}" for each in widths])[f"{width:g}"]
    axes[0][0].plot(some["sigma"], some["size"], label=f"width {width:g}", **style)
axes[0][0].axhline(1, color="gray", linewidth=0.8)
axes[0][0].axvline(float(schedule.level(0.2).sigma), color="gray", linestyle=":", linewidth=0.8)
axes[0][0].set(xscale="log", yscale="log", xlabel="noise level sigma", ylabel="rms of eps at an x0 half way")
axes[0][0].legend(fontsize=8)
save(figure, Path("bound.png"))
display(Image("bound.png"))

# %% [markdown]
# The first step of the inversion then multiplies this by the rise of `sigma` in that step. The size of the noise that the
# whole inversion finds at this `x0`, over the kernel's width (rows) and `t_min` (columns; `none`: no bound):

# %%
first, second = schedule.lowest, schedule.level(0.1)
print(f"sigma rises by a factor {float(second.sigma / first.sigma):.0f} in a first step from the lowest level to t = 0.1")
step, found = Step(here.level, there.level, there.index), []
for width, net in nets.items():
    for t_min in (None, 0.05, 0.1, 0.2, 0.5):
        noise = sb.Inversion(guidance_scale=-1.0, entropy=0.0, t_min=t_min)
        kappa = noise.propose(here.x0, step, Last(here.eps), net, PhiloxDraws(tuple(items))).kappa
        found.append({"width": width, "t_min": f"{t_min or 'none'}", "size of kappa": float(rms(kappa).mean())})
display(pd.DataFrame(found).pivot_table("size of kappa", "width", "t_min")[["none", "0.05", "0.1", "0.2", "0.5"]])

# %% [markdown]
# ## A wider kernel
#
# So a wider kernel ought to mend SDI without any bound. It does, at its price: the law itself becomes noisier, which DDIM's
# pictures show. See SDI come together from left to right, and the grain of DDIM's pictures grow.

# %%
unbounded = sb.Distillation(annealed, noise=sb.Inversion(guidance_scale=-1.0))
columns = {}
for width, each in priors.items():
    pair = [sb.sample(each, sampler, prompts[-2:]).numpy() for sampler in (ddim, unbounded)]
    columns[f"width {width:g}"] = np.stack([pair[0][0], pair[1][0], pair[0][1], pair[1][1]])
names = [f"{name}: {prompt.split(',')[0]}" for prompt in prompts[-2:] for name in ("ddim", "sdi, no bound")]
side_by_side(Path("widths.png"), columns, names, "no bound, guidance 1")
display(Image("widths.png"))

# %% [markdown]
# ## The inversion's guidance
#
# The paper inverts at minus the sampler's guidance and finds that 0 over-saturates and that plus drifts. Here, bounded at
# 0.2: see that -1 and 0 both give whole pictures, and that +1 spoils them. The table has the contrast (standard deviation
# over an image) and the colour (standard deviation over the channels of a pixel). A few pictures decide nothing; the figure
# at the end has more.

# %%
rows = {}
for scale in (-1.0, 0.0, 1.0):
    sampler = sb.Distillation(annealed, noise=sb.Inversion(guidance_scale=scale, t_min=0.2))
    rows[f"inversion at {scale:g}"] = sb.sample(prior, sampler, prompts).numpy()
rows = {"ddim": images["ddim"]} | rows
columns = {prompt: np.stack([x[k] for x in rows.values()]) for k, prompt in enumerate(prompts)}
side_by_side(Path("scales.png"), columns, list(rows), "guidance 1, bounded inversion")
display(Image("scales.png"))
looks = {name: {"contrast": x.std((1, 2, 3)).mean(), "colour": x.std(1).mean()} for name, x in rows.items()}
display(pd.DataFrame(looks).T)

# %% [markdown]
# ## Other ways to solve eq. 8
#
# What SDI wants is a noise that explains itself: `kappa = eps(a·x0 + b·kappa)` (eq. 8). On DDIM's own path one root is known,
# DDIM's own noise, so each solver can be judged: how far is it from solving the equation (*residual*), does it find DDIM's
# noise (*cosine*), does the next `x0` come out as DDIM's (*distance*), and how many network rows did it take? The probe
# `solvers` runs here on some digits.
#
# See, at guidance 1, that the residual of Anderson's iteration, a quasi-Newton method, falls steeply with its cost, that of
# plain iteration (Picard) slowly, and that inversion's is nearly flat: more steps invert the whole path more exactly, which
# is not the same as solving eq. 8. With strong guidance plain iteration diverges, damped or not, as the paper found in 3D;
# Anderson's still helps, and best from where inversion ends.

# %%
asked = ["experiment=understanding", "tier=solvers digits", "seeds=0", "results=."]
plans = [plan for plan, *_ in preflight([*asked, "prompt=[3,8]", "guidance.scale=1"] if QUICK else asked)]
write_index(Path("understanding"), [Listed(*plan.place, plan.label, plan.gamma, plan.folder) for plan in plans])
for plan in plans:
    execute(plan)
figure = replace(named("solvers").figure, tiers=["solvers digits"])
table = figure.prepare(Runs(Path("understanding")))
figure.draw(table, Runs(Path("understanding")), Path("solvers.png"))
display(Image("solvers.png"))

# %% [markdown]
# At guidance 1 as numbers, each solver at its dearest:

# %%
wide = table[table["gamma"] == 1].pivot_table("point", ["family", "rows"], "measure").reset_index()
display(wide.sort_values("rows").groupby("family").tail(1).sort_values("next").set_index("family"))

# %% [markdown]
# ## With more pictures
#
# What the experiment `understanding` found about the same questions, from its committed figures (where they are there):

# %%
for name in ("bounds", "guidance_pairs", "inversion_steps", "solvers"):
    if (FOLDER / f"{name}.png").is_file():
        one = named(name)
        display(Markdown(f"**{one.title}** {one.seen}"))
        for path in sorted(FOLDER.glob(f"{name}*.png")):
            if path.stem in (name, f"{name}_pictures"):
                display(Image(path))
