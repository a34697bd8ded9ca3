"""The same items run by run: pictures, or objects that turn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..pictures import name_of
from ..reading import Group
from .pictures import SIDE, cost_of, data_uri, on_page, pixels
from .turntables import room, stride, turntable

ITEMS = 12
"""At most, in a grid."""

GRID_BYTES = 4e6
"""What pictures may take of the page; fewer items are shown where they would take more."""


@dataclass(frozen=True)
class Grid:
    """Pictures [run][item] as data URIs. side: of a picture on the page, in CSS pixels; sharp: its pixels are to be seen.

    Of objects, strips of so many sides (of pictures 1), each so many degrees from the last.
    """

    title: str
    labels: Sequence[str]
    items: Sequence[str]
    pictures: Sequence[Sequence[str]]
    side: int
    sharp: bool
    sides: int
    degrees: float


def picture(image: np.ndarray) -> str:
    """A picture [c, h, w] as a data URI; without loss if small."""
    made = Image.fromarray(pixels(image, SIDE))
    return data_uri([made], None if made.width <= 64 else 88)


def grids_of(groups: Sequence[Group]) -> list[Grid]:
    """The first shared items of every run of each group, as many as there is room for."""
    still = [group for group in groups if not group.turning]
    n_pictures = next((n for n in (ITEMS, 8, 6, 4, 2) if n * cost_of(still, SIDE) <= GRID_BYTES), 1)
    n_objects, lossy = room([group for group in groups if group.turning], ITEMS)
    found = []
    for group in groups:
        some = group.items[: n_objects if group.turning else n_pictures]
        rows = [
            [turntable(run.picture(item), lossy) if group.turning else picture(run.picture(item)) for item in some]
            for _, run in group.runs
        ]
        side, sharp = on_page(group.shape, SIDE)
        labels, names = [label for label, _ in group.runs], [name_of(item) for item in some]
        n_views = group.shape[0] if group.turning else 1
        step = stride(n_views)
        found.append(Grid(group.title, labels, names, rows, side, sharp, -(-n_views // step), 360 * step / n_views))
    return found
