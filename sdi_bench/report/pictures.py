"""Pictures as the page holds them: pixels and data URIs."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..pictures import shown
from ..reading import Group

SIDE = 128
"""Pixels: larger pictures are made smaller."""

PER_PIXEL = 1.6 * 4 / 3
"""Bytes of a pixel of noise (WebP, base64): what a picture costs at worst."""


def pixels(image: np.ndarray, side: int) -> np.ndarray:
    """[c, h, w] in [-1, 1] -> uint8 [h, w, 3], at most `side`. One channel is grey, of more than three the first three."""
    made = np.round(shown(image[: 3 if len(image) >= 3 else 1]) * 255).astype(np.uint8)
    if max(made.shape[:2]) <= side:
        return made
    scale = side / max(made.shape[:2])
    size = (max(1, round(made.shape[1] * scale)), max(1, round(made.shape[0] * scale)))
    return np.asarray(Image.fromarray(made).resize(size, Image.Resampling.LANCZOS))


def data_uri(frames: Sequence[Image.Image], quality: int | None = None, milliseconds: int = 0) -> str:
    """A picture, or an endless film of several, each so long, as a WebP data URI; quality None: without loss."""
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "WEBP",
        lossless=quality is None,
        quality=60 if quality is None else quality,
        save_all=len(frames) > 1,
        append_images=frames[1:],
        duration=milliseconds,
        loop=0,
    )
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def strip(images: Sequence[np.ndarray] | np.ndarray, side: int, quality: int | None) -> str:
    """Pictures [c, h, w] beside each other, as a data URI."""
    return data_uri([Image.fromarray(np.concatenate([pixels(image, side) for image in images], axis=1))], quality)


def on_page(shape: Sequence[int], side: int) -> tuple[int, bool]:
    """(width on the page in CSS pixels, whether pixels are to be seen) of pictures [..., h, w]: whole multiples if small."""
    width = round(shape[-1] * min(1, side / max(shape[-2:])))
    return width * max(1, round(96 / width)), width < 64


def cost_of(groups: Sequence[Group], side: int) -> float:
    """Bytes at most of a picture of every run."""
    return sum(len(group.runs) * math.prod(min(side, n) for n in group.shape[-2:]) * PER_PIXEL for group in groups)
