"""Points with their intervals: a panel a measure, a line a run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator

from ..compare import value
from ..plotting.style import COLOURS, FIXED, MARKERS, NAMES, Mark, marks
from .tables import Column, columns_of, key_of

WIDTH, RIGHT, STEP, TOP = 360.0, 12.0, 17.0, 8.0
"""A panel: its width, what is free at the right, the height of a line, what is free above."""

LETTER, LETTERS = 6.2, 22
"""The width of a letter, and how many a label shows."""


@dataclass(frozen=True)
class Dot:
    """A run's point with its interval in a panel; places in the panel's units. colour: of style.NAMES. shape: which of
    SHAPES; hollow where another run here has the same.
    """

    label: str
    y: float
    x: float
    low: float
    high: float
    colour: str
    shape: int
    hollow: bool
    said: str


@dataclass(frozen=True)
class Panel:
    """One measure, a line a run. ticks: (place, what it says). ideal: where perfect samples are, if that is in sight."""

    title: str
    about: str
    dots: Sequence[Dot]
    ticks: Sequence[tuple[float, str]]
    ideal: float | None
    left: float
    height: float


@dataclass(frozen=True)
class Plot:
    """The panels of a table."""

    title: str
    panels: Sequence[Panel]


LETTERS_OF = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C", Outline.CLOSEPOLY: "Z"}
"""What matplotlib calls the parts of an outline -> what SVG does."""


def outline(marker: str) -> str:
    """A marker of matplotlib's as the path of an SVG, 1 wide around (0, 0), y downwards."""
    style, drawn = MarkerStyle(marker), []
    for ends, code in style.get_path().transformed(style.get_transform()).iter_segments(simplify=False):
        places: Any = [] if code == Outline.CLOSEPOLY else np.round(np.reshape(ends, (-1, 2)) * (1, -1), 3).ravel() + 0.0
        drawn.append(LETTERS_OF[code] + " ".join(f"{place:g}" for place in places))
    return "".join(drawn)


SHAPES = {marker: outline(marker) for marker in sorted({*MARKERS, *(marker for _, marker in FIXED.values())})}
"""marker -> its outline, for all that samplers, kappas and other names may have."""


def panel(column: Column, rows: Sequence[tuple[str, Mark, Mapping[Any, Any]]], ideal: object) -> Panel:
    """The points of one measure with their intervals; rows: (label, mark, row) each."""
    ends = np.array([[row[end] for end in ("low", "high", "point")] for _, _, row in rows], dtype=float)
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    best = key_of(ideal)
    if best is not None and math.isfinite(best) and low - (high - low) <= best <= high + (high - low):
        low, high = min(low, best), max(high, best)
    else:
        best = None
    pad = 0.04 * (high - low) or 0.5
    low, high = low - pad, high + pad
    left = 16 + LETTER * min(LETTERS, max(len(label) for label, *_ in rows))

    def place(x: float) -> float:
        return round(left + (x - low) / (high - low) * (WIDTH - left - RIGHT), 2)

    dots = []
    for i, (label, mark, row) in enumerate(rows):
        known = not (pd.isna(row["low"]) or pd.isna(row["high"]))
        x, a, b = (place(row[end]) for end in (("point", "low", "high") if known else ("point",) * 3))
        colour, shape = NAMES[COLOURS.index(mark.colour)], list(SHAPES).index(mark.marker)
        dots.append(Dot(label, TOP + STEP * (i + 0.5), x, a, b, colour, shape, mark.again > 0, value(row)))
    ticks = [(place(t), f"{t:.6g}") for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high]
    at = None if best is None else place(best)
    return Panel(column.name, column.about, dots, ticks, at, left, TOP + STEP * len(rows) + 30)


def plot_of(title: str, frame: pd.DataFrame) -> Plot:
    """A panel a measure, for measures that two runs have."""
    kept = frame[np.isfinite(frame["point"].astype(float))]  # of no measures at all it has no type
    signs = marks(list(kept["run"].astype(str)))
    several = "gamma" in kept and bool((kept.groupby("run")["gamma"].nunique() > 1).any())
    panels = []
    for name, column in columns_of(frame).items():
        rows = kept[kept["measure"] == name]
        if len(rows) < 2:
            continue
        order = rows.sort_values("gamma", kind="stable") if several else rows
        told = [
            (
                f"{row['run']} γ {row['gamma']:g}" if several and not pd.isna(row["gamma"]) else str(row["run"]),
                signs[str(row["run"])],
                row,
            )
            for row in order.to_dict("records")
        ]
        panels.append(panel(column, told, rows["ideal"].iloc[0] if "ideal" in rows else None))
    return Plot(title, panels)
