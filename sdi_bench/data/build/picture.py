"""What every source yields: one picture with what is known of it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True)
class Picture:
    """One 64 x 64 picture on white.

    domain: "object" or "emoji". concept: what it shows, lower case ("armchair", "dog face"). instance: the 3D model or
    the drawing it comes from; all views of a model share it. style: of an emoji ("noto"), "" for objects.
    view: "front", "side", "back" or "overhead", "" for emoji; azimuth, elevation: of the camera in degrees, NaN for emoji.
    colour: of an object ("red"), "" for emoji. words: further words it may be found by (keywords, category, tags).
    source, title, creator, licence: for the attribution.
    """

    pixels: UInt8[np.ndarray, "64 64 3"]
    domain: str
    concept: str
    instance: str
    style: str
    view: str
    azimuth: float
    elevation: float
    colour: str
    words: tuple[str, ...]
    source: str
    title: str
    creator: str
    licence: str
