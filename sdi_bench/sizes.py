"""Pictures of several sizes: an object array [n] of arrays [c, h, w], worked on size by size."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Shaped

Pictures = Float[np.ndarray, "_n *_shape"] | Shaped[np.ndarray, "_n"]
"""[n, *shape] where all are of one size, else an object array [n]. Both are indexed alike."""


def together(rows: Sequence[np.ndarray]) -> np.ndarray:
    """[n, *shape] where all rows are of one shape, else an object array [n] of them."""
    if len({np.shape(row) for row in rows}) == 1:
        return np.stack(rows)
    found = np.empty(len(rows), dtype=object)
    for i, row in enumerate(rows):
        found[i] = row
    return found


def by_size(function: Callable[..., np.ndarray], *sets: Pictures) -> np.ndarray:
    """function(*sets), a row for each picture, where it knows pictures of one size only: called once for each size there is.

    sets: of the same length; pictures at the same place stand together.
    """
    if all(pictures.dtype != object for pictures in sets):
        return function(*sets)
    places: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for i, rows in enumerate(zip(*sets, strict=True)):
        places.setdefault(tuple(row.shape for row in rows), []).append(i)
    found: list[np.ndarray] = [np.empty(0)] * len(sets[0])
    for some in places.values():
        for i, row in zip(some, function(*(np.stack([pictures[i] for i in some]) for pictures in sets)), strict=True):
            found[i] = np.asarray(row)
    return together(found)


def sizes(pictures: Pictures) -> list[tuple[int, ...]]:
    """The different sizes that there are, (height, width) of pictures, in order."""
    return sorted({picture.shape[1:] for picture in pictures}) if pictures.dtype == object else [pictures.shape[2:]]
