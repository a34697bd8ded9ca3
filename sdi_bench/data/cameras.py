"""Where the camera stands. World: right-handed, +Y up, the object's front faces +Z, all of it inside the unit sphere.

The camera looks at the origin from a distance at which the unit sphere just fits into the field of view. Azimuth is counted in
degrees from +Z towards +X (0: front, 90: from +X), elevation in degrees above the horizon. In camera coordinates x is right,
y up, and the camera looks along -z. Pixels are counted from the upper left corner; their centres are at half integers.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from .. import require

FIELD_OF_VIEW = 40.0
"""Vertical, in degrees."""
DISTANCE = 1 / math.sin(math.radians(FIELD_OF_VIEW / 2))
"""From the origin; about 2.92."""


@dataclass(frozen=True)
class Camera:
    """Azimuth and elevation in degrees; the elevation within [-90, 90]."""

    azimuth: float
    elevation: float

    def __post_init__(self) -> None:
        require.number("azimuth", self.azimuth)
        require.number("elevation", self.elevation, at_least=-90, at_most=90)

    @property
    def axes(self) -> Float64[np.ndarray, "3 3"]:
        """Rows: the camera's x (right), y (up) and z (back, towards the viewer) in world coordinates; a rotation."""
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        back = (math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e))
        up = (-math.sin(a) * math.sin(e), math.cos(e), -math.cos(a) * math.sin(e))
        return np.array([(math.cos(a), 0.0, -math.sin(a)), up, back])

    @property
    def position(self) -> Float64[np.ndarray, "3"]:
        """In world coordinates, DISTANCE from the origin."""
        return DISTANCE * self.axes[2]

    @property
    def world_to_camera(self) -> Float64[np.ndarray, "4 4"]:
        """Takes (x, y, z, 1) of the world to the camera's."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[2, 3] = self.axes, -DISTANCE
        return matrix

    def project(self, points: Float64[np.ndarray, "*n 3"], height: int, width: int) -> Float64[np.ndarray, "*n 3"]:
        """Column, row (in pixels of a height x width picture) and depth (along the line of sight) of points of the world."""
        x, y, z = np.moveaxis(points @ self.axes.T, -1, 0)
        depth = DISTANCE - z
        scale = height / 2 / math.tan(math.radians(FIELD_OF_VIEW / 2)) / depth
        return np.stack([width / 2 + scale * x, height / 2 - scale * y, depth], axis=-1)

    def rays(self, height: int, width: int) -> tuple[Float64[np.ndarray, "h w 3"], Float64[np.ndarray, "h w 3"]]:
        """Origins and unit directions of the rays through the pixel centres, in world coordinates."""
        unit = 2 * math.tan(math.radians(FIELD_OF_VIEW / 2)) / height
        x, y = unit * (np.arange(width) + 0.5 - width / 2), unit * (height / 2 - np.arange(height) - 0.5)
        through = np.stack([*np.meshgrid(x, y), np.full((height, width), -1.0)], axis=-1) @ self.axes
        return np.broadcast_to(self.position, through.shape), through / np.linalg.norm(through, axis=-1, keepdims=True)

    @property
    def view(self) -> str:
        """One word, as the built-in world's pictures have it: `named(60)`."""
        return self.named(60)

    def named(self, within: float) -> str:
        """One word: "overhead" above 60 degrees; else "front" within so many of azimuth 0, "back" of 180, "side" between."""
        if self.elevation > 60:
            return "overhead"
        away = abs((self.azimuth + 180) % 360 - 180)
        return "front" if away < within else "back" if away > 180 - within else "side"


VIEWS = (*(Camera(float(azimuth), 20.0) for azimuth in range(0, 360, 45)), Camera(0.0, 70.0))
"""The views that every packed model has."""
