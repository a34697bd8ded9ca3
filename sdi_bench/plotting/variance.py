"""Gradient variance over the noise level: how far the gradients of a prompt's seeds scatter, and how large they are."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .rows import Rows, estimates, listed, prompts_of
from .style import legend, lines, look, over_sigma, panels, upright

FAINTEST = 1e-9
"""A variance below this is none: it has no place on a logarithmic axis."""

WHATS = {"variance": "Var over seeds (x0 units²)", "rms": "rms (x0 units)"}


def over_seeds(values: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """Unbiased variance over the items of a prompt, the mean over values and prompts: [items, places, values] -> [places].

    Prompts of one item say nothing, and NaN comes of none with two.
    """
    each = [values[prompts == prompt].var(axis=0, ddof=1).mean(axis=1) for prompt in np.unique(prompts)
            if (prompts == prompt).sum() > 1]  # fmt: skip
    return np.mean(each, axis=0) if each else np.full(values.shape[1], np.nan)


def prepare(rows: Rows) -> pd.DataFrame:
    """gamma, run, sigma, what, point, low, high. what: `variance`, of x0's gradient over seeds (`over_seeds`); `rms`, the mean
    over items of its root mean square. Raises ValueError where nothing was traced.
    """
    found = []
    for row in rows.traced():
        path = row.path
        assert path is not None
        prompts, sigma = prompts_of(path.items), np.exp(np.log(path.sigma).mean(axis=0))
        gradient, size = path.gradient, path.rms["gradient"]
        whats = {
            "variance": estimates(lambda k, g=gradient, p=prompts: over_seeds(g[k], p[k]), path.items),  # type: ignore[misc]
            "rms": estimates(lambda k, s=size: s[k].mean(axis=0), path.items),  # type: ignore[misc]
        }
        for what, values in whats.items():
            for at, value in zip(sigma, values, strict=True):
                found.append({"gamma": row.gamma, "run": row.label, "sigma": at, "what": what} | value)
    return pd.DataFrame(found)


def draw(table: pd.DataFrame, rows: Rows) -> Figure:
    """Above the variance, if a prompt has two seeds, below the size, a column a guidance scale; bands are 95 % intervals."""
    whats = [what for what in WHATS if (table.loc[table["what"] == what, "point"] > FAINTEST).any()] or ["rms"]
    gammas = sorted(table["gamma"].unique())
    figure, axes = panels(len(whats), len(gammas), width=max(3.4, 6.8 / len(gammas)), sharex=True, sharey="row")
    styles = look(list(dict.fromkeys(table["run"])))
    for j, gamma in enumerate(gammas):
        for i, what in enumerate(whats):
            axis = axes[i][j]
            known = table[(table["what"] == what) & (table["point"] > FAINTEST)]["point"]
            some = table[(table["gamma"] == gamma) & (table["what"] == what) & (table["point"] > FAINTEST)]
            lines(axis, some, "sigma", styles, FAINTEST)
            upright(axis.yaxis, known)
            over_sigma(axis.xaxis)
            axis.set_title(f"γ {gamma:g}" if i == 0 else "", fontsize=9)
            axis.set_xlabel("noise level σ = b/a" if what == whats[-1] else "", fontsize=8)
            axis.set_ylabel(f"gradient on x0: {WHATS[what]}" if j == 0 else "", fontsize=8)
    legend(figure, [axis for line in axes for axis in line])
    return figure


def caption(table: pd.DataFrame) -> str:
    """What is seen, in a sentence."""
    some = table[(table["what"] == "variance") & (table["point"] > FAINTEST)]
    if some.empty:
        return "Gradients on x0 along each path; no prompt has two seeds, so there is no variance over them."
    mean = {str(run): float(np.exp(np.log(line["point"]).mean())) for run, line in some.groupby("run", sort=False)}
    return (
        f"Variance of the gradient on x0 over the seeds of a prompt, and its size; geometric mean over levels: {listed(mean)}."
    )
