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
# # Cached noise is DDIM
#
# The claim of arXiv 2405.15891 (sec. 4): take score distillation's update and use, as the noise that is added, the prediction
# of the step before. Then it *is* DDIM, in other variables. Here the two are run side by side, as two separate pieces of
# code: DDIM in its own formula, and the update of `00_tour` with `noise=Previous()`. What they may differ by is rounding,
# amplified by the path itself; how much that can be is measured, not guessed, and gives the tolerance.

# %%
import os
import sys
import tempfile
import warnings
from pathlib import Path

QUICK = os.environ.get("SDI_BENCH_QUICK") == "1"  # fewer guidance scales and identities
sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "analysis").is_dir())))
folder = tempfile.TemporaryDirectory()  # all that is written goes there
os.chdir(folder.name)
warnings.filterwarnings("ignore", "IProgress")  # diffusers would like to draw progress bars

import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display

from sdi_bench.coordinates import noisy
from sdi_bench.directions import PredictedMinusAdded
from sdi_bench.grids import UniformT
from sdi_bench.noise import Last, Previous
from sdi_bench.pictures import side_by_side
from sdi_bench.plotting.style import look, panels, save
from sdi_bench.samplers import Annealed
from sdi_bench.samplers.distillation import evaluate
from sdi_bench.schedules import scaled_linear
from sdi_bench.verify import rows
from sdi_bench.verify.cached import ROUNDINGS, Setting, amplification, paths
from sdi_bench.verify.cases import GAMMAS, bind, coordinates_of, digits, largest
from sdi_bench.verify.rows import U

pd.options.display.float_format = "{:.3g}".format

# %% [markdown]
# ## Deviation over the levels
#
# The digits, 50 levels, two prompts with four seeds each, a panel for each guidance scale. For each level, of the item that
# comes closest to its limit: the largest difference between the two paths (over `x0`, `sigma·eps` and `x0 + sigma·eps`, and
# all pixels), and the tolerance: `ROUNDINGS` roundings a step, each as amplified on this item's path.
#
# See that the points stay below their lines at every level. With strong guidance the lines lie higher, for guidance amplifies
# rounding, and so do the points. At the first level the two paths agree in every bit; that point is drawn at the bottom.

# %%
gammas = (1.0, 7.5) if QUICK else GAMMAS
settings = {gamma: Setting(f"gamma={gamma:g}", *bind(digits(), scaled_linear(), gamma), UniformT(50)) for gamma in gammas}
found = []
for gamma, setting in settings.items():
    ddim, dual = paths(setting.net, setting.draws, setting.grid)
    for ours, theirs, bound in zip(dual, ddim, amplification(setting), strict=True):
        pairs = zip(coordinates_of(ours), coordinates_of(theirs), strict=True)
        gaps, allowed = torch.stack([largest(got - expected) for got, expected in pairs]).amax(0), ROUNDINGS * U * bound
        worst = int((gaps / allowed).argmax())  # the item that comes closest to its own limit
        about = {"gamma": gamma, "step": ours.index, "deviation": float(gaps.flatten()[worst])}
        found.append(about | {"tolerance": float(allowed.flatten()[worst])})
table = pd.DataFrame(found)
table["share"] = table["deviation"] / table["tolerance"]

figure, axes = panels(1, len(gammas), width=2.6, sharey=True)
for axis, (gamma, some) in zip(axes[0], table.groupby("gamma"), strict=True):
    axis.plot(some["step"], some["tolerance"], **look(["tolerance"])["tolerance"] | {"marker": ""}, label="tolerance")
    axis.plot(some["step"], some["deviation"].clip(lower=1e-17), ".", color="#d1495b", label="deviation")
    axis.set(yscale="log", xlabel="step", title=f"guidance {gamma:g}")
axes[0][0].set_ylabel("largest difference")
axes[0][0].legend(fontsize=8)
save(figure, Path("levels.png"))
display(Image("levels.png"))

# %% [markdown]
# The same in one line for each guidance: how close the worst level comes to what is allowed (1 would be the limit).

# %%
display(table.groupby("gamma")[["deviation", "share"]].max())

# %% [markdown]
# ## A difference that the check must find
#
# A check that cannot fail shows nothing. So here is a slip that is easy to make: keep, for the next step, the *conditional*
# prediction instead of the *guided* one. Everything else is as above.
#
# At guidance 0 and 1 the model is asked once, the two are the same, and the slip cannot matter: see that it stays within the
# tolerance there. At all other scales the deviation exceeds it by many orders of magnitude (`share`).

# %%
found, last = [], {}
for gamma, setting in settings.items():
    ddim, cached = paths(setting.net, setting.draws, setting.grid)
    timeline, bounds = Annealed(setting.grid), amplification(setting)
    x0, kappa = cached[0].x0, cached[0].eps
    for step in timeline.steps(setting.net, setting.draws):
        made = evaluate(x0, step, Last(kappa), Previous(), PredictedMinusAdded(), setting.net, setting.draws)
        kappa = setting.net(noisy(x0, made.kappa, step.dst), step.dst).raw.eps[-1]  # the slip: guided is made.eps
        x0 = made.target
        gaps = largest(x0 - ddim[step.index].x0)
        share = gaps / (ROUNDINGS * U * bounds[step.index])
        found.append({"gamma": gamma, "deviation": float(gaps.max()), "share": float(share.max())})
    last[gamma] = {"DDIM": ddim[-1].x0, "cached, guided": cached[-1].x0, "cached, conditional": x0}
slip = pd.DataFrame(found).groupby("gamma")[["deviation", "share"]].max()
slip["verdict"] = np.where(slip["share"] > 1, "found out", "within the tolerance")
display(slip)

# %% [markdown]
# What the slip does to the pictures, at guidance 7.5: the first two rows are equal, the third is not.

# %%
items = settings[7.5].draws.items
columns = {f"{item.prompt} · {item.seed}": np.stack([x[k].numpy() for x in last[7.5].values()]) for k, item in enumerate(items)}
side_by_side(Path("slip.png"), columns, list(last[7.5]), "guidance 7.5: prompt · seed")
display(Image("slip.png"))

# %% [markdown]
# ## The suite
#
# The same is done over schedules, parametrisations, guidance scales and models, for all that is claimed to be equal:
#
# - **V1** cached noise is DDIM, step by step and over whole paths, and through a float32 network;
# - **V2** so it is against the schedulers of diffusers, which share no code with this package;
# - **V3** the root of eq. 8, found without any history, is DDIM's noise too;
# - **V4** an SDS step is a gradient step of its loss, and SDS is DDIM with all of its noise drawn anew.
#
# See that every deviation is below its tolerance (in the unit that the statement names). `python -m sdi_bench.verify` prints
# these and V5 to V9; the last full output is in `results/published/verify.txt`. The tests plant a bug for each row and see it
# turn red.

# %%
proven = [row for name in (["V1"] if QUICK else ["V1", "V2", "V3", "V4"]) for row in rows(name)]
columns = ("id", "deviation", "tolerance", "cases", "holds")
shown = pd.DataFrame([{name: getattr(row, name) for name in columns} for row in proven])
display(shown.set_index("id"))
for row in proven:
    print(f"{row.id}  {row.statement} ({row.equation})")

# %%
print(f"{sum(row.holds for row in proven)} of {len(proven)} identities hold, in {sum(row.cases for row in proven)} cases")
