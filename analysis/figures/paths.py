"""How far x0(t) walks, and how straight."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sdi_bench.plotting.style import look, panels, save, whiskers

from ..runs import Runs, interval
from ..text import prior_of

SAID = {"length": "length of x0's path (rms)", "straightness": "straightness of the path (1: a line)"}


@dataclass(frozen=True)
class Paths:
    """tiers: of the probe `trajectory`, a row of panels each."""

    tiers: Sequence[str]

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """tier, row, what, state, point, low, high, n.

        what: `length`, the sum of all changes of x0 (rms); `straightness`, the distance from the first x0 to the last over that
        length, 1 for a straight line; `turn`, the cosine between successive changes, `state` steps from the start.
        """
        found = []
        for tier in self.tiers:
            for run in runs.tier(tier):
                items, arrays = run.probed
                ends = arrays["x0"][:, -1].astype(float) - arrays["x0"][:, 0]
                span = np.sqrt(np.square(ends).reshape(len(items), -1).mean(axis=1))
                length = arrays["length"].sum(axis=1)
                about = {"tier": tier, "row": run.row}
                for what, values in (("length", length), ("straightness", span / length)):
                    found.append(about | {"what": what, "state": -1} | interval(values, items))
                for k in range(arrays["turn"].shape[1]):
                    found.append(about | {"what": "turn", "state": k + 2} | interval(arrays["turn"][:, k], items))
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """Length and straightness as bars of points, the turning cosine over states."""
        figure, axes = panels(
            len(self.tiers), 3, width=4.2, height=3.0, gridspec_kw={"width_ratios": [1, 1, 1.5]}, sharex="col"
        )
        names = list(dict.fromkeys(table["row"]))
        styles = look(names)
        for line, tier in zip(axes, self.tiers, strict=True):
            some = table[table["tier"] == tier]
            for axis, what in zip(line, ("length", "straightness"), strict=False):
                rows = some[some["what"] == what].set_index("row").loc[names]
                for i, (row, value) in enumerate(rows.iterrows()):
                    axis.errorbar([value["point"]], [i], xerr=whiskers(value.to_frame().T), capsize=2, **styles[str(row)])
                axis.set_yticks(range(len(names)), names if what == "length" else [], fontsize=8)
                axis.set_ylim(len(names) - 0.5, -0.5)
                axis.set_title(f"{prior_of(tier)}: {SAID[what]}", fontsize=9)
                axis.tick_params(axis="x", labelsize=8, labelbottom=True)
            line[0].set_xscale("log")
            line[0].set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
            line[0].minorticks_off()
            for name, rows in some[some["what"] == "turn"].groupby("row", sort=False):
                line[2].plot(rows["state"], rows["point"], markevery=8, **styles[str(name)])
            line[2].axhline(0, color="gray", linewidth=0.7)
            line[2].set_title(f"{prior_of(tier)}: cosine between successive changes of x0", fontsize=9)
            line[2].set_xlabel("step", fontsize=8)
            line[2].tick_params(labelsize=8, labelbottom=True)
        save(figure, path)
