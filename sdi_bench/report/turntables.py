"""Objects, which turn: their sides beside each other, in strips that the page's script moves under a window, all in step."""

from collections.abc import Sequence

import numpy as np

from ..reading import Group
from .pictures import SIDE, strip

SIDES = 24
"""At most, of an object."""

TURN_BYTES = 6e6
"""What objects may take of the page; they lose quality, then some are left out, where they would take more."""


def stride(n_views: int) -> int:
    """Every which view is shown."""
    return -(-n_views // SIDES)


def turntable(views: np.ndarray, lossy: bool) -> str:
    """The strip of an object [views, c, h, w]; without loss if small, unless lossy."""
    return strip(views[:: stride(len(views))], SIDE, 88 if lossy or views.shape[-1] > 64 else None)


def room(groups: Sequence[Group], most: int) -> tuple[int, bool]:
    """(items a group, whether they are lossy) that there is room for, by what the first item of each run takes."""
    first = [run.picture(group.items[0]) for group in groups for _, run in group.runs]
    whole, reduced = (sum(len(turntable(views, lossy)) for views in first) for lossy in (False, True))
    if most * whole <= TURN_BYTES:
        return most, False
    return max(1, min(most, int(TURN_BYTES / reduced))), True
