"""The images on the way, sampler by sampler: x(t), what the network saw, and x0(t), what it made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from sdi_bench.metrics.contrast import contrast
from sdi_bench.metrics.sharpness import high_frequency_share
from sdi_bench.plotting.style import save, tile

from ..runs import Runs
from .tiles import place_of, run_of


@dataclass(frozen=True)
class Strips:
    """tier: of a probe `trajectory`. rows: samplers. prompts: the items shown, side by side. places: which kept levels."""

    tier: str
    rows: Sequence[str]
    prompts: Sequence[str]
    places: Sequence[int]
    seed: int = 0
    baseline: str = "ddim"

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """run, prompt, sigma; of x0(t): contrast, high (share of power), to_ddim (rms distance to DDIM's x0 at that level)."""
        found = []
        base_items, base = run_of(runs, self.tier, self.baseline).probed
        for row in self.rows:
            items, arrays = run_of(runs, self.tier, row).probed
            for prompt in self.prompts:
                x0 = arrays["x0"][place_of(items, prompt, self.seed)].astype(float)
                gap = x0 - base["x0"][place_of(base_items, prompt, self.seed)]
                for k, sigma in enumerate(arrays["sigma"][place_of(items, prompt, self.seed)]):
                    about = {"run": row, "prompt": prompt, "sigma": float(sigma)}
                    measures = {
                        "contrast": float(contrast(x0[k : k + 1])[0]),
                        "high": float(high_frequency_share(x0[k : k + 1])[0]),
                    }
                    found.append(about | measures | {"to_ddim": float(np.sqrt((gap[k] ** 2).mean()))})
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """A pair of rows a sampler; below its last x0(t), the distance to DDIM's."""
        n_rows, n_columns, wide = 2 * len(self.rows), len(self.prompts) * len(self.places), 0.85
        ratios = [len(self.places) + 0.9] + [len(self.places)] * (len(self.prompts) - 1)  # the first has the names beside it
        figure = plt.figure(figsize=(wide * n_columns + 1.4, (wide + 0.1) * n_rows + 0.5), layout="constrained")
        blocks = figure.subfigures(1, len(self.prompts), squeeze=False, width_ratios=ratios)[0]
        for block, prompt in zip(blocks, self.prompts, strict=True):
            block.suptitle(prompt, fontsize=9)
            axes = block.subplots(n_rows, len(self.places), squeeze=False)
            for i, row in enumerate(self.rows):
                items, arrays = run_of(runs, self.tier, row).probed
                at = place_of(items, prompt, self.seed)
                last = table[(table["run"] == row) & (table["prompt"] == prompt)].iloc[-1]
                for j, k in enumerate(self.places):
                    sigma = arrays["sigma"][at, k]
                    named = block is blocks[0] and j == 0
                    # x0 + sigma·eps is the noisy image whose prediction eps is, in every sampler that makes full steps
                    seen = (arrays["x0"][at, k] + sigma * arrays["eps"][at, k]) / np.sqrt(1 + sigma**2)
                    tile(axes[2 * i][j], seen, f"{row}\nx(t)" if named else "", f"σ = {sigma:.2g}" if i == 0 else "")
                    ends = j == len(self.places) - 1 and row != self.baseline
                    tile(
                        axes[2 * i + 1][j],
                        arrays["x0"][at, k],
                        "x0(t)" if named else "",
                        under=f"to ddim {last['to_ddim']:.2f}" if ends else "",
                    )
        save(figure, path)
