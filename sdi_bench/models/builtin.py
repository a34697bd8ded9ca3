"""The built-in text-to-image priors: closed-form denoisers of the built-in world's training pictures (sdi_bench.data.world)."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from .. import require
from ..data.world import SIZE, World
from .local import Local, WeightedImages, check_windows
from .mosaic import Mosaic
from .patch_mixture import shipped_pyramid
from .words import Words

BOOSTS = {"concept": 1.0, "colour": 0.5, "view": 2.0, "style": 0.3, "words": 0.3}
"""How much a word counts where it stands; chosen on the `tune` prompts, like the temperature."""

CAMERA = "camera"
"""A field more, for 3D: the angle of the packed views around the object, as "45 degrees"; counts if it is given a boost."""

WINDOWS = ((0.0, 1), (0.5, 2), (0.8, 4), (1.3, 8), (2.3, 15), (4.0, 20), (6.5, 63))
"""From this sigma up, the half-width at 64 pixels. Below sigma 0.8, where details form, what denoises unseen (`tune`) pictures
best; above it wider: what is best there gives samples that do not hang together (results/published/README.md)."""


@cache
def pictures() -> tuple[World, Mapping[str, np.ndarray]]:
    """The training pictures, and the val pictures by caption; the models of a sweep share them."""
    val = World.open().where("val")
    held = {str(caption): val.images[rows] for caption, rows in val.table.groupby("caption").indices.items()}
    return World.open().where("train"), held


def angles(world: World) -> tuple[str, ...]:
    """Of each of the eight pictures around an object "0 degrees" (its front), "45 degrees", ...; of others ""."""
    seen = zip(world.table["azimuth"], world.around, strict=True)
    return tuple(f"{azimuth:.0f} degrees" if around else "" for azimuth, around in seen)


def parts(
    size: int, width: float, prompts: Sequence[str], boosts: Mapping[str, float], temperature: float, n_most: int, n_null: int
) -> dict[str, Any]:
    """What both priors are made of. size: 64, 32, 16 or 8 pixels, else ValueError; the rest as in Prior and Words."""
    require.count("model.size", size)
    if size not in (64, 32, 16, 8):
        raise ValueError(f"model.size={size!r}: must be 64, 32, 16 or 8")
    if not isinstance(boosts, Mapping):
        raise ValueError(f"model.boosts={boosts!r}: must be numbers by field, as {BOOSTS!r}")
    if isinstance(prompts, str) or not isinstance(prompts, Sequence) or not all(isinstance(each, str) for each in prompts):
        raise ValueError(f"model.prompts={prompts!r}: must be a list of prompts")
    train, held = pictures()
    fields = {name: tuple(train.table[name]) for name in BOOSTS}
    if CAMERA in boosts:
        fields[CAMERA] = angles(train)
    words = Words(fields, dict(boosts), temperature, n_most, n_null)
    return {
        "images": train.images,
        "held": held,
        "words": words,
        "shrink": SIZE // size,
        "width": width,
        "defaults": tuple(prompts),
    }


def weighted_images(
    size: int = SIZE,
    width: float = 0.02,
    prompts: Sequence[str] = (),
    boosts: Mapping[str, float] = BOOSTS,
    temperature: float = 0.03,
    n_most: int = 48,
    n_null: int = 128,
) -> WeightedImages:
    """The optimal denoiser of the pictures that a prompt means: the memorising limit, and the exact oracle."""
    return WeightedImages(**parts(size, width, prompts, boosts, temperature, n_most, n_null))


def local(
    size: int = SIZE,
    width: float = 0.02,
    windows: Sequence[Sequence[float]] = WINDOWS,
    prompts: Sequence[str] = (),
    boosts: Mapping[str, float] = BOOSTS,
    temperature: float = 0.03,
    n_most: int = 48,
    n_null: int = 128,
) -> Local:
    """The denoiser that works window by window. windows: (sigma, half-width at 64 pixels), halved with the size."""
    made = parts(size, width, prompts, boosts, temperature, n_most, n_null)
    return Local(**made, windows=scaled(windows, size))


def pairs(windows: Sequence[Sequence[float]], size: str) -> tuple[tuple[float, int], ...]:
    """Windows as pairs (sigma, size of the window). Raises ValueError, naming the field, for what is no such pair."""
    check_windows(windows, size)
    return tuple((float(sigma), int(number)) for sigma, number in windows)


def scaled(windows: Sequence[Sequence[float]], size: int) -> tuple[tuple[float, int], ...]:
    """Windows given for 64 pixels at another size."""
    return tuple((sigma, -(-half_width * size // SIZE)) for sigma, half_width in pairs(windows, "half-width"))


def mosaic(
    size: int = SIZE,
    width: float = 0.02,
    windows: Sequence[Sequence[float]] = Mosaic.windows,
    join: Sequence[float] = Mosaic.join,
    n_detail: int = Mosaic.n_detail,
    clip: bool = Mosaic.clip,
    prompts: Sequence[str] = (),
    boosts: Mapping[str, float] = BOOSTS,
    temperature: float = 0.03,
    n_most: int = 48,
) -> Mosaic:
    """The prior that takes guidance. windows: (sigma, blocks on either side), each an eighth of the picture."""
    made = parts(size, width, prompts, boosts, temperature, n_most, len(pictures()[0]))
    if isinstance(join, str) or not isinstance(join, Sequence) or len(join) != 2:
        raise ValueError(f"model.join={join!r}: must be two sigmas")
    made |= {"windows": pairs(windows, "blocks"), "patches": shipped_pyramid(), "join": tuple(join)}
    return Mosaic(**made, n_detail=n_detail, clip=clip)
