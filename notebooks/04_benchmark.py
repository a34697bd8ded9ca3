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
# # The benchmark, read
#
# The samplers on the built-in text-to-image prior at 32 pixels: all that is shown here is read from the committed tables in
# `results/benchmark2d`, so it takes seconds; nothing is sampled. How the tables are made:
#
#     python -m sdi_bench.run experiment=benchmark2d          # an hour: samples
#     python -m sdi_bench.evaluate experiment=benchmark2d     # minutes: measures.csv, differences.csv, claims.csv
#     python -m analysis.benchmark2d                          # seconds: tables.txt, gamma.png, kappa.png
#
# The criteria (which claims, which margins) are in `conf/experiment/benchmark2d.yaml`, written down before the first run.
# `±` is half of a 95 % interval, over clusters: a concept with its views and seeds is one.

# %%
import os
import sys
import tempfile
from pathlib import Path

QUICK = os.environ.get("SDI_BENCH_QUICK") == "1"  # fewer columns; it takes seconds either way
sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "analysis").is_dir())))
folder = tempfile.TemporaryDirectory()  # all that is written goes there
os.chdir(folder.name)

import pandas as pd
from IPython.display import Image, Markdown, display

from analysis.benchmark2d import (
    BLOCKS,
    FOLDER,
    best,
    block,
    draw_curves,
    draw_kappas,
    pairs,
    prepare_curves,
    prepare_kappas,
)
from analysis.claims import outcome
from analysis.plot import FOLDER as UNDERSTANDING
from sdi_bench.evaluate import TABLES, read_table

pd.options.display.max_colwidth = None
measures, differences, claims = (read_table(FOLDER / f"{name}.csv") for name in TABLES)
overview = measures.groupby("tier", sort=False).agg(
    runs=("results", "nunique"), items=("n", "max"), measures=("measure", "nunique")
)
display(overview.join(measures.groupby("tier")["gamma"].unique().map(sorted).rename("guidance scales")))

# %% [markdown]
# A **tier** is a set of runs that share their items: `test` has one item for each val picture, for distances between laws;
# `test256` fewer, for SDI too and at guidance 3; `seeds` four seeds of few prompts, for every choice of noise; `tune` other
# prompts, for the curve over guidance; `floor` is DDIM again on other seeds: what no sampler can be told to beat.
#
# ## How good are the pictures?
#
# Distances: less is better, precision to coverage: more is. *rprec*: the share of pictures that suit their own prompt best of
# 100. The look is a log ratio to real pictures of the same captions: 0 is as they are. Compare each row with `ddim`, and
# `floor` with `ddim` for what chance does. A caution: distances and retrieval also reward a sampler that copies training
# pictures (*novelty*, where it has been measured, tells).

# %%
for tier in ("test", "test256", "floor"):
    rows = measures[measures["tier"] == tier].sort_values("gamma", kind="stable")
    for title, columns in BLOCKS[tier].items() if len(rows) else ():
        print(f"{tier}: {title}\n\n{block(rows, columns)}\n\n")

# %% [markdown]
# ## Every choice of noise
#
# The same prompts and seeds, one row a sampler or a kappa, at guidance 3.

# %%
rows = measures[(measures["tier"] == "seeds") & (measures["gamma"] == 3)]
for title, columns in list(BLOCKS["seeds"].items())[: 1 if QUICK else None]:
    print(f"{title}\n\n{block(rows, columns)}\n\n")

# %% [markdown]
# Less DDIM's on the same items, with the interval of the paired difference: paired, for the prompts differ more from each
# other than the samplers do. A line across 0 means that the two cannot be told apart by this measure.

# %%
draw_kappas(prepare_kappas(differences), Path("kappa.png"))
display(Image("kappa.png"))

# %% [markdown]
# ## Guidance
#
# On the prompts for tuning. See where each measure is best: kernel distance (less is better) and retrieval (more is better)
# over the guidance scale, and, with 0 for real pictures, sharpness and saturation, which show when the pictures leave [-1,
# 1].

# %%
draw_curves(prepare_curves(measures), Path("gamma.png"))
display(Image("gamma.png"))

# %%
chosen = best(measures, "kd_effnet")
said = ", ".join(f"{run} at {gamma:g}" for run, gamma in chosen.items())
display(Markdown(f"By kernel distance to real tuning pictures each sampler is best so: {said}."))

# %% [markdown]
# ## The claims
#
# What the paper says of the trained network, tested on this prior by paired differences `a - b`. A verdict stands on a
# p-value by Holm's method over all claims, or, for *equal*, on an equivalence test within the margin of the measure; *not
# distinguishable* is neither. `claimed` is what the paper's words would need.

# %%
ordered = claims.sort_values(["claim", "gamma"], kind="stable")
print(pairs(ordered))

# %%
known = ordered.dropna(subset=["verdict"]).copy()
known["outcome"] = [outcome(row.verdict, row.expected) for row in known.itertuples()]
display(pd.crosstab([known["claim"], known["gamma"]], known["outcome"]))
counts = known["outcome"].value_counts()
parts = [f"*{name}*: {count}" for name, count in counts.items()]
display(Markdown(f"Of {len(ordered)} tests {len(known)} could be made. {', '.join(parts)}."))

# %% [markdown]
# ## All claims, with what theory proves
#
# The table of `python -m analysis.claims` joins these with the identities of `01_equivalence` and the probes of `02_noise`.
# It is shown where it has been made.

# %%
path = UNDERSTANDING / "claims_table.csv"
if path.is_file():
    everything = pd.read_csv(path)
    display(pd.crosstab([everything["claim"], everything["where"]], everything["outcome"]))
    tested = everything[everything["outcome"] != "not measured"]
    parts = [f"*{name}*: {count}" for name, count in tested["outcome"].value_counts().items()]
    display(Markdown(f"{everything['claim'].nunique()} claims, {len(tested)} tests. {', '.join(parts)}."))
else:
    print("not there: python -m analysis.claims makes it from the runs of the experiment understanding")
