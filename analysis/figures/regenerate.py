"""Image -> noise -> image at several pairs of guidance (the paper's figure 18)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sdi_bench.plotting.style import legend, ordered, panels, plain, save, tile, whiskers

from ..runs import Run, Runs, interval
from ..text import prior_of
from .tiles import place_of


def pairs_of(run: Run) -> list[str]:
    """Its pairs (gamma_inv, gamma_fwd), as they are written in figures."""
    return [f"({up:g}, {down:g})" for up, down in run.config["probe"]["scales"]]


@dataclass(frozen=True)
class Regenerate:
    """tiers: of a probe `regenerate`, rows by their number of levels. pictured: the one with pictures; prompts: items shown."""

    tiers: Sequence[str]
    pictured: str
    prompts: Sequence[str]
    seed: int = 0

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """tier, levels, source_gamma, pair "(gamma_inv, gamma_fwd)"; rms error of the image that comes back, with interval;
        noise_size: rms of the noise found, mean over items.
        """
        found = []
        for tier in self.tiers:
            for run in runs.tier(tier):
                items, arrays = run.probed
                levels = run.config["sampler"]["grid"]["n_levels"]
                for k, pair in enumerate(pairs_of(run)):
                    about = {"tier": tier, "levels": levels, "source_gamma": run.gamma, "pair": pair}
                    size = {"noise_size": float(arrays["noise_size"][:, k].mean())}
                    found.append(about | interval(arrays["error"][:, k], items) | size)
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """Errors above and noise sizes below, for each pair."""
        figure, axes = panels(2, len(self.tiers), width=12.2 / len(self.tiers), height=2.5, sharex="col")
        styles = ordered([str(levels) for levels in sorted(set(table["levels"]))])
        for j, tier in enumerate(self.tiers):
            some = table[table["tier"] == tier]
            names = list(dict.fromkeys(some["pair"]))
            for k, (levels, rows) in enumerate(some.groupby("levels", sort=False)):
                style = styles[str(levels)] | {"linestyle": "none", "markersize": 6}
                place = np.arange(len(names)) + 0.12 * k
                axes[0][j].errorbar(place, rows["point"], yerr=whiskers(rows), capsize=3, label=f"{levels} levels", **style)
                axes[1][j].plot(place, rows["noise_size"], **style)
            axes[0][j].set_title(f"{prior_of(tier)}: sampled at γ = {some['source_gamma'].iloc[0]:g}", fontsize=9)
            axes[1][j].set_xticks(range(len(names)), names)
            axes[1][j].set_xlabel("(γ up, γ down)", fontsize=8)
            axes[1][j].axhline(1, color="0.6", linewidth=0.8, zorder=0)
            axes[1][j].set_ylim(0, 1.1 * some["noise_size"].max())
            axes[0][j].set_yscale("log")
            plain(axes[0][j].yaxis)
            for axis in (axes[0][j], axes[1][j]):
                axis.tick_params(labelsize=8)
        axes[0][0].set_ylabel("rms error of the image", fontsize=8)
        axes[1][0].set_ylabel("rms of the noise (white: 1)", fontsize=8)
        legend(figure, axes[0])
        save(figure, path)

    def draw_pictures(self, runs: Runs, path: Path) -> None:
        """The source, then what comes back per pair; an item and a number of levels each row."""
        made = runs.tier(self.pictured)
        pairs = pairs_of(made[0])
        figure, axes = panels(len(self.prompts) * len(made), 1 + len(pairs), width=12.2 / (1 + len(pairs)), height=1.25)
        for i, (prompt, run) in enumerate((prompt, run) for prompt in self.prompts for run in made):
            items, arrays = run.probed
            at = place_of(items, prompt, self.seed)
            tile(axes[i][0], arrays["source"][at], run.row.replace(" ", "\n"), "source" if i == 0 else "")
            for k, pair in enumerate(pairs):
                tile(axes[i][k + 1], arrays["back"][at, k], title=pair if i == 0 else "")
        save(figure, path)
