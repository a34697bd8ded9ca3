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
# # What the noise does
#
# SDS, SDI and DDIM differ in their noise alone. So what is it about the noise that matters: its size, its scatter from draw to
# draw, or how it hangs together with the image? The experiment `understanding` measures that *along the path*, with probes. Here two of
# its probes and its sweep from DDIM to SDS run live on the digits, with few seeds, and are drawn by the same code that draws
# the figures of the full experiment; those are shown at the end.

# %%
import os
import sys
import tempfile
from pathlib import Path

QUICK = os.environ.get("SDI_BENCH_QUICK") == "1"  # fewer seeds
sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "analysis").is_dir())))
folder = tempfile.TemporaryDirectory()  # all that is written goes there
os.chdir(folder.name)
os.environ["TQDM_DISABLE"] = "1"

from math import inf

import numpy as np
import pandas as pd
from IPython.display import Image, display

from analysis.figures.style import look, panels, save
from analysis.plot import FOLDER, named, names
from analysis.runs import Runs, interval
from sdi_bench.evaluate import experiment
from sdi_bench.jobs import execute
from sdi_bench.run import preflight
from sdi_bench.store import Listed, write_index

pd.options.display.float_format = "{:.3g}".format
LIVE = {
    "scatter digits": ["seeds=0" if QUICK else "seeds=0..1"],
    "paths digits": ["seeds=0..7" if QUICK else "seeds=0..63"],
    "doses digits": ["seeds=0" if QUICK else "seeds=0..7", "grid.n_levels=10" if QUICK else "grid.n_levels=10,50"],
}
for tier, words in LIVE.items():
    plans = [plan for plan, *_ in preflight(["experiment=understanding", f"tier={tier}", "results=.", *words])]
    write_index(Path("understanding"), [Listed(*plan.place, plan.label, plan.gamma, plan.folder) for plan in plans])
    for plan in plans:
        execute(plan)
runs = Runs(Path("understanding"))

# %% [markdown]
# ## How far one update scatters
#
# At the same `x0`, on each sampler's own path, the noise is drawn again and again: the variance of the update over these draws,
# against the noise level at which the noise is sought. See that averaging draws lowers it, that keeping a part of the last prediction (`mixed`) lowers it, and that
# inversion has almost none. DDIM draws nothing and has none at all. `mixed, lam 1` is DDPM, which samples well: the line to
# compare SDS with.

# %%
figure, axes = panels(1, 1, width=6.4, height=3.6)
styles = look([run.row for run in runs.tier("scatter digits")])
for run in runs.tier("scatter digits"):
    items, arrays = run.probed
    axes[0][0].plot(arrays["sigma"][0], arrays["variance"].mean(0), label=run.row, **styles[run.row])
axes[0][0].set(xscale="log", yscale="log", xlabel="noise level sigma", ylabel="variance of the update", ylim=(1e-5, None))
axes[0][0].invert_xaxis()
axes[0][0].legend(fontsize=7)
save(figure, Path("scatter.png"))
display(Image("scatter.png"))

# %% [markdown]
# As one number: the mean over the levels, with a 95 % interval over prompts.

# %%
found = []
for run in runs.tier("scatter digits"):
    items, arrays = run.probed
    found.append({"noise": run.row} | interval(arrays["variance"].mean(1), items))
display(pd.DataFrame(found).set_index("noise"))

# %% [markdown]
# ## Paths
#
# How long is the way that `x0` goes (the sum of the rms of its steps), and does it go straight (the cosine between one step and
# the next, mean over the path)? See that SDS walks a long way with steps that turn back on each other (a cosine below 0), for each fresh noise undoes a part
# of what the last one did, while DDIM's steps go on where the last ones went.

# %%
found = []
for run in runs.tier("paths digits"):
    items, arrays = run.probed
    length, turn = (interval(values, items) for values in (arrays["length"].sum(1), arrays["turn"].mean(1)))
    cells = {"low": "low", "point": "", "high": "high"}
    found.append({"noise": run.row, "length": length["point"], "cosine": turn["point"], "low": turn["low"], "high": turn["high"]})
display(pd.DataFrame(found).set_index("noise"))

# %% [markdown]
# ## Does the noise belong to the image?
#
# Over the seeds of a prompt, pixel by pixel: the correlation between the noise that is added and the `x0` that comes out of the step.
# DDIM's noise is tied to its image; fresh noise is not and cannot be. See how the tie grows along DDIM's path, that SDS's stays
# near 0, and where inversion and Anderson's solution of eq. 8 lie.

# %%
figure, axes = panels(1, 1, width=6.4, height=3.6)
styles = look([run.row for run in runs.tier("paths digits")])
for run in runs.tier("paths digits"):
    items, arrays = run.probed
    which = "eps" if np.isnan(arrays["kappa"]).all() else "kappa"  # DDIM and DDPM carry x: their noise is the prediction
    ties = []
    for prompt in ("3", "8"):
        mine = np.array([item.prompt == prompt for item in items])
        noise, image = (arrays[name][mine][:, :-1] for name in (which, "x0"))
        noise, image = noise - noise.mean(0), image - image.mean(0)
        ties.append((noise * image).sum((0, 2, 3, 4)) / np.sqrt((noise**2).sum((0, 2, 3, 4)) * (image**2).sum((0, 2, 3, 4))))
    axes[0][0].plot(arrays["sigma"][0][:-1], np.mean(ties, axis=0), label=run.row, **styles[run.row])
axes[0][0].set(xscale="log", xlabel="noise level sigma", ylabel="correlation of noise and x0")
axes[0][0].invert_xaxis()
axes[0][0].legend(fontsize=7)
save(figure, Path("correlation.png"))
display(Image("correlation.png"))
