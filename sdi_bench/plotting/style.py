"""What all figures share: a colour and marker for each sampler and kappa, the same everywhere; axes; sizes; captions."""

import itertools
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from .. import texts
from ..pictures import shown

COLOURS = ["#0b3c5d", "#d1495b", "#edae49", "#00798c", "#66a182", "#7d5ba6", "#8d6a4f", "#4f4f4f", "#b5838d", "#2e4057"]
NAMES = ["navy", "red", "gold", "teal", "green", "purple", "brown", "grey", "pink", "slate"]
"""What the colours are called; a page gives each its tone for light and for dark ground."""

MARKERS = ["o", "s", "^", "v", "D", "P", "X", "*", "<", ">"]
LINES = ["-", "--", "-.", ":"]

NAVY, RED, GOLD, TEAL, GREEN, PURPLE, BROWN, GREY, PINK, SLATE = COLOURS

FIXED = {
    **{"ddim": (NAVY, "o"), "previous": (NAVY, "o"), "cached": (NAVY, "o"), "heun": (NAVY, "D"), "exact root": (NAVY, "*")},
    **{"sds": (RED, "s"), "fresh": (RED, "s"), "sds_dreamfusion": (RED, "D"), "sjc": (RED, "v"), "lucid_dreamer": (RED, "P")},
    **{"sdi": (TEAL, "^"), "inversion": (TEAL, "^"), "sdi_released": (TEAL, "v"), "released": (TEAL, "v")},
    **{"sdi_fast": (TEAL, "D"), "held": (TEAL, "D"), "inversion_heun": (TEAL, "P"), "inversion_ahead": (TEAL, "<")},
    **{"ism": (GOLD, "D"), "interval": (GOLD, "D"), "hifa": (GOLD, "P"), "asd": (GOLD, "<"), "ucm": (GOLD, ">")},
    **{"ddpm": (GREEN, "v"), "mixed": (GREEN, "v"), "simulated": (GREEN, "P"), "reversed": (GREEN, "<")},
    **{"vsd": (PURPLE, "P"), "esd": (PURPLE, "X"), "dsd": (PURPLE, "D"), "bridge": (PURPLE, "s"), "msd": (PURPLE, "v")},
    **{"csd": (BROWN, "X"), "nfsd": (BROWN, "P"), "dds": (BROWN, "s"), "pds": (BROWN, "D")},
    **{"rfds": (PINK, "<"), "rfds_rev": (PINK, ">"), "cfd": (PINK, "s"), "consistent": (PINK, "s"), "coupled": (PINK, "D")},
    **{"surface": (PINK, "o")},
    **{"zero": (GREY, "x"), "fixed": (GREY, "s"), "data": (GREY, "*"), "train data": (GREY, "*")},
    **{"gradient": (BROWN, "<"), "fixed_point": (PURPLE, ">"), "fixed point": (PURPLE, ">"), "unrolled": (BROWN, "v")},
    **{"exact_root": (NAVY, "*"), "Anderson": (GOLD, "*"), "Picard": (PURPLE, ">"), "damped": (PURPLE, "<")},
}
"""The samplers of conf/sampler and the kappas of conf/noise. A sampler and the kappa that makes it share theirs."""


def kind_of(name: str) -> str | None:
    """The sampler or kappa that a label begins with (`sdi scale=3`, `ddim-200`, `inversion, 0`); None for another word."""
    words = (name, re.split(r"[,(]", name)[0].strip(), re.split(r"[\s,]", name)[0], re.split(r"[\s,-]", name)[0])
    return next((word for word in words if word in FIXED), None)


@dataclass(frozen=True)
class Mark:
    """How a name is shown: one of COLOURS, a marker of matplotlib's, and how many of this look have come before it."""

    colour: str
    marker: str
    again: int


def marks(names: Sequence[str]) -> dict[str, Mark]:
    """name -> its mark: FIXED of what it begins with. Of several with one look that one is first which bears its name alone.

    Names that begin with neither a sampler nor a kappa have what is left, in turn.
    """
    kinds = {name: kind_of(name) for name in dict.fromkeys(map(str, names))}
    met: dict[tuple[str, str], int] = {}
    found: dict[str, Mark] = {}
    spare = 0
    for name, kind in sorted(kinds.items(), key=lambda pair: pair[0] != pair[1]):
        if kind is None:
            found[name], spare = Mark(COLOURS[spare % 10], MARKERS[spare % 10], spare // 10), spare + 1
        else:
            found[name] = Mark(*FIXED[kind], met.get(FIXED[kind], 0))
            met[FIXED[kind]] = found[name].again + 1
    return {name: found[name] for name in kinds}


def look(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """name -> its mark as lines are drawn: a second of one look has another line and is hollow, more are paler besides."""
    found: dict[str, dict[str, Any]] = {}
    for name, mark in marks(names).items():
        colour = paler(mark.colour, 0.3 * min(max(mark.again - 1, 0), 2))
        found[name] = {"color": colour, "marker": mark.marker, "linestyle": LINES[mark.again % 4], "markersize": 4}
        found[name] |= {"linewidth": 1.3, "markerfacecolor": "none" if mark.again else None}
    return found


def paler(colour: str, share: float) -> str:
    """A colour mixed with white; share of white in [0, 1]."""
    rgb = np.array(to_rgb(colour))
    return to_hex(rgb + share * (1 - rgb))


def ordered(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """name -> colour, marker and line of what is more or less of one thing (guidance, levels, widths), from the least to the
    most: from pale to dark, in shades that no sampler has.
    """
    shades = colormaps["magma_r"](np.linspace(0.22, 0.9, max(len(names), 2)))
    return {
        str(name): {
            **{"color": to_hex(shade), "marker": marker, "linestyle": "-", "markersize": 4, "linewidth": 1.3},
            "markerfacecolor": None,
        }
        for name, shade, marker in zip(names, shades, itertools.cycle("hodpH8"))
    }


def told(name: object) -> str:
    """A name for a legend, which leaves out what begins with an underscore."""
    return f" {name}" if str(name).startswith("_") else str(name)


def panels(rows: int, columns: int, width: float = 3.4, height: float = 2.8, **more: Any) -> tuple[Figure, list[list[Axes]]]:
    """A grid of axes."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained", **more
    )
    return figure, [list(row) for row in axes]


def over_sigma(axis: Axis) -> None:
    """An axis of noise levels: logarithmic, the noisiest at the left, where a path begins."""
    axis.axes.set_xscale("log")
    plain(axis)
    axis.axes.set_xlabel("noise level σ = b/a", fontsize=8)
    axis.axes.tick_params(labelsize=8)
    if not axis.get_inverted():
        axis.set_inverted(True)


def upright(axis: Axis, values: pd.Series) -> None:
    """A logarithmic axis of sizes, as far as these values go: an interval may leave it. Ticks are numbers."""
    axis.axes.set_yscale("log")
    known = values[np.isfinite(values) & (values > 0)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.5, 2.0)
    axis.axes.set_ylim(low / 2, high * 2)
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 300 * low else (1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.axes.tick_params(labelsize=8)


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend below for what several axes show."""
    known = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    room = int(figure.get_figwidth() * 12 / (max(map(len, known), default=0) + 8))
    figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=max(1, room), fontsize=8, frameon=False)


def lines(axis: Axes, table: pd.DataFrame, over: str, styles: dict[str, dict[str, Any]], floor: float | None = None) -> None:
    """A line a `run` with its band, `low` to `high`, over a column of the table; what is below floor is shown at it."""
    for run, line in table.groupby("run", sort=False):
        style, reach = styles[str(run)], whiskers(line)
        low, point, high = (
            value.clip(lower=floor) for value in (line["point"] - reach[0], line["point"], line["point"] + reach[1])
        )
        axis.plot(line[over], point, label=str(run), **style)
        axis.fill_between(line[over], low, high, alpha=0.12, color=style["color"], lw=0)


def whiskers(rows: pd.DataFrame) -> np.ndarray:
    """Lengths [2, rows] of the error bars from `point` down to `low` and up to `high`; 0 where there is no interval."""
    lengths = np.stack([rows["point"] - rows["low"], rows["high"] - rows["point"]]).astype(float)
    return np.where(np.isfinite(lengths), np.maximum(lengths, 0), 0)


def plain(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5, written as numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def tile(axis: Axes, image: np.ndarray, name: str = "", title: str = "", under: str = "") -> None:
    """An image [c, h, w] in [-1, 1] without ticks; `name` to its left, `title` above, `under` below."""
    axis.imshow(shown(image), interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
    axis.set_title(title, fontsize=8, pad=3)
    axis.set_xlabel(under, fontsize=7, labelpad=1)
    for side in axis.spines.values():
        side.set_linewidth(0.4)


def captioned(figure: Figure, caption: str) -> None:
    """A caption above all panels, as wide as the figure."""
    figure.suptitle(textwrap.fill(texts.line(caption, 400), int(figure.get_figwidth() * 15)), fontsize=8, x=0.01, ha="left")


def save(figure: Figure, path: Path, caption: str = "") -> None:
    """Write a PNG whose bytes depend on the ink and the caption alone; the caption is its Description."""
    texts.save(figure, path, dpi=130, metadata={"Software": None, "Description": caption or None})
    plt.close(figure)
