"""Every measure over guidance or steps, whichever varies, and beside it the paired difference to DDIM on the same items."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..stats import spread_of
from .rows import Row, Rows
from .style import legend, look, panels, plain, whiskers

MEASURES = 8
"""Measures that are shown at most, a column each."""


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
        base = rows.baseline(row)
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
    """A column a measure: its values with 95 % intervals, and below the paired differences."""
    names, over = list(dict.fromkeys(table["measure"]))[:MEASURES], axis_of(table)
    n_rows = 2 if (table["what"] == "difference").any() else 1
    runs = list(dict.fromkeys(kind_of(run, over) for run in table["run"]))
    height = 2.6 if over != "run" else 0.9 + 0.24 * len(runs)
    figure, axes = panels(n_rows, len(names), width=2.7 if over != "run" else 2.4, height=height)
    styles, table = look(runs), table.assign(kind=[kind_of(run, over) for run in table["run"]])
    for j, name in enumerate(names):
        unit = str(table[table["measure"] == name]["unit"].iloc[0])
        for i, what in enumerate(("value", "difference")[:n_rows]):
            axis, some = axes[i][j], table[(table["measure"] == name) & (table["what"] == what)]
            for k, run in enumerate(runs):
                line = some[some["kind"] == run]
                if over == "run":
                    at = [k] * len(line)
                    axis.errorbar(line["point"], at, xerr=whiskers(line), capsize=2, **styles[run] | {"linestyle": "none"})
                elif len(line):
                    line = line.sort_values(over)
                    at = line[over] * 1.02 ** (k - len(runs) / 2)
                    axis.errorbar(at, line["point"], yerr=whiskers(line), capsize=2, label=run, **styles[run])
            title = f"{name} ({unit})" if what == "value" else f"less {', '.join(dict.fromkeys(some['against']))}, paired"
            dress(axis, over, runs if j == 0 else [""] * len(runs), title if len(some) else "")
            if what == "difference":
                (axis.axvline if over == "run" else axis.axhline)(0, color="0.6", linewidth=0.8, zorder=0)
                if not len(some):
                    axis.set_axis_off()
    if over != "run":
        legend(figure, [axis for line in axes for axis in line])
    return figure


def dress(axis: Axes, over: str, runs: list[str], title: str) -> None:
    """Ticks, what the axis is, and a title."""
    axis.set_title(title, fontsize=8)
    axis.tick_params(labelsize=7)
    if over == "run":
        axis.set_yticks(range(len(runs)), runs, fontsize=8)
        axis.set_ylim(len(runs) - 0.5, -0.5)
        return
    axis.set_xscale("log" if over == "n_levels" or axis.get_xlim()[0] > 0 else "linear")
    if axis.get_xscale() == "log":
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
