"""What over-smooths, variance or lost correlation? From DDIM to SDS by degrees, and the mean of K fresh draws (ours)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sdi_bench.plotting.style import look, panels, save

from ..runs import Run, Runs


@dataclass(frozen=True)
class Doses:
    """measures: tier -> the measures shown, a panel each."""

    measures: Mapping[str, Sequence[str]]

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """tier, kind (mixed, mean of draws), dose (lam; K), n_levels, measure, n, point, low, high, unit."""
        found = []
        for tier, measures in self.measures.items():
            measured = runs.measures(tier)
            for run in runs.tier(tier):
                about = {"tier": tier, **dose(run)}
                for row in measured[(measured["run"] == run.row) & measured["measure"].isin(measures)].to_dict("records"):
                    found.append(about | {key: row[key] for key in ("measure", "n", "point", "low", "high", "unit")})
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """A row a tier, a column a measure: left of the gap lam from DDIM (0) over DDPM (1) to SDS, right of it K from 1 up."""
        n_columns = max(len(measures) for measures in self.measures.values())
        figure, axes = panels(len(self.measures), n_columns, width=3.2, height=2.8)
        for row, (tier, measures) in zip(axes, self.measures.items(), strict=True):
            some = table[table["tier"] == tier]
            doses = [("mixed", lam) for lam in sorted(some[some["kind"] == "mixed"]["dose"].unique())]
            draws = [("mean of draws", k) for k in sorted(some[some["kind"] == "mean of draws"]["dose"].unique()) if k > 1]
            places = {key: i + (0.6 if key in draws else 0) for i, key in enumerate([*doses, *draws])}
            named = {0.0: "0\nDDIM", 1.0: "1\nDDPM", np.inf: "∞\nSDS"}
            ticks = [named.get(lam, f"{lam:g}") for _, lam in doses] + [f"{k:g}" for _, k in draws]
            styles = look([f"{n:g}" for n in sorted(some["n_levels"].unique())])
            for axis, measure in zip(row, measures, strict=False):
                for n_levels, line in some[some["measure"] == measure].groupby("n_levels"):
                    keys = list(zip(line["kind"], line["dose"], strict=True))
                    for kind in (doses, draws):
                        chosen = line[[key in kind for key in keys]].sort_values("dose")
                        at = [places[key] for key in zip(chosen["kind"], chosen["dose"], strict=True)]
                        reach = [chosen["point"] - chosen["low"], chosen["high"] - chosen["point"]]
                        label = f"{n_levels:g} levels" if kind is doses else None
                        axis.errorbar(at, chosen["point"], reach, label=label, capsize=1.5, **styles[f"{n_levels:g}"])
                axis.set_xticks(list(places.values()), ticks, fontsize=7)
                axis.axvline(len(doses) - 0.2, color="gray", linewidth=0.7)
                axis.set_xlabel("λ of mixed κ    |    K draws averaged", fontsize=8)
                axis.set_title(f"{tier.split()[-1]}: {measure}", fontsize=9)
            for axis in row[len(measures) :]:
                axis.set_axis_off()
            row[0].legend(fontsize=7)
        save(figure, path)


def dose(run: Run) -> dict[str, str | float]:
    """kind, dose and number of levels of a run; infinite lam is SDS itself."""
    noise = run.config["sampler"]["noise"]
    n_levels = run.config["sampler"]["timeline"]["grid"]["n_levels"]
    if noise["_target_"].endswith("Mixed"):
        return {"kind": "mixed", "dose": float(noise["lam"]), "n_levels": n_levels}
    return {"kind": "mean of draws", "dose": float(noise["n_avg"]), "n_levels": n_levels}
