"""What figures of pictures share: one tile an image, names at the edges; whiskers; logarithmic axes that read as numbers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sdi_bench.draws import Item
from sdi_bench.pictures import shown

from ..runs import Run, Runs


def tile(axis: Axes, image: np.ndarray, name: str = "", title: str = "", under: str = "") -> None:
    """An image [c, h, w] in [-1, 1] without ticks; `name` to its left, `title` above, `under` below."""
    axis.imshow(shown(image), interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
    axis.set_title(title, fontsize=8, pad=3)
    axis.set_xlabel(under, fontsize=7, labelpad=1)
    for side in axis.spines.values():
        side.set_linewidth(0.4)


def place_of(items: Sequence[Item], prompt: str, seed: int) -> int:
    """Where an item stands. Raises ValueError if it is not there."""
    if Item(prompt, seed) not in items:
        raise ValueError(
            f"no item {prompt!r} of seed {seed}; there are {', '.join(sorted({str(item.prompt) for item in items}))}"
        )
    return list(items).index(Item(prompt, seed))


def run_of(runs: Runs, tier: str, row: str) -> Run:
    """The first run of a tier with this row. Raises ValueError if there is none."""
    found = {run.row: run for run in reversed(runs.tier(tier))}
    if row not in found:
        raise ValueError(f"tier {tier!r} has no row {row!r}; it has {', '.join(sorted(found))}")
    return found[row]


def picture(run: Run, prompt: str, seed: int) -> np.ndarray:
    """The image a run without a probe made of an item."""
    items, images = run.images
    return np.asarray(images[place_of(items, prompt, seed)])


def whiskers(rows: pd.DataFrame) -> np.ndarray:
    """Lengths [2, rows] of the error bars from `point` down to `low` and up to `high`; 0 where there is no interval."""
    lengths = np.stack([rows["point"] - rows["low"], rows["high"] - rows["point"]])
    return np.where(np.isfinite(lengths), np.maximum(lengths, 0), 0)


def plain(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5, written as numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
