"""The residual of eq. 8 against the noise level, every kappa scored at the same x0 (the paper's figure 9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sdi_bench.plotting.style import legend, look, panels, plain, save, told

from ..runs import Runs, interval
from ..text import prior_of

FLOOR = 1e-3
"""Residuals below this are shown at it: roots to rounding."""

SMALL = 1e-2
"""The same for the size of kappa, which is 0 for kappa = 0."""


@dataclass(frozen=True)
class Residual:
    """tiers: of probes `kappas`, a row of panels each. rows: where x0 is taken from, a column each. kappas: those drawn.

    gamma: which guidance is drawn.
    """

    tiers: Sequence[str]
    rows: Sequence[str]
    kappas: Sequence[str]
    gamma: float = 1.0

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """tier, at, gamma, kappa, sigma; residual (mean over items, x0 units) with interval; size (rms of kappa, median over
        items); to_path (cosine to the path's own noise) and rows (network rows an image), means.
        """
        found = []
        for tier in self.tiers:
            for run in runs.tier(tier):
                items, arrays = run.probed
                for k, kappa in enumerate(run.config["probe"]["kappas"]):
                    for place, sigma in enumerate(arrays["sigma"][0]):
                        values = {name: arrays[name][:, place, k] for name in ("residual", "size", "to_path", "rows")}
                        means = {name: float(values[name].mean()) for name in ("to_path", "rows")} | {
                            "size": float(np.median(values["size"]))
                        }
                        about = {"tier": tier, "at": run.row, "gamma": run.gamma, "kappa": kappa, "sigma": float(sigma)}
                        found.append(about | interval(values["residual"], items) | means)
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """Per tier a row of residuals over sigma and one of the sizes of kappa; what is below the axis stands on its edge."""
        figure, axes = panels(
            2 * len(self.tiers), len(self.rows), width=12.2 / len(self.rows), height=2.2, sharex=True, sharey="row"
        )
        shown = table[(table["gamma"] == self.gamma) & table["kappa"].isin(list(self.kappas))]
        styles = look(self.kappas)
        for i, tier in enumerate(self.tiers):
            for j, at in enumerate(self.rows):
                error, size = axes[2 * i][j], axes[2 * i + 1][j]
                for kappa, rows in shown[(shown["tier"] == tier) & (shown["at"] == at)].groupby("kappa", sort=False):
                    style = styles[str(kappa)]
                    error.plot(rows["sigma"], rows["point"].clip(lower=FLOOR), label=told(kappa), **style)
                    error.fill_between(
                        rows["sigma"],
                        rows["low"].clip(lower=FLOOR),
                        rows["high"].clip(lower=FLOOR),
                        alpha=0.1,
                        color=style["color"],
                    )
                    size.plot(rows["sigma"], rows["size"].clip(lower=SMALL), **style)
                size.axhline(1, color="0.6", linewidth=0.8, zorder=0)
                error.set_title(f"{prior_of(tier)}: x0 {at}", fontsize=9)
                for axis in (error, size):
                    axis.set(xscale="log", yscale="log")
                    axis.tick_params(labelsize=8)
            axes[2 * i][0].set_ylim(bottom=0.8 * FLOOR)  # shared by the row; set last, for it ends autoscaling
            axes[2 * i + 1][0].set_ylim(bottom=0.7 * SMALL)
            axes[2 * i][0].set_ylabel("residual of eq. 8\n(rms, x0 units)", fontsize=8)
            axes[2 * i + 1][0].set_ylabel("rms of κ, median\n(white noise: 1)", fontsize=8)
        for axis in axes[-1]:
            axis.set_xlabel("noise level σ", fontsize=8)
            plain(axis.xaxis)
        axes[0][0].invert_xaxis()
        legend(figure, axes[0])
        save(figure, path)
