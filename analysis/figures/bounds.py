"""Why SDI shatters on a narrow kernel: quality over the lowest time at which its inversion asks the network (ours)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sdi_bench.plotting.style import legend, ordered, panels, save, tile, whiskers

from ..runs import Run, Runs
from ..text import titled


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
        """A panel a measure, a line a width; DDIM's value dotted."""
        widths = sorted(table["width"].unique())
        names = ["none", *(f"{bound:g}" for bound in sorted(table["t_min"].dropna().unique()))]
        figure, (axes,) = panels(1, len(self.measures), width=4.0, height=3.0)
        styles = ordered([f"{width:g}" for width in widths])
        for axis, measure in zip(axes, self.measures, strict=True):
            for i, width in enumerate(widths):
                some = table[(table["width"] == width) & (table["measure"] == measure)]
                sdi = some[some["sampler"] == "sdi"].sort_values("t_min", na_position="first")
                style, places = styles[f"{width:g}"], np.arange(len(sdi)) + 0.08 * (i - 1.5)
                axis.errorbar(places, sdi["point"], whiskers(sdi), capsize=2, label=f"SDI, width {width:g}", **style)
                for value in some[some["sampler"] == "ddim"]["point"]:
                    axis.axhline(value, color=style["color"], linestyle=":", linewidth=1.2)
            axis.set_xticks(range(len(names)), names)
            axis.set_title(titled(measure), fontsize=9)
            axis.set_xlabel("lowest time the inversion asks at, t_min (dotted: DDIM)", fontsize=8)
            axis.tick_params(labelsize=8)
        legend(figure, axes)
        save(figure, path)

    def draw_pictures(self, runs: Runs, path: Path) -> None:
        """One item: a row a width, a column a bound, DDIM first."""
        made = {(run.listed.row, *settings(run).values()): run for run in runs.tier(self.tier)}
        widths = sorted({width for _, width, _ in made if width is not None})
        bounds = [None, *sorted({bound for _, _, bound in made if bound is not None})]
        figure, axes = panels(len(widths), 1 + len(bounds), width=1.1, height=1.1)
        for line, width in zip(axes, widths, strict=True):
            cells = [("DDIM", made["ddim", width, None])]
            cells += [(f"SDI, t_min\n{'none' if bound is None else bound}", made["sdi", width, bound]) for bound in bounds]
            for axis, (title, run) in zip(line, cells, strict=True):
                name = f"width {width:g}" if axis is line[0] else ""
                tile(axis, run.images[1][self.item], name, title if line is axes[0] else "")
        figure.suptitle(str(made["ddim", widths[0], None].images[0][self.item].prompt), fontsize=9)
        save(figure, path)


def settings(run: Run) -> dict[str, float | None]:
    """The kernel's width and the inversion's bound; None where there is none."""
    return {"width": run.config["model"]["width"], "t_min": run.config["sampler"].get("noise", {}).get("t_min")}
