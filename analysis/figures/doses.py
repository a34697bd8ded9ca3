"""What over-smooths, variance or lost correlation? From DDIM to SDS by degrees, and the mean of K fresh draws (ours)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sdi_bench.plotting.style import legend, ordered, panels, save, whiskers

from ..runs import Run, Runs
from ..text import prior_of, titled


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
        levels = sorted(table["n_levels"].unique())
        styles = ordered([f"{n:g}" for n in levels])
        for row, (tier, measures) in zip(axes, self.measures.items(), strict=True):
            some = table[table["tier"] == tier]
            doses = [("mixed", lam) for lam in sorted(some[some["kind"] == "mixed"]["dose"].unique())]
            draws = [("mean of draws", k) for k in sorted(some[some["kind"] == "mean of draws"]["dose"].unique()) if k > 1]
            places = {key: i + (0.6 if key in draws else 0) for i, key in enumerate([*doses, *draws])}
            named = {0.0: "0\nDDIM", 1.0: "1\nDDPM", np.inf: "∞\nSDS"}
            ticks = [named.get(lam, f"{lam:g}") for _, lam in doses] + [f"{k:g}" for _, k in draws]
            for axis, measure in zip(row, measures, strict=False):
                for n_levels, line in some[some["measure"] == measure].groupby("n_levels"):
                    keys = list(zip(line["kind"], line["dose"], strict=True))
                    for kind in (doses, draws):
                        chosen = line[[key in kind for key in keys]].sort_values("dose")
                        aside = 0.06 * (levels.index(n_levels) - (len(levels) - 1) / 2)
                        at = [places[key] + aside for key in zip(chosen["kind"], chosen["dose"], strict=True)]
                        style = styles[f"{n_levels:g}"] | {"label": f"{n_levels:g} levels" if kind is doses else None}
                        axis.errorbar(at, chosen["point"], whiskers(chosen), capsize=1.5, **style)
                axis.set_xticks(list(places.values()), ticks, fontsize=7)
                axis.axvline(len(doses) - 0.2, color="gray", linewidth=0.7)
                axis.set_xlabel("λ of mixed κ    |    K draws averaged", fontsize=8)
                axis.set_title(f"{prior_of(tier)}: {titled(measure)}", fontsize=8)
                axis.tick_params(axis="y", labelsize=8)
            for axis in row[len(measures) :]:
                axis.set_axis_off()
        legend(figure, axes[0])
        save(figure, path)


def dose(run: Run) -> dict[str, str | float]:
    """kind, dose and number of levels of a run; infinite lam is SDS itself."""
    noise = run.config["sampler"]["noise"]
    n_levels = run.config["sampler"]["timeline"]["grid"]["n_levels"]
    if noise["_target_"].endswith("Mixed"):
        return {"kind": "mixed", "dose": float(noise["lam"]), "n_levels": n_levels}
    return {"kind": "mean of draws", "dose": float(noise["n_avg"]), "n_levels": n_levels}
