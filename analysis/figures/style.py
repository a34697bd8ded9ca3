"""What all figures share: colours and markers that stay apart in grey, sizes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdi_bench import texts

COLOURS = ["#0b3c5d", "#d1495b", "#edae49", "#00798c", "#66a182", "#7d5ba6", "#8d6a4f", "#4f4f4f", "#b5838d", "#2e4057"]
MARKERS = ["o", "s", "^", "v", "D", "P", "X", "*", "<", ">"]
LINES = ["-", "--", "-.", ":"]


def look(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """name -> colour, marker and line of its own."""
    return {
        name: {"color": COLOURS[i % 10], "marker": MARKERS[i % 10], "linestyle": LINES[i % 4]}
        | {"markersize": 4, "linewidth": 1.3, "markerfacecolor": "none" if i >= 10 else None}
        for i, name in enumerate(names)
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


def save(figure: Figure, path: Path) -> None:
    """Write a PNG whose bytes depend on the ink alone."""
    texts.save(figure, path, dpi=130, metadata={"Software": None})
    plt.close(figure)
