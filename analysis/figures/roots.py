"""How many noises solve eq. 8, and where fixed-point iteration finds one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.ticker import MaxNLocator

from sdi_bench.plotting.style import ordered, over_sigma, panels, save, told, upright

from ..runs import Runs, interval
from ..text import prior_of


@dataclass(frozen=True)
class Roots:
    """steepness: tiers of the probe `steepness`. roots: a tier of the probe `root_count`. A panel each."""

    steepness: Sequence[str]
    roots: str

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """tier, gamma, sigma, measure (radius: spectral radius of kappa -> eps; roots: how many); mean over items with
        interval; above: the share of items above 1. Roots are those in the probe's window: there may be more.
        """
        found = []
        for tier, measure in [(tier, "radius") for tier in self.steepness] + [(self.roots, "roots")]:
            for run in runs.tier(tier):
                items, arrays = run.probed
                for place, sigma in enumerate(arrays["sigma"][0]):
                    values = arrays[measure][:, place]
                    about = {"tier": tier, "gamma": float(run.gamma), "sigma": float(sigma), "measure": measure}
                    found.append(about | interval(values, items) | {"above": float((values > 1).mean())})
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """Over sigma, a line a guidance scale; 1 is where Picard's iteration stops to converge, and a single root."""
        tiers = [*self.steepness, self.roots]
        figure, axes = panels(1, len(tiers), width=12.2 / len(tiers), height=3.4)
        styles = ordered([f"γ = {gamma:g}" for gamma in sorted(set(table["gamma"]))])
        for axis, tier in zip(axes[0], tiers, strict=True):
            for gamma, rows in table[table["tier"] == tier].groupby("gamma"):
                name = f"γ = {gamma:g}"
                axis.plot(rows["sigma"], rows["point"], label=told(name), **styles[name])
                axis.fill_between(
                    rows["sigma"], rows["low"].clip(lower=1e-3), rows["high"], alpha=0.15, color=styles[name]["color"]
                )
            axis.axhline(1, color="0.4", linewidth=0.8, zorder=0)
            over_sigma(axis.xaxis)
            axis.legend(fontsize=7, frameon=False)
            if tier != self.roots:
                upright(axis.yaxis, table[table["tier"] == tier]["point"])
                axis.set_title(f"{prior_of(tier)}: spectral radius of κ → ε", fontsize=9)
        axes[0][-1].yaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0][-1].set_title("on the line: roots of eq. 8 found, mean over items", fontsize=9)
        save(figure, path)
