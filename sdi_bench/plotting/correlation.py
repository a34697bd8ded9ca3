"""How the noise of one level is related to that of another: the matrix over pairs of levels, for each run."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .rows import Row, Rows, listed, prompts_of
from .style import panels

COLUMNS = 8
"""Runs that are shown at most."""


def over_seeds(noise: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """Pearson's correlation across the items of a prompt at each pixel, the mean over pixels and prompts: [places, places].

    Pixels that do not vary at a level say nothing there and are left out.
    """
    each = []
    for prompt in np.unique(prompts):
        some = noise[prompts == prompt]
        centred = some - some.mean(axis=0)
        size = np.sqrt((centred**2).sum(axis=0))
        with np.errstate(invalid="ignore", divide="ignore"):
            unit = np.where(size > 1e-9, centred / size, np.nan)
        product = np.einsum("nip,njp->ijp", unit, unit)
        each.append(np.nanmean(product, axis=2))
    return np.mean(each, axis=0)


def over_pixels(noise: np.ndarray) -> np.ndarray:
    """The cosine of two levels' noise as vectors, the mean over items: [places, places]."""
    unit = noise / np.linalg.norm(noise, axis=2, keepdims=True)
    return np.einsum("nip,njp->nij", unit, unit).mean(axis=0)


def seeds_of(row: Row) -> int:
    """The least number of items that a prompt of the run has."""
    assert row.path is not None
    return int(np.unique(prompts_of(row.path.items), return_counts=True)[1].min())


FEW = 4
"""Seeds of a prompt below which a correlation over seeds says nothing: of two it is 1 or -1."""


def prepare(rows: Rows) -> pd.DataFrame:
    """run, i, j, sigma_i, sigma_j, over pixels, over seeds (NaN where a prompt has fewer than FEW), noisiest level first.

    Of kappa; in a sampler that carries x, of the noise in it beside the x0 before. Raises ValueError where nothing was traced.
    """
    found = []
    traced = rows.traced()
    for row in traced[:COLUMNS]:
        path = row.path
        assert path is not None
        finite = np.isfinite(path.noise).all(axis=(0, 2)) & (path.rms["noise"] > 0).all(axis=0)
        noise, sigma = path.noise[:, finite], np.exp(np.log(path.sigma[:, finite]).mean(axis=0))
        if not len(sigma):
            continue
        pixels, seeds = over_pixels(noise), np.full((len(sigma), len(sigma)), np.nan)
        if seeds_of(row) >= FEW:
            seeds = over_seeds(noise, prompts_of(path.items))
        label = row.label if len({other.gamma for other in traced}) == 1 else f"{row.label} γ {row.gamma:g}"
        for i, j in np.ndindex(seeds.shape):
            about = {"run": label, "i": i, "j": j, "sigma_i": sigma[i], "sigma_j": sigma[j]}
            found.append(about | {"over seeds": seeds[i, j], "over pixels": pixels[i, j]})
    if not found:
        raise ValueError("no run here adds a noise other than 0 that is finite; sampler=sds, sdi, ddim do")
    return pd.DataFrame(found)


def draw(table: pd.DataFrame, rows: Rows) -> Figure:
    """Matrices, noisiest level first; blue is against, red is along."""
    runs = list(dict.fromkeys(table["run"]))
    kinds = [kind for kind in ("over seeds", "over pixels") if table[kind].notna().any()]
    figure, axes = panels(len(kinds), len(runs), width=max(1.7, 5.2 / (len(runs) + 1)), height=max(1.7, 5.2 / (len(runs) + 1)))
    image = None
    for line, kind in zip(axes, kinds, strict=True):
        for axis, run in zip(line, runs, strict=True):
            some = table[table["run"] == run]
            sigmas = some[some["j"] == 0].sort_values("i")["sigma_i"].to_numpy()
            matrix = some.sort_values(["i", "j"])[kind].to_numpy().reshape(len(sigmas), -1)
            image = axis.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
            ticks = sorted({0, len(sigmas) // 2, len(sigmas) - 1})
            axis.set_xticks(ticks, [f"{sigmas[k]:.2g}" for k in ticks], fontsize=7)
            axis.set_yticks(ticks, [f"{sigmas[k]:.2g}" for k in ticks], fontsize=7)
            axis.set_title(run if kind == kinds[0] else "", fontsize=9)
            axis.set_xlabel("noise level σ" if kind == kinds[-1] else "", fontsize=8)
        line[0].set_ylabel(f"{kind}\nnoise level σ", fontsize=8)
    assert image is not None
    bar = figure.colorbar(image, ax=[axis for line in axes for axis in line], shrink=0.8, aspect=30)
    bar.set_label("correlation of the noise κ", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def caption(table: pd.DataFrame) -> str:
    """What is seen, in a sentence."""
    kind = "over seeds" if table["over seeds"].notna().any() else "over pixels"
    off = table[table["i"] != table["j"]]
    mean = {str(run): float(line[kind].mean()) for run, line in off.groupby("run", sort=False)}
    return f"Correlation of the noise κ of two levels; the mean over pairs of different levels, {kind}: {listed(mean)}."
