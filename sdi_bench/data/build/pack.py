"""The pictures, packed: lossless WebP atlases and one table.

A channel has 52 values, STEP·k with STEP = 5: black and white are kept, and since STEP is odd the nearest value is never
more than 2 of 255 levels away (1.4 rms), no more than rounding to 6 bits costs, at two thirds of the bytes of all 256 values.
An atlas stores k, so that neighbours differ by small whole numbers. A model's views lie side by side, a style's drawings too.
"""

import gzip
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from PIL import Image

from .. import shipped
from ..world import COLUMNS, DIGEST, PER_ATLAS, SIZE, STEP, TABLE, World, atlas, read
from .captions import caption
from .picture import Picture

LIMIT = 16 * 2**20
"""Bytes that all packed pictures, the table and the meshes may take."""


def steps(pixels: UInt8[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Brightness in whole STEPs, the nearest."""
    return ((pixels.astype(np.uint16) + STEP // 2) // STEP).astype(np.uint8)


def encoded(pictures: Sequence[Picture]) -> bytes:
    """Up to PER_ATLAS pictures as one WebP file; the last row is filled with white."""
    grid = np.full((-(-len(pictures) // COLUMNS) * COLUMNS, SIZE, SIZE, 3), 255 // STEP, np.uint8)
    for place, picture in zip(grid, pictures, strict=False):
        place[:] = steps(picture.pixels)
    rows = grid.reshape(-1, COLUMNS, SIZE, SIZE, 3).transpose(0, 2, 1, 3, 4).reshape(-1, COLUMNS * SIZE, 3)
    file = io.BytesIO()
    Image.fromarray(rows).save(file, "webp", lossless=True, quality=100, method=6)
    return file.getvalue()


def frame(pictures: Sequence[Picture], splits: Sequence[str]) -> pd.DataFrame:
    """The table: what is known of each picture, its caption and its split."""
    return pd.DataFrame(
        {
            "domain": p.domain,
            "concept": p.concept,
            "instance": p.instance,
            "style": p.style,
            "view": p.view,
            "azimuth": p.azimuth,
            "elevation": p.elevation,
            "colour": p.colour,
            "words": "; ".join(p.words),
            "caption": caption(p.domain, p.concept, p.style, p.view, p.colour),
            "split": split,
            "source": p.source,
            "title": p.title,
            "creator": p.creator,
            "licence": p.licence,
        }
        for p, split in zip(pictures, splits, strict=True)
    )


def pack(pictures: Sequence[Picture], splits: Sequence[str]) -> World:
    """Write the pictures, in this order, as the world that ships, and read it again. Files are replaced whole.

    Raises ValueError, and leaves the old world in place, if they would take more than LIMIT bytes.
    """
    parts = [pictures[i : i + PER_ATLAS] for i in range(0, len(pictures), PER_ATLAS)]
    with ThreadPoolExecutor() as pool:
        files = {atlas(i): content for i, content in enumerate(pool.map(encoded, parts))}
    text = frame(pictures, splits).to_csv(index=False, lineterminator="\n", float_format="%g")
    files[TABLE] = gzip.compress(text.encode(), compresslevel=9, mtime=0)
    meshes = shipped.HERE / "meshes.npz"
    size = sum(map(len, files.values())) + (meshes.stat().st_size if meshes.exists() else 0)
    if size > LIMIT:
        raise ValueError(f"pictures={len(pictures)}: packed they and the meshes take {size} bytes; {LIMIT} would do")
    replace(files)
    world = read(keep=False)
    replace({DIGEST: f"{world.digest()}\n".encode()})
    return world


def replace(files: Mapping[str, bytes]) -> None:
    """Put shipped files in place, each whole, remove atlases that are no longer there, and seal."""
    (shipped.HERE / "world").mkdir(exist_ok=True)
    for name, content in files.items():
        part = shipped.HERE / f"{name}.part"
        part.write_bytes(content)
        os.replace(part, shipped.HERE / name)
    if TABLE in files:
        for path in (shipped.HERE / "world").glob("*.webp"):
            if f"world/{path.name}" not in files:
                path.unlink()
    shipped.seal(*files)
    shipped.shipped.cache_clear()
