"""The residual of eq. 8 (arXiv 2405.15891) along each run's own path, and the size of kappa."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .rows import Rows, estimates, listed
from .style import legend, lines, look, over_sigma, panels, upright

FLOOR = 1e-4
"""Values below this are shown at it: roots to rounding, and kappa = 0."""

WHATS = {"residual": "σ·rms(ε(a·x0 + b·κ) − κ)\n(x0 units)", "size": "rms of κ\n(white noise: 1)"}


def prepare(rows: Rows) -> pd.DataFrame:
    """gamma, run, sigma, what, point, low, high; means over items. what: `residual`, sigma·rms(eps - kappa) at the level where
    the network was asked, at the x0 that was there; `size`, rms of kappa. Raises ValueError where nothing was traced.
    """
    found = []
    for row in rows.traced():
        path = row.path
        assert path is not None
        for what, values in (("residual", path.sigma * path.rms["residual"]), ("size", path.rms["noise"])):
            made = estimates(lambda k, v=values: v[k].mean(axis=0), path.items)  # type: ignore[misc]
            for at, value in zip(np.exp(np.log(path.sigma).mean(axis=0)), made, strict=True):
                found.append({"gamma": row.gamma, "run": row.label, "sigma": at, "what": what} | value)
    return pd.DataFrame(found)


def draw(table: pd.DataFrame, rows: Rows) -> Figure:
    """Above the residual, below the size of kappa, a column a guidance scale; bands are 95 % intervals."""
    gammas = sorted(table["gamma"].unique())
    figure, axes = panels(2, len(gammas), width=max(3.4, 6.8 / len(gammas)), sharex=True, sharey="row")
    styles = look(list(dict.fromkeys(table["run"])))
    for j, gamma in enumerate(gammas):
        for i, (what, unit) in enumerate(WHATS.items()):
            axis = axes[i][j]
            some = table[(table["gamma"] == gamma) & (table["what"] == what) & np.isfinite(table["point"])]
            lines(axis, some, "sigma", styles, FLOOR)
            upright(axis.yaxis, table[(table["what"] == what)]["point"].clip(lower=FLOOR))
            over_sigma(axis.xaxis)
            axis.set_title(f"γ {gamma:g}" if i == 0 else "", fontsize=9)
            axis.set_xlabel("noise level σ = b/a" if i else "", fontsize=8)
            axis.set_ylabel(unit if j == 0 else "", fontsize=8)
            if what == "size":
                axis.axhline(1, color="0.6", linewidth=0.8, zorder=0)
    legend(figure, [axis for line in axes for axis in line])
    return figure


def caption(table: pd.DataFrame) -> str:
    """What is seen, in a sentence."""
    means = {}
    for what in WHATS:
        some = table[(table["what"] == what) & np.isfinite(table["point"])]
        means[what] = {str(run): float(line["point"].median()) for run, line in some.groupby("run", sort=False)}
    return (
        f"Error of eq. 8 where each run asked its network, median over levels: {listed(means['residual'])}; a small one "
        f"is worth something only where κ has the size of noise: {listed(means['size'])}."
    )
