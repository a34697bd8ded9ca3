"""The built-in world: captioned 64 x 64 pictures of furniture from known angles and of emoji, with fixed splits.

Made by `python -m sdi_bench.data.build`; whose work it shows is in ATTRIBUTION.md.
"""

import gzip
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Integer, UInt8
from PIL import Image

from .._cache import cache_folder
from .cameras import VIEWS
from .shipped import shipped

SIZE = 64
"""Pixels a side."""
STEP = 5
"""Grey levels between two values that a channel can have; see `data.build.pack`."""
PER_ATLAS, COLUMNS = 1024, 16
"""Pictures of an atlas, and of one of its rows; the last atlas has what is left, its last row filled up."""
DOMAINS = ("object", "emoji")
SPLITS = ("train", "val", "tune", "heldout")
TABLE = "world/pictures.csv.gz"
DIGEST = "world/DIGEST"
"""What `World.digest` gives."""
NUMBERS = ("azimuth", "elevation")


def atlas(i: int) -> str:
    """The name of the i-th atlas."""
    return f"world/{i:02}.webp"


def unpack(path: Path, images: UInt8[np.ndarray, "n 3 64 64"]) -> None:
    """The pictures of an atlas of n, row by row, into images: channels first, STEPs turned into brightness."""
    with Image.open(path) as file:
        steps = np.asarray(file)
    rows, columns = (extent // SIZE for extent in steps.shape[:2])
    grid = steps.reshape(rows, SIZE, columns, SIZE, 3).transpose(0, 2, 4, 1, 3)
    np.multiply(grid, np.uint8(STEP), out=images.reshape(grid.shape))


@dataclass(frozen=True, eq=False)
class World:
    """Pictures, brightness 0 to 255, and one row of the table for each.

    Columns: domain ("object", "emoji"), concept, instance (the model or drawing), style, view ("front", "side", "back",
    "overhead" or ""), azimuth and elevation of the camera in degrees (NaN for emoji), colour, words ("; " between them),
    caption, split ("train", "val", "tune", "heldout": see data.build.splits), source, title, creator, licence.
    """

    images: UInt8[np.ndarray, "n 3 64 64"]
    table: pd.DataFrame

    @classmethod
    @cache
    def open(cls) -> "World":
        """The world that ships, opened once. Raises ValueError, naming the file, if one is missing or damaged."""
        return read()

    def where(self, split: str | None = None, domain: str | None = None) -> "World":
        """The pictures of one split, one domain, or both. Raises ValueError for others than SPLITS and DOMAINS."""
        keep = np.full(len(self), True)
        for name, value, allowed in (("split", split, SPLITS), ("domain", domain, DOMAINS)):
            if value is not None:
                if value not in allowed:
                    raise ValueError(f"{name}={value!r}: must be one of {', '.join(allowed)}")
                keep &= (self.table[name] == value).to_numpy()
        return self.rows(keep)

    def rows(self, which: Bool[np.ndarray, " n"] | Integer[np.ndarray, " k"]) -> "World":
        """These pictures alone: a mask, or places in the table."""
        return World(self.images[which], self.table.loc[which].reset_index(drop=True))

    @property
    def around(self) -> Bool[np.ndarray, " n"]:
        """Which are of the eight around an object, 45 degrees apart at one elevation; not from above, no emoji."""
        return (self.table["elevation"] == VIEWS[0].elevation).to_numpy()

    def pixels(self, size: int = SIZE) -> Float32[np.ndarray, "n 3 {size} {size}"]:
        """In [-1, 1]; below 64, each pixel is the mean over a square. Raises ValueError unless size is 64, 32, 16 or 8."""
        if size not in (64, 32, 16, 8):
            raise ValueError(f"size={size!r}: must be 64, 32, 16 or 8")
        k = SIZE // size
        means = self.images.reshape(-1, 3, size, k, size, k).mean((3, 5), dtype=np.float32) if k > 1 else self.images
        return means.astype(np.float32) / np.float32(127.5) - 1

    def digest(self) -> str:
        """sha256 of the pixels and the table: equal for equal pictures, however they are packed."""
        told = hashlib.sha256(np.ascontiguousarray(self.images).data)
        told.update(self.table.to_csv(index=False, lineterminator="\n", float_format="%g").encode())
        return told.hexdigest()

    def __len__(self) -> int:
        return len(self.table)


def read(keep: bool = True) -> World:
    """The world that ships, read anew. Raises ValueError, naming the file, if one is missing or damaged.

    keep: its pictures may be those that an earlier process unpacked, and the next process finds them so.
    """
    with gzip.open(shipped(TABLE), "rt", encoding="utf-8", newline="") as file:
        table = pd.read_csv(
            file, keep_default_na=False, na_values=dict.fromkeys(NUMBERS, ""), dtype=dict.fromkeys(NUMBERS, float)
        )
    paths = [shipped(atlas(i)) for i in range(-(-len(table) // PER_ATLAS))]
    if not keep:
        return unpacked(paths, table)
    world = kept(table)
    if world is None:
        world = unpacked(paths, table)
        hold(world)
    return world


def kept_at() -> Path:
    """Where the pictures lie unpacked, 180 MB: they are then there ten times as soon, and processes share them."""
    return cache_folder("world") / f"{shipped(DIGEST).read_text().strip()[:16]}.npy"


def kept(table: pd.DataFrame) -> World | None:
    """The world, its pictures as an earlier process unpacked them; None if none did, or these are not its pictures."""
    try:
        world = World(np.asarray(np.load(kept_at(), mmap_mode="r")), table)
        return world if world.digest() == shipped(DIGEST).read_text().strip() else None
    except (OSError, ValueError, EOFError):
        return None


def unpacked(paths: Sequence[Path], table: pd.DataFrame) -> World:
    """The world, its atlases unpacked."""
    images = np.empty((-(-len(table) // COLUMNS) * COLUMNS, 3, SIZE, SIZE), np.uint8)
    for i, path in enumerate(paths):
        unpack(path, images[i * PER_ATLAS : (i + 1) * PER_ATLAS])
    images = images[: len(table)]
    images.flags.writeable = False
    return World(images, table)


def hold(world: World) -> None:
    """Have the next process find the pictures unpacked, if there is room."""
    part = kept_at().with_name(f".{os.getpid()}.part")
    with suppress(OSError):
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.save(file, world.images)
            part.replace(kept_at())
        finally:
            part.unlink(missing_ok=True)
