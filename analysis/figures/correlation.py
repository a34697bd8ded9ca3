"""How the noise of one level is related to that of another: the matrix over pairs of levels, for each kappa."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sdi_bench.plotting.correlation import over_pixels, over_seeds
from sdi_bench.plotting.style import panels, save

from ..runs import Run, Runs
from ..text import prior_of


@dataclass(frozen=True)
class Correlation:
    """tiers: of the probe `trajectory`, a row of panels each. rows: of the tier, a column each. shown: the measure drawn."""

    tiers: Sequence[str]
    rows: Sequence[str]
    shown: str = "over seeds"

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """tier, row, i, j, sigma_i, sigma_j, over seeds, over pixels.

        over seeds: Pearson's correlation of kappa at two levels across the seeds of a prompt, the mean over pixels and prompts.
        over pixels: the cosine of the two as vectors, the mean over items. A sampler that adds no noise is shown by its eps.
        """
        found = []
        for tier in self.tiers:
            for run in [run for run in runs.tier(tier) if run.row in self.rows]:
                sigma, noise, prompts = noise_of(run)
                seeds, pixels = over_seeds(noise, prompts), over_pixels(noise)
                for i, j in np.ndindex(seeds.shape):
                    about = {"tier": tier, "row": run.row, "i": i, "j": j, "sigma_i": sigma[i], "sigma_j": sigma[j]}
                    found.append(about | {"over seeds": seeds[i, j], "over pixels": pixels[i, j]})
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """Matrices, noisiest level first; blue is against, red is along."""
        figure, axes = panels(len(self.tiers), len(self.rows), width=2.0, height=1.8)
        image = None
        for line, tier in zip(axes, self.tiers, strict=True):
            for axis, row in zip(line, self.rows, strict=True):
                some = table[(table["tier"] == tier) & (table["row"] == row)]
                matrix = some.pivot_table(index="i", columns="j", values=self.shown, dropna=False)
                sigmas = some[some["j"] == 0].sort_values("i")["sigma_i"].to_numpy()
                image = axis.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
                ticks = [0, len(sigmas) // 2, len(sigmas) - 1]
                axis.set_xticks(ticks, [f"{sigmas[k]:.2g}" for k in ticks], fontsize=7)
                axis.set_yticks(ticks, [f"{sigmas[k]:.2g}" for k in ticks], fontsize=7)
                axis.set_title(row if tier == self.tiers[0] else "", fontsize=9)
                axis.set_xlabel("noise level σ" if tier == self.tiers[-1] else "", fontsize=8)
            line[0].set_ylabel(f"{prior_of(tier)}\nnoise level σ", fontsize=8)
        assert image is not None
        bar = figure.colorbar(image, ax=[axis for line in axes for axis in line], shrink=0.8, aspect=15)
        bar.set_label(f"correlation of κ\n{self.shown}", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        save(figure, path)


def noise_of(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(sigma [places], kappa [items, places, pixels], the prompt of each item); without a kappa the prediction, eps."""
    items, arrays = run.probed
    name = "eps" if np.isnan(arrays["kappa"]).all() else "kappa"
    noise = arrays[name][:, 1:].astype(float)  # no step leads to the start
    return arrays["sigma"][0, 1:], noise.reshape(*noise.shape[:2], -1), np.array([str(item.prompt) for item in items])
