"""Ways to solve eq. 8: what they cost against how near they come to DDIM's noise and DDIM's next image."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sdi_bench.plotting.style import legend, look, panels, plain, save, told, whiskers

from ..runs import Runs, interval
from ..text import prior_of

MEASURES = {
    "residual": "residual of eq. 8 (rms)",
    "to_path": "cosine to DDIM's noise",
    "next": "distance to DDIM's next x0 (rms)",
}


def family(name: str) -> str:
    """The solver without its number of steps: `damped .5, 20` -> `damped .5`."""
    return name if "then" in name else re.sub(r",? \d+$", "", name)


@dataclass(frozen=True)
class Solvers:
    """tiers: of a probe `kappas` on DDIM's path, whose kappas are solvers at several costs."""

    tiers: Sequence[str]

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """tier, gamma, kappa, family, rows (network rows an image, mean over levels), measure; point: the mean over items,
        with interval, of an item's median over levels.
        """
        found = []
        for tier in self.tiers:
            for run in runs.tier(tier):
                items, arrays = run.probed
                for k, kappa in enumerate(run.config["probe"]["kappas"]):
                    about = {"tier": tier, "gamma": float(run.gamma), "kappa": kappa, "family": family(kappa)}
                    rows = {"rows": float(arrays["rows"][:, :, k].mean())}
                    for measure in MEASURES:
                        values = np.median(arrays[measure][:, :, k], axis=1)
                        found.append(about | rows | {"measure": measure} | interval(values, items))
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """A column per tier and guidance, a row per measure; solvers of one family are joined."""
        columns = list(dict.fromkeys(zip(table["tier"], table["gamma"], strict=True)))
        figure, axes = panels(len(MEASURES), len(columns), width=12.2 / len(columns), height=2.5, sharex=True, sharey="row")
        styles = look(list(dict.fromkeys(table["family"])))
        for j, (tier, gamma) in enumerate(columns):
            for i, (measure, label) in enumerate(MEASURES.items()):
                axis = axes[i][j]
                some = table[(table["tier"] == tier) & (table["gamma"] == gamma) & (table["measure"] == measure)]
                for name, rows in some.groupby("family", sort=False):
                    axis.errorbar(rows["rows"], rows["point"], yerr=whiskers(rows), label=told(name), **styles[str(name)])
                axis.set(xscale="log")
                plain(axis.xaxis)
                if measure != "to_path":
                    axis.set(yscale="log")
                axis.tick_params(labelsize=7)
                if j == 0:
                    axis.set_ylabel(label, fontsize=8)
            axes[0][j].set_title(f"{prior_of(tier)}, γ = {gamma:g}", fontsize=9)
            axes[-1][j].set_xlabel("network rows an image", fontsize=8)
        legend(figure, axes[0])
        save(figure, path)
