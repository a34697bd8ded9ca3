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
# SDS, SDI and DDIM differ in their noise alone. So what is it about the noise that matters: its size, its scatter from draw
# to draw, or how it hangs together with the image? The experiment `understanding` measures that *along the path*, with
# probes. Here two of its probes and its sweep from DDIM to SDS run live on the digits, with few seeds, and are drawn by the
# same code that draws the figures of the full experiment; those are shown at the end.

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

from dataclasses import replace

import numpy as np
import pandas as pd
from IPython.display import Image, Markdown, display

from analysis.plot import FOLDER, named
from analysis.runs import Runs, interval
from sdi_bench.evaluate import experiment
from sdi_bench.jobs import execute
from sdi_bench.plotting.style import look, panels, save
from sdi_bench.store import Listed, write_index
from sdi_bench.sweeps import preflight

pd.options.display.float_format = "{:.3g}".format

# %% [markdown]
# These parts (tiers) of the experiment are run here: the scatter of an update over draws of its noise; whole paths, of the
# digits and of a Gaussian, where all is known in closed form; and a sweep from DDIM to SDS. On the command line: `python -m
# sdi_bench.run experiment=understanding tier="scatter digits"`.

# %%
sweep = ["seeds=0..1", "grid.n_levels=10"] if QUICK else ["seeds=0..7", "grid.n_levels=10,25,100"]
live = {
    "scatter digits": ["seeds=0" if QUICK else "seeds=0..1"],
    "paths digits": ["seeds=0..7" if QUICK else "seeds=0..63"],
    "paths gaussian": ["seeds=0..31" if QUICK else "seeds=0..255"],
    "doses digits": sweep,
}
for tier, words in live.items():
    plans = [plan for plan, *_ in preflight(["experiment=understanding", f"tier={tier}", "results=.", *words])]
    write_index(Path("understanding"), [Listed(*plan.place, plan.label, plan.gamma, plan.folder) for plan in plans])
    for plan in plans:
        execute(plan)
    print(f"{tier}: {len(plans)} runs of {len(plans[0].items)} items")
runs = Runs(Path("understanding"))

# %% [markdown]
# ## How far updates scatter
#
# Left: at the same `x0`, on each sampler's own path, the noise is drawn again and again, and this is the variance of the
# update over these draws. DDIM draws nothing and has none. Middle: the squared mean of the update over that variance: how
# much of a step is aim. Right: the variance of the update over the seeds of a prompt, each on its own path.
#
# See that SDS scatters most; that the mean of four draws and DDPM's dose of the last prediction (`mixed, lam 1`; it samples
# well) have several times less, and half of it kept at each step (`rho .5`) not much less; and that SDI's scatter is all its
# added entropy: without it, and with a fixed time, inversion has none, and no line on the left.

# %%
scatter = replace(named("scatter").figure, scatter=["scatter digits"], paths=["paths digits"])
table = scatter.prepare(runs)
scatter.draw(table, runs, Path("scatter.png"))
display(Image("scatter.png"))

# %% [markdown]
# Over draws as one number: the mean over the levels, with a 95 % interval over seeds or prompts.

# %%
found = []
for run in runs.tier("scatter digits"):
    items, arrays = run.probed
    found.append({"noise": run.row} | interval(arrays["variance"].mean(1), items))
display(pd.DataFrame(found).set_index("noise"))

# %% [markdown]
# ## Paths
#
# How long is the way that `x0` goes (the sum of the rms of its steps), and does it go straight (the cosine between one step
# and the next, the mean over the path)? See that DDIM (`previous` is the same path) goes on where it went, that SDS walks
# many times as far with steps that turn back on each other (a cosine below 0: each fresh noise undoes a part of what the last
# one did), and that one `fixed` noise makes the path straight again.

# %%
found = []
for run in runs.tier("paths digits"):
    items, arrays = run.probed
    turn = interval(arrays["turn"].mean(1), items)
    found.append({"noise": run.row, "length": arrays["length"].sum(1).mean()} | {f"cosine {key}": x for key, x in turn.items()})
display(pd.DataFrame(found).set_index("noise").drop(columns="cosine n"))

# %% [markdown]
# ## The noise of one level and of another
#
# For each kappa the correlation, over seeds, of the noise at one level (row) and at another (column). See that DDIM's
# (`previous`) stays much the same all the way down, and that SDS's has nothing to do with that of another level. So it is
# with `mixed` here, whose levels shown are several steps apart, and with SDI, whose noise is for the most part its added
# entropy.

# %%
tiers = ["paths gaussian", "paths digits"]
correlation = replace(named("correlation").figure, tiers=tiers)
correlation.draw(correlation.prepare(runs), runs, Path("correlation.png"))
display(Image("correlation.png"))

# %% [markdown]
# ## Does the noise belong to the image?
#
# Over the seeds of a prompt, pixel by pixel: the correlation between the `x0` before a step and the noise that is added to
# it. (`previous` is DDIM; samplers that carry the noisy image itself add none.) See that DDIM's noise is tied to its image,
# that SDS's is not, and SDI's hardly: what inversion finds in an image is small, and the entropy added to it knows nothing.
# Anderson's solution of eq. 8 is tied to the image even more closely than DDIM's noise.

# %%
carried = [run for run in runs.tier("paths digits") if np.isfinite(run.probed[1]["kappa"][:, 1:]).all()]
figure, axes = panels(1, 1, width=6.4, height=3.6)
styles = look([run.row for run in carried])
for run in carried:
    items, arrays = run.probed
    ties = []
    for prompt in ("3", "8"):
        mine = np.array([item.prompt == prompt for item in items])
        noise, image = (x[mine][:, 1:] for x in (arrays["kappa"], arrays["x0"] - arrays["update"]))
        noise, image = noise - noise.mean(0), image - image.mean(0)
        ties.append((noise * image).sum((0, 2, 3, 4)) / np.sqrt((noise**2).sum((0, 2, 3, 4)) * (image**2).sum((0, 2, 3, 4))))
    axes[0][0].plot(arrays["sigma"][0][1:], np.mean(ties, axis=0), label=run.row, **styles[run.row])
axes[0][0].set(xscale="log", xlabel="noise level sigma", ylabel="correlation of noise and x0")
axes[0][0].invert_xaxis()
axes[0][0].legend(fontsize=7, bbox_to_anchor=(1.01, 1), loc="upper left")
save(figure, Path("tie.png"))
display(Image("tie.png"))

# %% [markdown]
# ## What is lost: variance, or the tie?
#
# From DDIM to SDS by degrees (`lam`), and right of the line the mean of many fresh draws, which scatters less but is tied to
# nothing. If scatter were what spoils SDS's pictures, more draws would mend them.
#
# *nearest* is the distance to the nearest training digit: a perfect sampler keeps the grain of this law, 0.2, as DDIM nearly
# does with many levels. See that it falls a little up to DDPM, further towards SDS, and nearly to nothing with the mean of
# many draws: **less scatter, and worse**.

# %%
said = {"results": ".", "also": sweep, "tier": "doses digits", "uint8": True}
measured = experiment("understanding", said)["measures"]
measured.to_csv("understanding/measures.csv", index=False)
doses = named("doses").figure
doses = replace(doses, measures={"doses digits": doses.measures["doses digits"]})
doses.draw(doses.prepare(runs), runs, Path("doses.png"))
display(Image("doses.png"))

# %% [markdown]
# ## The full experiment
#
# The same figures over all seeds and with the text-to-image prior beside, from `results/understanding` (where they are
# there), and what was seen in them.

# %%
for name in ("scatter", "paths", "correlation", "doses"):
    if (FOLDER / f"{name}.png").is_file():
        one = named(name)
        display(Markdown(f"**{one.title}** {one.seen}"))
        display(Image(FOLDER / f"{name}.png"))
