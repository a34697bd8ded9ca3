"""Quality and cost against the number of inversion steps (the paper's figure 11)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sdi_bench.plotting.style import look, panels, save, whiskers

from ..runs import Runs
from ..text import prior_of, titled


@dataclass(frozen=True)
class InversionSteps:
    """tiers: of measures over n_steps, a row of panels each. measures: of each tier, its panels."""

    tiers: Sequence[str]
    measures: Mapping[str, Sequence[str]]

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """tier, n_steps, measure; point with interval, n; rows (network rows an image), seconds (an image, where it ran)."""
        found = []
        for tier in self.tiers:
            table = runs.measures(tier)
            steps = {(run.row, run.gamma): run.config["sampler"]["noise"]["n_steps"] for run in runs.tier(tier)}
            for row in table[table["measure"].isin(list(self.measures[tier]))].to_dict("records"):
                told = {name: row[name] for name in ("measure", "point", "low", "high", "n")}
                rows = sum(value for name, value in row.items() if str(name).startswith("rows_"))
                about = {"tier": tier, "n_steps": steps[row["run"], row["gamma"]]}
                found.append(about | told | {"rows": rows, "seconds": row["seconds"]})
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """A panel a measure; the last is the cost."""
        columns = 1 + max(len(names) for names in self.measures.values())
        figure, axes = panels(len(self.tiers), columns, width=12.2 / columns, height=2.5)
        style = look(["sdi"])["sdi"]
        for line, tier in zip(axes, self.tiers, strict=True):
            some = table[table["tier"] == tier]
            for axis, measure in zip(line, self.measures[tier], strict=False):
                rows = some[some["measure"] == measure]
                axis.errorbar(rows["n_steps"], rows["point"], yerr=whiskers(rows), capsize=2, **style)
                axis.set_title(f"{prior_of(tier)}:\n{titled(measure)}", fontsize=8)
            cost = some.drop_duplicates("n_steps")
            line[-1].plot(cost["n_steps"], cost["rows"], **style)
            line[-1].set_title(f"{prior_of(tier)}:\nnetwork rows an image", fontsize=8)
            line[-1].set_ylim(bottom=0)
            for axis in line[len(self.measures[tier]) : -1]:
                axis.axis("off")
            for axis in line:
                axis.set_xlabel("inversion steps", fontsize=8)
                axis.set_xticks(sorted(set(some["n_steps"])))
                axis.tick_params(labelsize=7)
        save(figure, path)
