"""What each kappa looks like, and what one step of denoising makes of it (the paper's figure 17)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from sdi_bench.plotting.style import save, tile

from ..runs import Runs, interval
from .tiles import place_of, run_of


@dataclass(frozen=True)
class Noises:
    """tier: of a probe `kappas` with pictures. row: where x0 is taken from. prompt, seed: the item shown."""

    tier: str
    row: str
    prompt: str
    seed: int = 0

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """kappa, sigma; residual of eq. 8 (mean over items, x0 units) with interval; the median over items of size (rms of
        kappa); means of to_path and to_x0 (cosines; NaN where one of the two is 0).
        """
        run = run_of(runs, self.tier, self.row)
        items, arrays = run.probed
        found = []
        for k, kappa in enumerate(run.config["probe"]["kappas"]):
            for place, sigma in enumerate(arrays["sigma"][0]):
                means = {name: float(arrays[name][:, place, k].mean()) for name in ("to_path", "to_x0")}
                means["size"] = float(np.median(arrays["size"][:, place, k]))
                found.append({"kappa": kappa, "sigma": float(sigma)} | interval(arrays["residual"][:, place, k], items) | means)
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """Left kappa, its rms below; right the image it is denoised to, the residual below; x0 itself in the first row."""
        run = run_of(runs, self.tier, self.row)
        items, arrays = run.probed
        at = place_of(items, self.prompt, self.seed)
        names = list(run.config["probe"]["kappas"])
        sigmas = arrays["sigma"][at]
        n = len(sigmas)
        figure, axes = plt.subplots(
            len(names) + 1,
            2 * n + 1,
            figsize=(0.88 * 2 * n + 1.2, 1.04 * (len(names) + 1) + 0.4),
            width_ratios=[1] * n + [0.15] + [1] * n,
            squeeze=False,
            layout="constrained",
        )
        figure.suptitle(
            "left: κ / 2, below its rms (median over items)        right: one step of denoising, below the residual (mean)",
            fontsize=9,
        )
        for axis in (*axes[:, n], *axes[0, :n]):
            axis.axis("off")
        for j, sigma in enumerate(sigmas):
            axes[0][j].text(0.5, 0, f"σ = {sigma:.2g}", fontsize=8, ha="center", transform=axes[0][j].transAxes)
            tile(axes[0][n + 1 + j], arrays["x0"][at, j], "x0(t)" if j == 0 else "", f"σ = {sigma:.2g}")
            for k, name in enumerate(names):
                told = table[table["kappa"] == name].iloc[j]
                label = name.replace(", ", ",\n") if j == 0 else ""
                tile(axes[k + 1][j], arrays["kappa"][at, j, k] / 2, label, under=f"{told['size']:.2f}")
                tile(axes[k + 1][n + 1 + j], arrays["denoised"][at, j, k], under=f"{told['point']:.2g}")
        save(figure, path)
