"""The same items from guidance 1 to 100 (the paper's figure 3), and what is measured there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

from sdi_bench.plotting.style import legend, look, panels, save, tile, told, whiskers

from ..runs import Runs
from ..text import prior_of, titled
from .tiles import picture

KEPT = ["tier", "run", "gamma", "measure", "point", "low", "high", "n", "diverged"]


@dataclass(frozen=True)
class Guidance:
    """tiers: of images and measures, a block each. Of each tier, prompts: the items shown; measures: its panels."""

    tiers: Sequence[str]
    prompts: Mapping[str, Sequence[str]]
    measures: Mapping[str, Sequence[str]]
    seed: int = 0

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """tier, run, gamma, measure; point with interval, n items, how many of them diverged."""
        found = pd.concat([runs.measures(tier) for tier in self.tiers])
        kept = [measure in self.measures[tier] for tier, measure in zip(found["tier"], found["measure"], strict=True)]
        return found.loc[kept, KEPT].reset_index(drop=True)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """A row of panels a tier: measures over gamma, a line a sampler."""
        columns = max(map(len, self.measures.values()))
        figure, axes = panels(len(self.tiers), columns, width=3.0, height=2.5)
        styles = look(list(dict.fromkeys(table["run"])))
        for line, tier in zip(axes, self.tiers, strict=True):
            some = table[table["tier"] == tier]
            gammas = sorted(set(some["gamma"]))
            for axis, measure in zip(line, self.measures[tier], strict=False):
                for k, (run, rows) in enumerate(some[some["measure"] == measure].groupby("run", sort=False)):
                    at = rows["gamma"] * 1.06 ** (k - 1)
                    axis.errorbar(at, rows["point"], yerr=whiskers(rows), capsize=2, label=told(run), **styles[str(run)])
                axis.set(xscale="log", xticks=gammas, xticklabels=[f"{gamma:g}" for gamma in gammas])
                axis.set_title(f"{prior_of(tier)}: {titled(measure)}", fontsize=8)
                axis.set_xlabel("guidance γ", fontsize=8)
                axis.minorticks_off()
                axis.tick_params(labelsize=8)
                if measure in ("contrast", "sharpness", "saturation"):
                    axis.axhline(0, color="0.6", linewidth=0.8, zorder=0)
            for axis in line[len(self.measures[tier]) :]:
                axis.set_axis_off()
        legend(figure, [axis for line in axes for axis in line])
        save(figure, path)

    def draw_pictures(self, runs: Runs, path: Path) -> None:
        """A block a tier: samplers down, guidance across, prompts side by side."""
        figure = plt.figure(figsize=(12, 2.7 * len(self.tiers)), layout="constrained")
        for block, tier in zip(figure.subfigures(len(self.tiers), 1, squeeze=False)[:, 0], self.tiers, strict=True):
            block.suptitle(prior_of(tier), fontsize=10, fontweight="bold")
            made = runs.tier(tier)
            rows, gammas = list(dict.fromkeys(run.row for run in made)), sorted({run.gamma for run in made})
            prompts = self.prompts[tier]
            axes = block.subplots(len(rows), len(prompts) * len(gammas), squeeze=False)
            for run in made:
                for k, prompt in enumerate(prompts):
                    i, j = rows.index(run.row), k * len(gammas) + gammas.index(run.gamma)
                    title = f"γ = {run.gamma:g}" if i == 0 else ""
                    tile(axes[i][j], picture(run, prompt, self.seed), run.row if j == 0 else "", title)
        save(figure, path)
