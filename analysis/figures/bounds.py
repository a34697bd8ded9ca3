"""Why SDI shatters on a narrow kernel: quality over the lowest time at which its inversion asks the network (ours)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sdi_bench.pictures import shown
from sdi_bench.plotting.style import look, panels, save

from ..runs import Run, Runs


@dataclass(frozen=True)
class Bounds:
    """tier: SDI over t_min and the kernel's width, and ddim over the width. measures: a panel each. item: whose pictures."""

    tier: str
    measures: Sequence[str]
    item: int = 0

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """sampler (sdi, ddim), width, t_min (NaN: no bound), measure, n, point, low, high, unit."""
        measured = runs.measures(self.tier)
        found = []
        for run in runs.tier(self.tier):
            about = {"sampler": run.listed.row, **settings(run)}
            for row in measured[(measured["run"] == run.row) & measured["measure"].isin(self.measures)].to_dict("records"):
                found.append(about | {key: row[key] for key in ("measure", "n", "point", "low", "high", "unit")})
        return pd.DataFrame(found)

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """Above: the measures, a line a width, DDIM's value dotted. Below: one item, a row a width, a column a bound."""
        widths = sorted(table["width"].unique())
        bounds = [np.nan, *sorted(table["t_min"].dropna().unique())]
        names = ["none", *(f"{bound:g}" for bound in bounds[1:])]
        figure, axes = panels(1, len(self.measures) + 1, width=3.2, height=3.4, gridspec_kw={"width_ratios": [1, 1, 1, 2.1]})
        styles = look([f"{width:g}" for width in widths])
        for axis, measure in zip(axes[0], self.measures, strict=False):
            for i, width in enumerate(widths):
                some = table[(table["width"] == width) & (table["measure"] == measure)]
                sdi = some[some["sampler"] == "sdi"].sort_values("t_min", na_position="first")
                style = styles[f"{width:g}"]
                reach = [sdi["point"] - sdi["low"], sdi["high"] - sdi["point"]]
                places = np.arange(len(sdi)) + 0.08 * (i - 1.5)
                axis.errorbar(places, sdi["point"], reach, capsize=2, label=f"width {width:g}", **style)
                for value in some[some["sampler"] == "ddim"]["point"]:
                    axis.axhline(value, color=style["color"], linestyle=":", linewidth=1)
            axis.set_xticks(range(len(names)), names)
            axis.set(title=f"{measure} ({table[table['measure'] == measure]['unit'].iloc[0]})", xlabel="t_min of the inversion")
            axis.title.set_fontsize(9)
        axes[0][0].legend(fontsize=7)
        place = {(run.listed.row, *settings(run).values()): run for run in runs.tier(self.tier)}
        blank = None
        rows = []
        for width in widths:
            row = [shown(place["ddim", width, None].images[1][self.item])]
            row += [shown(place["sdi", width, None if np.isnan(bound) else bound].images[1][self.item]) for bound in bounds]
            blank = np.ones((len(row[0]), 2, 3)) if blank is None else blank
            rows.append(np.concatenate([part for picture in row for part in (picture, blank)], axis=1))
        axis = axes[0][-1]
        axis.imshow(np.concatenate(rows, axis=0), interpolation="nearest")
        size = rows[0].shape[0]
        axis.set_xticks([size / 2 + i * (size + 2) for i in range(len(names) + 1)], ["DDIM", *names], fontsize=8)
        axis.set_yticks([size / 2 + i * size for i in range(len(widths))], [f"width {width:g}" for width in widths], fontsize=8)
        axis.set_title(
            f"DDIM (dotted on the left), and SDI by t_min: {place['ddim', widths[0], None].images[0][self.item].prompt}",
            fontsize=9,
        )
        axis.set_xlabel("t_min of the inversion")
        save(figure, path)


def settings(run: Run) -> dict[str, float | None]:
    """The kernel's width and the inversion's bound; None where there is none."""
    return {"width": run.config["model"]["width"], "t_min": run.config["sampler"].get("noise", {}).get("t_min")}
