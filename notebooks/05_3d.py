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
# # In 3D
#
# Eq. 10 does not know that its x0 is a picture of something. Put a renderer in front of it and the same samplers make objects:
# at every step a camera is drawn, the field is seen from there, and the view moves towards its one-step denoised image. What
# changes is that no view's noise can be kept for the next one: they are different pictures, so `previous` and `mixed` are
# refused (arXiv 2405.15891, sec. 4), and κ has to be drawn anew (SDS) or found (SDI).
#
# Here the truth is known twice over: the prior is closed-form, and it is made of pictures of objects from known angles.

# %%
import os
import sys
import tempfile
from pathlib import Path

QUICK = os.environ.get("SDI_BENCH_QUICK") == "1"  # a coarse field and few steps
sys.path.insert(0, str(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "analysis").is_dir())))
folder = tempfile.TemporaryDirectory()  # all that is written goes there
os.chdir(folder.name)

from IPython.display import Image, display

import sdi_bench as sb
from analysis.benchmark3d import FOLDER
from analysis.known_shapes import made, sheet
from sdi_bench.models.shapes import shapes

# %% [markdown]
# ## One shape: the noise does not matter
#
# The prior is the eight views of a single armchair. Whatever noise is added, what the model believes is that armchair, and the
# field comes to look like it as well as a field fitted to the true views does (`zero`: each target is the true view).

# %%
SIZE = {"n_levels": 31, "resolution": 16} if QUICK else {}
KAPPAS = {"sds": sb.Fresh(), "sdi": sb.Inversion(guidance_scale=-1.0, t_min=0.2), "fitted": sb.Zero()}

one = shapes(n=1)
rows = {name: made(one, kappa, **SIZE)[0] for name, kappa in KAPPAS.items()}
display(Image(filename=str(sheet(one, rows, Path("one.png")))))

# %% [markdown]
# ## Four shapes: modes compete
#
# Now the prompt means four armchairs alike. SDS settles on one of them. What SDI makes is none: it is nearer to a convex blend
# of some than to any. The prior is the optimal denoiser of these views and knows nothing between. It is not that SDI lacks
# randomness: with no noise at all (`fitted` above) a true shape comes out as well.

# %%
four = shapes(n=4)
rows = {name: made(four, kappa, **SIZE)[0] for name, kappa in KAPPAS.items()}
display(Image(filename=str(sheet(four, rows, Path("four.png")))))

# %% [markdown]
# Take only a share of the inferred noise, and nothing or fresh noise for the rest: a tenth does no harm, with a quarter or a
# half some objects are neither a true shape nor a blend, and with three quarters or all of it they are nearest to a blend
# (eight seeds, each a point; `python -m analysis.known_shapes`). So what makes averages is the inferred noise itself.

# %%
display(Image(filename=str(FOLDER / "dose.png")))

# %% [markdown]
# ## A chain of close shapes: the average is one of them
#
# Two of the armchairs, and many blends of their pictures between them. Now what lies between two shapes is a shape itself, and
# SDI's object is as near to a true one as that of SDS. Which of the two a trained network's prior is like is not shown here.

# %%
chain = shapes(n=2, blends=7 if QUICK else 63)
rows = {name: made(chain, KAPPAS[name], **SIZE)[0] for name in ("sds", "sdi")}
display(Image(filename=str(sheet(chain, rows, Path("chain.png"), shown=(0, -1)))))

# %% [markdown]
# ## A text prior, on the same terms
#
# `experiment=benchmark3d` runs 20 prompts on the built-in text prior, which cuts pictures up and joins them anew. Tables,
# intervals and claims: `results/benchmark3d/tables.txt`.

# %%
display(Image(filename=str(FOLDER / "objects.png")))
