"""What the guidance of the inversion does, for each guidance of the sampler (the paper's figure 10)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from sdi_bench.plotting.style import panels, save, tile

from ..runs import Runs
from ..text import prior_of, titled
from .tiles import picture

FRAME = "#e07a00"
"""Around what is as near as the best: a colour of no sampler."""


@dataclass(frozen=True)
class GuidancePairs:
    """tiers: of images and measures over pairs (gamma_inv, gamma_fwd). measures: of each tier, measure -> what is perfect.

    prompts: of each tier, the item shown.
    """

    tiers: Sequence[str]
    measures: Mapping[str, Mapping[str, float]]
    prompts: Mapping[str, str]
    seed: int = 0

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """tier, gamma_inv, gamma_fwd, measure; point with interval, n; off: |point - what is perfect|; near: the point is in
        the interval of the least off at this gamma_fwd.
        """
        found = []
        for tier in self.tiers:
            table = runs.measures(tier)
            scales = {(run.row, run.gamma): run.config["sampler"]["noise"]["guidance_scale"] for run in runs.tier(tier)}
            for row in table[table["measure"].isin(list(self.measures[tier]))].to_dict("records"):
                about = {"tier": tier, "gamma_inv": float(scales[row["run"], row["gamma"]]), "gamma_fwd": float(row["gamma"])}
                told = {name: row[name] for name in ("measure", "point", "low", "high", "n", "diverged")}
                found.append(about | told | {"off": abs(row["point"] - self.measures[tier][row["measure"]])})
        made = pd.DataFrame(found)
        least = made.loc[
            made.groupby(["tier", "gamma_fwd", "measure"])["off"].idxmin(), ["tier", "gamma_fwd", "measure", "low", "high"]
        ]
        held = made.merge(least, on=["tier", "gamma_fwd", "measure"], suffixes=("", "_least"))
        return made.assign(near=held["point"].between(held["low_least"], held["high_least"]))

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """A row of maps a tier, a map a measure, shaded by how far it is off; a frame is around what is near."""
        figure, axes = panels(len(self.tiers), max(map(len, self.measures.values())), width=3.3, height=2.6)
        for line, tier in zip(axes, self.tiers, strict=True):
            for axis, measure in zip(line, self.measures[tier], strict=False):
                rows = table[(table["tier"] == tier) & (table["measure"] == measure)]
                self.map(axis, rows, f"{prior_of(tier)}: {titled(measure)}")
            for axis in line[len(self.measures[tier]) :]:
                axis.set_axis_off()
        save(figure, path)

    def draw_pictures(self, runs: Runs, path: Path) -> None:
        """A block a tier: one item, gamma of the inversion across and of the sampler down."""
        figure = plt.figure(figsize=(6.0 * len(self.tiers), 4.4), layout="constrained")
        for block, tier in zip(figure.subfigures(1, len(self.tiers), squeeze=False)[0], self.tiers, strict=True):
            self.pictures(block, runs, tier)
        save(figure, path)

    def map(self, axis: Axes, rows: pd.DataFrame, title: str) -> None:
        """Values with gamma_inv across and gamma_fwd down."""
        points = rows.pivot(index="gamma_fwd", columns="gamma_inv", values="point")
        off = rows.pivot(index="gamma_fwd", columns="gamma_inv", values="off").to_numpy()
        near = rows.pivot(index="gamma_fwd", columns="gamma_inv", values="near").to_numpy()
        scale = np.where(np.isfinite(off), off, np.nanmax(off[np.isfinite(off)]))
        shade = scale / max(1.5 * float(np.quantile(scale, 0.9)), 1e-9)  # a few that are far off leave the others their greys
        axis.imshow(shade, cmap="Greys", aspect="auto", vmin=0, vmax=1)
        for (i, j), value in np.ndenumerate(points.to_numpy()):
            axis.text(
                j, i, f"{value:.2f}", ha="center", va="center", fontsize=7.5, color="white" if shade[i, j] > 0.55 else "black"
            )
            if near[i, j]:
                axis.add_patch(plt.Rectangle((j - 0.47, i - 0.45), 0.94, 0.9, fill=False, edgecolor=FRAME, linewidth=1.6))
        axis.set_xticks(range(points.shape[1]), [f"{value:g}" for value in points.columns], fontsize=8)
        axis.set_yticks(range(points.shape[0]), [f"{value:g}" for value in points.index], fontsize=8)
        axis.set_xlabel("γ of the inversion", fontsize=8)
        axis.set_ylabel("γ of the sampler", fontsize=8)
        axis.set_title(title, fontsize=9)

    def pictures(self, block: plt.Figure, runs: Runs, tier: str) -> None:
        """One item, gamma_inv across and gamma_fwd down."""
        made = {(float(run.config["sampler"]["noise"]["guidance_scale"]), run.gamma): run for run in runs.tier(tier)}
        across, down = (sorted({pair[k] for pair in made}) for k in (0, 1))
        axes = block.subplots(len(down), len(across), squeeze=False)
        block.suptitle(f"{prior_of(tier)}: “{self.prompts[tier]}”, the same item", fontsize=9)
        block.supxlabel("γ of the inversion", fontsize=8)
        block.supylabel("γ of the sampler", fontsize=8)
        for (inverse, forward), run in made.items():
            i, j = down.index(forward), across.index(inverse)
            image = picture(run, self.prompts[tier], self.seed)
            under = f"{inverse:g}" if i == len(down) - 1 else ""
            tile(axes[i][j], image, f"{forward:g}" if j == 0 else "", under=under)
