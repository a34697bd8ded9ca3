"""Pictures of several sizes, and as shards keep them: what is worked on size by size, or a few at a time."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

AT_ONCE = 2**21
"""Values of packed pictures that are read at once, a picture at least: 16 MiB in float64."""


@dataclass(frozen=True, eq=False)
class Packed:
    """Pictures as a shard keeps them, in a quarter or an eighth of the room: [n, c, h, w], of objects [n, views, c, h, w].

    One of them is read as float64, several stay packed (`whole` reads all). values: uint8, 0 to 255 for [-1, 1], or float16.
    Of each picture, from before it was rounded: lost, that it had diverged; it reads as NaN. beyond, the share of its values
    more than half an 8-bit step beyond [-1, 1].
    """

    values: Shaped[np.ndarray, "*n c h w"]
    lost: Bool[np.ndarray, "*n"]
    beyond: Float[np.ndarray, "*n"]
    dtype = np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return self.values.shape

    @property
    def ndim(self) -> int:
        """As of an array."""
        return self.values.ndim

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Any:
        values, lost, beyond = self.values[index], self.lost[index], self.beyond[index]
        return read(values, lost) if np.ndim(lost) == 0 else Packed(values, lost, beyond)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def reshape(self, *shape: int) -> "Packed":
        """As of an array, whose last three axes stay."""
        return Packed(self.values.reshape(shape), self.lost.reshape(shape[:-3]), self.beyond.reshape(shape[:-3]))

    def whole(self) -> Float[np.ndarray, "*n c h w"]:
        """All of them."""
        return read(self.values, self.lost)

    def tobytes(self) -> bytes:
        """What tells these from others."""
        return self.values.tobytes() + self.lost.tobytes()


def read(values: Shaped[np.ndarray, "*n c h w"], lost: Any) -> Float[np.ndarray, "*n c h w"]:
    """Pictures in float64 from what is kept of them. lost: which read as NaN."""
    images = values / 127.5 - 1 if values.dtype == np.uint8 else values.astype(np.float64)
    images[lost] = np.nan
    return images


def chained(parts: Sequence[Packed]) -> Packed:
    """One after the other."""
    return Packed(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "lost", "beyond")))


if TYPE_CHECKING:
    Pictures = Any  # which of them it is, is checked while it runs
else:
    Pictures = Float[np.ndarray, "_n *_shape"] | Shaped[np.ndarray, "_n"] | Packed
"""[n, *shape] where all are of one size, else an object array [n]; or packed. All are indexed alike."""


def together(rows: Sequence[np.ndarray]) -> np.ndarray:
    """[n, *shape] where all rows are of one shape, else an object array [n] of them."""
    if len({np.shape(row) for row in rows}) == 1:
        return np.stack(rows)
    found = np.empty(len(rows), dtype=object)
    for i, row in enumerate(rows):
        found[i] = row
    return found


def by_size(function: Callable[..., np.ndarray], *sets: Pictures) -> np.ndarray:
    """function(*sets), a row for each picture, where it knows arrays of one size only: called once for each size there is.

    Packed pictures are read, and handed over, some at a time. sets: of the same length; what stands at the same place belongs
    together.
    """
    packed = [pictures for pictures in sets if isinstance(pictures, Packed)]
    if packed:
        n = max(1, AT_ONCE // max(math.prod(pictures.shape[1:]) for pictures in packed))
        parts = [[pictures[i : i + n] for pictures in sets] for i in range(0, max(1, len(sets[0])), n)]
        return np.concatenate([by_size(function, *map(whole, part)) for part in parts])
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


def once_each(function: Callable[..., Any], pictures: Pictures) -> Any:
    """by_size, of pictures some of which are the same: each is worked on once. Real pictures are repeated to be many."""
    alike: dict[tuple[tuple[int, ...], bytes], list[int]] = {}  # by their sums, which the same ones share
    place = []
    for k, picture in enumerate(pictures):
        before = alike.setdefault((picture.shape, picture.sum().tobytes()), [])
        same = (j for j in before if np.array_equal(pictures[j], picture))
        place.append(next(same, k))
        if place[k] == k:
            before.append(k)
    first, back = np.unique(place, return_inverse=True)
    return by_size(function, pictures[first])[back]


def whole(pictures: Pictures) -> np.ndarray:
    """All of them as an array."""
    return pictures.whole() if isinstance(pictures, Packed) else pictures


def sizes(pictures: Pictures) -> list[tuple[int, ...]]:
    """The different sizes that there are, (height, width) of pictures, in order."""
    return sorted({picture.shape[1:] for picture in pictures}) if pictures.dtype == object else [pictures.shape[2:]]
