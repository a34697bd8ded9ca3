"""Image -> noise -> image at several pairs of guidance (the paper's figure 18)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from sdi_bench.plotting.style import look, plain, save, tile, whiskers

from ..runs import Run, Runs, interval
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
        """Errors and noise sizes per pair above, pictures below."""
        made = runs.tier(self.pictured)
        n_rows = len(self.prompts) * len(made)
        figure = plt.figure(figsize=(12.2, 5.2 + 1.25 * n_rows), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=[5.0, 1.25 * n_rows])
        panels = above.subplots(2, len(self.tiers), squeeze=False, sharex="col")
        styles = look([str(levels) for levels in dict.fromkeys(table["levels"])])
        for j, tier in enumerate(self.tiers):
            some = table[table["tier"] == tier]
            names = list(dict.fromkeys(some["pair"]))
            for k, (levels, rows) in enumerate(some.groupby("levels", sort=False)):
                style = styles[str(levels)] | {"linestyle": "none", "markersize": 6}
                place = np.arange(len(names)) + 0.12 * k
                panels[0][j].errorbar(place, rows["point"], yerr=whiskers(rows), capsize=3, label=f"{levels} levels", **style)
                panels[1][j].plot(place, rows["noise_size"], **style)
            panels[0][j].set_title(f"{tier.split()[-1]}: sampled at γ = {some['source_gamma'].iloc[0]:g}", fontsize=9)
            panels[1][j].set_xticks(range(len(names)), names)
            panels[1][j].set_xlabel("(γ up, γ down)", fontsize=8)
            panels[1][j].axhline(1, color="0.6", linewidth=0.8, zorder=0)
            panels[1][j].set_ylim(0, 1.1 * some["noise_size"].max())
            panels[0][j].set_yscale("log")
            plain(panels[0][j].yaxis)
            for axis in (panels[0][j], panels[1][j]):
                axis.tick_params(labelsize=8)
        panels[0][0].set_ylabel("rms error of the image", fontsize=8)
        panels[1][0].set_ylabel("rms of the noise (white: 1)", fontsize=8)
        panels[0][0].legend(fontsize=8, frameon=False)
        self.pictures(below, made)
        save(figure, path)

    def pictures(self, block: plt.Figure, made: Sequence[Run]) -> None:
        """The source, then what comes back per pair; an item and a number of levels each row."""
        pairs = pairs_of(made[0])
        axes = block.subplots(len(self.prompts) * len(made), 1 + len(pairs), squeeze=False)
        for i, (prompt, run) in enumerate((prompt, run) for prompt in self.prompts for run in made):
            items, arrays = run.probed
            at = place_of(items, prompt, self.seed)
            tile(axes[i][0], arrays["source"][at], run.row.replace(" ", "\n"), "source" if i == 0 else "")
            for k, pair in enumerate(pairs):
                tile(axes[i][k + 1], arrays["back"][at, k], title=pair if i == 0 else "")
