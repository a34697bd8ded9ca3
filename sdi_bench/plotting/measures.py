"""Every measure over guidance or steps, whichever varies, and beside it the paired difference to DDIM on the same items."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..stats import spread_of
from .rows import Row, Rows
from .style import legend, look, panels, plain, whiskers

MEASURES, COLUMNS = 12, 4
"""Measures that are shown at most, and side by side."""

FEW = 6
"""Values of what varies up to which each has its tick."""


def paired(row: Row, base: Row, measure: str) -> dict[str, float] | None:
    """point, low, high of a measure of a run less that of another of the same items; None where that cannot be said."""
    if {*row.pictures[0]} != {*base.pictures[0]}:
        return None
    a, b = row.left_out(measure), base.left_out(measure)
    points = [float(other.tables.set_index("measure")["point"].get(measure, np.nan)) for other in (row, base)]
    if a is None or b is None or len(a) != len(b) or not np.isfinite([*points, *a, *b]).all():
        return None
    return spread_of(points[0] - points[1], a - b).interval()._asdict()


def prepare(rows: Rows) -> pd.DataFrame:
    """run, gamma, n_levels, measure, unit, what, against, point, low, high. what: `value`; `difference`, paired, to the run
    that it is held against at the same guidance scale. Raises ValueError where nothing was measured.
    """
    found = []
    for row in rows.rows:
        for one in row.tables.dropna(subset=["point"]).to_dict("records"):
            about = {
                "run": row.label,
                "gamma": row.gamma,
                "n_levels": row.n_levels,
                "measure": one["measure"],
                "unit": one["unit"],
            }
            value = {key: float(one[key]) for key in ("point", "low", "high")}
            found.append(about | {"what": "value", "against": ""} | value)
            base = rows.baseline(row, one["measure"])
            gap = paired(row, base, one["measure"]) if base else None
            if base and gap:
                found.append(about | {"what": "difference", "against": base.label} | gap)
    if not found:
        raise ValueError(
            f"{rows.folder}: nothing was measured (no sweep-*.csv, measures.csv); the command that made the runs does, "
            f"of an experiment python -m sdi_bench.evaluate experiment={rows.folder.name}"
        )
    return pd.DataFrame(found)


def kind_of(label: str, axis: str) -> str:
    """A run's label without what the axis says."""
    return " ".join(
        word for word in label.split(" ") if not (axis == "n_levels" and word.startswith(("n_levels=", "n_steps=")))
    )


def axis_of(table: pd.DataFrame) -> str:
    """What the runs are drawn over: `gamma` where that varies, else `n_levels` where one kind has several, else `run`."""
    if table["gamma"].nunique() > 1:
        return "gamma"
    kinds = table.assign(kind=[kind_of(run, "n_levels") for run in table["run"]]).groupby("kind")["n_levels"].nunique()
    return "n_levels" if (kinds > 1).any() else "run"


def draw(table: pd.DataFrame, rows: Rows) -> Figure:
    """A measure's values with 95 % intervals, and right below them the paired differences; COLUMNS measures side by side."""
    names, over = list(dict.fromkeys(table["measure"]))[:MEASURES], axis_of(table)
    whats = [what for what in ("value", "difference") if (table["what"] == what).any()]
    table = table.assign(kind=[kind_of(run, over) for run in table["run"]])
    runs = list(dict.fromkeys(table["kind"]))
    columns, height = min(COLUMNS, len(names)), 2.4 if over != "run" else 0.8 + 0.22 * len(runs)
    figure, axes = panels(len(whats) * -(-len(names) // columns), columns, width=3.1, height=height)
    for line in axes:
        for axis in line:
            axis.set_axis_off()
    for k, name in enumerate(names):
        for i, what in enumerate(whats):
            axis, some = axes[k // columns * len(whats) + i][k % columns], table[table["measure"] == name]
            some = some[some["what"] == what]
            if len(some):
                axis.set_axis_on()
                points(axis, some, over, runs)
                against = ", ".join(dict.fromkeys(some["against"]))
                title = f"{name} ({some['unit'].iloc[0]})" if what == "value" else f"{name}, less {against}, paired"
                dress(axis, over, runs if k % columns == 0 else [""] * len(runs), title)
                if what == "difference":
                    zero = axis.axvline if over == "run" else axis.axhline
                    zero(0, color="0.6", linewidth=0.8, zorder=0)
    if over != "run":
        values = sorted(table[over].unique())
        ends = values[0] / 1.15, values[-1] * 1.15
        for axis in [axis for line in axes for axis in line if axis.axison]:
            axis.set_xlim(*(ends if ends[0] > 0 else axis.get_xlim()))
            if len(values) <= FEW:
                axis.set_xticks(values, [f"{value:g}" for value in values])
                axis.minorticks_off()
        legend(figure, [axis for line in axes for axis in line])
    return figure


def points(axis: Axes, some: pd.DataFrame, over: str, runs: list[str]) -> None:
    """The points of one panel with their intervals: a line a run over what varies, or a run a line where nothing does."""
    styles = look(runs)
    for k, run in enumerate(runs):
        line = some[some["kind"] == run]
        if over == "run":
            at = pd.Series(k, index=line.index)
            axis.errorbar(line["point"], at, xerr=whiskers(line), capsize=2, **styles[run] | {"linestyle": "none"})
        elif len(line):
            line = line.sort_values(over)
            at = line[over] * 1.02 ** (k - len(runs) / 2)
            axis.errorbar(at, line["point"], yerr=whiskers(line), capsize=2, label=run, **styles[run])


def dress(axis: Axes, over: str, runs: list[str], title: str) -> None:
    """Ticks, what the axis is, and a title."""
    axis.set_title(title, fontsize=8)
    axis.tick_params(labelsize=7)
    if over == "run":
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.set_yticks(range(len(runs)), runs, fontsize=8)
        axis.set_ylim(len(runs) - 0.5, -0.5)
        return
    if axis.get_xlim()[0] > 0:
        axis.set_xscale("log")
        plain(axis.xaxis)
    axis.set_xlabel("guidance scale γ" if over == "gamma" else "levels", fontsize=8)


def caption(table: pd.DataFrame) -> str:
    """What is seen, in a sentence."""
    gaps = table[table["what"] == "difference"]
    if gaps.empty:
        return "Measures with 95 % intervals; no two runs of the same items were measured so that differences could be paired."
    sure = gaps[(gaps["low"] > 0) | (gaps["high"] < 0)]
    told = [f"{row['run']} γ {row['gamma']:g} {row['measure']} {row['point']:+.2g}" for row in sure.to_dict("records")]
    some = "; ".join(told[:4]) + (f" and {len(told) - 4} more" if len(told) > 4 else "")
    return (
        "Measures, and below their paired differences to DDIM's, with 95 % intervals (not corrected for their number); away "
        f"from 0 are {len(sure)} of {len(gaps)}" + (f": {some}." if told else ".")
    )
