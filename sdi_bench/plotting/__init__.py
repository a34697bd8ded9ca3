"""Figures of the runs in a results folder: one file a figure, the look of all in style.py, what they read in rows.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

from ..store import write_whole

matplotlib.use("Agg")

from . import correlation, measures, paths, residual, spectrum, variance
from .rows import open_folder
from .style import captioned, save

FIGURES = {
    "variance": variance,
    "correlation": correlation,
    "residual": residual,
    "paths": paths,
    "spectrum": spectrum,
    "measures": measures,
}
"""name -> prepare (a table of all numbers shown), draw (ink from the table), caption (what is seen, in a sentence)."""


class Drawn(NamedTuple):
    """Files that were written, each with its figure's caption; what could not be drawn and why, a line each."""

    written: list[tuple[Path, str]]
    missing: list[str]


def plot(folder: Path, names: Sequence[str] = tuple(FIGURES), out: Path | None = None, only: Sequence[str] = ()) -> Drawn:
    """Write <figure>.png and <figure>.csv of each figure, for each model of the folder; `out` is folder/plots if not said.

    only: names of run folders. Raises ValueError, naming the folder, if it holds no finished run.
    """
    several, wrong = open_folder(folder, only)
    out = out or folder / "plots"
    found = Drawn([], wrong)
    for rows in several:
        for name in names:
            figure = FIGURES[name]
            title = f"{rows.name}-{name}" if rows.name else name
            try:
                table = figure.prepare(rows)
            except ValueError as why:
                found.missing.append(f"{title}: {why}")
                continue
            caption = figure.caption(table)
            write_whole(out / f"{title}.csv", table.to_csv(index=False, float_format="%.6g").encode())
            drawn = figure.draw(table, rows)
            captioned(drawn, caption)
            save(drawn, out / f"{title}.png", caption)
            found.written.append((out / f"{title}.png", caption))
    return found
