"""How far updates scatter: over the draws of kappa at one x0, and over seeds (the thesis's "excess variance")."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sdi_bench.plotting.style import legend, look, over_sigma, panels, save, told

from ..runs import Run, Runs, interval
from ..text import prior_of

FAINTEST = 1e-9
"""A variance below this is none: rounding, or a kappa without draws. It has no place on a logarithmic axis."""


@dataclass(frozen=True)
class Scatter:
    """scatter: tiers of the probe `spread`. paths: tiers of the probe `trajectory`, of the same models."""

    scatter: Sequence[str]
    paths: Sequence[str]

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """tier, row, what, sigma, point, low, high, n. what: `over draws`, Var[update | x0]; `signal to noise`, the squared
        expectation of the update over that variance; `over seeds`, the update's variance over seeds of a prompt; these two
        have no interval.
        """
        found = []
        for tier in self.scatter:
            for run in runs.tier(tier):
                items, arrays = run.probed
                for place, sigma in enumerate(arrays["sigma"][0]):
                    about = {"tier": tier, "row": run.row, "sigma": float(sigma)}
                    variance, signal = arrays["variance"][:, place], arrays["signal"][:, place]
                    found.append(about | {"what": "over draws"} | interval(variance, items))
                    if variance.mean() > FAINTEST:
                        ratio = float(signal.mean() / variance.mean())
                        found.append(about | {"what": "signal to noise", "point": ratio, "n": len(items)})
        for tier in self.paths:
            for run in runs.tier(tier):
                found += [{"tier": tier, "row": run.row, "what": "over seeds", **row} for row in over_seeds(run)]
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """A row of panels a model; columns: over draws, signal to noise, over seeds."""
        whats = ["over draws", "signal to noise", "over seeds"]
        titles = ["variance of the update over draws", "squared mean over that variance", "variance of the update over seeds"]
        figure, axes = panels(len(self.scatter), 3, width=4.0, height=3.0)
        styles = look(list(dict.fromkeys(table["row"])))
        for i, tiers in enumerate(zip(self.scatter, self.paths, strict=True)):
            axes[i][0].set_ylabel("squared pixel values", fontsize=8)
            for axis, what, title in zip(axes[i], whats, titles, strict=True):
                some = table[table["tier"].isin(tiers) & (table["what"] == what) & (table["point"] > FAINTEST)]
                for row, line in some.groupby("row", sort=False):
                    axis.plot(line["sigma"], line["point"], label=told(row), **styles[str(row)])
                over_sigma(axis.xaxis)
                axis.set_yscale("log")
                axis.set_title(f"{prior_of(tiers[0])}: {title}", fontsize=9)
        legend(figure, axes[0])
        save(figure, path)


def over_seeds(run: Run) -> list[dict[str, float]]:
    """sigma, point, n: at each kept level the update's variance over seeds of a prompt, the mean over pixels and prompts."""
    items, arrays = run.probed
    prompts = np.array([str(item.prompt) for item in items])
    rows = []
    for place in range(1, arrays["update"].shape[1]):  # no step leads to the start
        update = arrays["update"][:, place].astype(float)
        each = [update[prompts == prompt].var(axis=0, ddof=1).mean() for prompt in np.unique(prompts)]
        rows.append({"sigma": float(arrays["sigma"][0, place]), "point": float(np.mean(each)), "n": len(items)})
    return rows
