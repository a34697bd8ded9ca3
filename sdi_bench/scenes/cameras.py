"""Where scenes are seen from, a camera for each row of a batch; world, angles and lens are those of sdi_bench.data.cameras."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import require
from ..data.cameras import VIEWS, Camera
from ..draws import Draws, Purpose
from ..guidance import Prompt

STEP = 45
"""Degrees between two azimuths of the packed views."""


@dataclass(frozen=True)
class View:
    """A camera a row: azimuth and elevation in degrees, [batch]. which: of `Cameras.n`, where that is a number."""

    azimuth: Float[Tensor, " batch"]
    elevation: Float[Tensor, " batch"]
    which: Int[Tensor, " batch"] | None = None

    @cached_property
    def cameras(self) -> list[Camera]:
        """One by one."""
        return [Camera(float(a), float(e)) for a, e in zip(self.azimuth, self.elevation, strict=True)]

    @cached_property
    def axes(self) -> Float[Tensor, "batch 3 3"]:
        """Rows: each camera's x (right), y (up) and z (back) in world coordinates; float64."""
        a, e = self.azimuth.deg2rad(), self.elevation.deg2rad()
        right = torch.stack([a.cos(), torch.zeros_like(a), -a.sin()], dim=-1)
        up = torch.stack([-a.sin() * e.sin(), e.cos(), -a.cos() * e.sin()], dim=-1)
        back = torch.stack([a.sin() * e.cos(), e.sin(), a.cos() * e.cos()], dim=-1)
        return torch.stack([right, up, back], dim=1)

    @staticmethod
    def of(cameras: Sequence[Camera]) -> "View":
        """A row for each camera."""
        angles = torch.tensor([(camera.azimuth, camera.elevation) for camera in cameras], dtype=torch.float64)
        return View(angles[:, 0], angles[:, 1])

    @staticmethod
    def orbit(n: int, elevation: float) -> "View":
        """n cameras around the object, from its front on, at one elevation."""
        return View.of([Camera(360 * k / n, elevation) for k in range(n)])


@runtime_checkable
class Cameras(Protocol):
    """How views are drawn."""

    @property
    def n(self) -> int | None:
        """How many views there are, each of which comes again; None: none does."""

    def draw(self, draws: Draws, step: int) -> View:
        """A view for each row."""


@dataclass(frozen=True)
class Rendered:
    """The angles that the built-in world's pictures were taken from: azimuths 45 degrees apart at elevation 20."""

    @property
    def n(self) -> int:
        return 360 // STEP

    def draw(self, draws: Draws, step: int) -> View:
        which = (draws.uniform(Purpose.CAMERA, 2 * step) * self.n).floor()
        return View(STEP * which, torch.full_like(which, VIEWS[0].elevation), which.long())


@dataclass(frozen=True)
class Around:
    """Azimuth and elevation uniform within bounds, in degrees; elevations within [-90, 90]. Raises ValueError otherwise."""

    azimuths: Sequence[float] = (-180.0, 180.0)
    elevations: Sequence[float] = (-10.0, 45.0)

    def __post_init__(self) -> None:
        for name, bounds, most in (("azimuths", self.azimuths, 360), ("elevations", self.elevations, 90)):
            if len(bounds) != 2 or not -most <= bounds[0] <= bounds[1] <= most:
                raise ValueError(f"scene.cameras.{name}={bounds!r}: must be two angles from -{most} to {most}, rising")

    @property
    def n(self) -> None:
        return None

    def draw(self, draws: Draws, step: int) -> View:
        parts = (
            low + (high - low) * draws.uniform(Purpose.CAMERA, 2 * step + k)
            for k, (low, high) in enumerate((self.azimuths, self.elevations))
        )
        return View(*parts)


@dataclass(frozen=True)
class Wording:
    """How a prompt says where it is seen from.

    text: with {prompt}, {view} ("front", "side", "back", "overhead": data.cameras), {azimuth} (the nearest of 0, 45, ... 315).
    within: degrees of azimuth from the front, or from the back, that are called so, above 0 and at most 90: 60 as the built-in
    world's pictures are, threestudio's 45.
    Raises ValueError for other fields, or if {prompt} is missing.
    """

    text: str = "{prompt}, {view} view"
    within: float = 60.0

    def __post_init__(self) -> None:
        require.number("scene.wording.within", self.within, above=0, at_most=90)
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(self.text) if name is not None}
        except ValueError as error:
            raise ValueError(f"scene.wording.text={self.text!r}: {error}") from error
        if "prompt" not in fields or not fields <= {"prompt", "view", "azimuth"}:
            raise ValueError(f"scene.wording.text={self.text!r}: must hold {{prompt}}, and may hold {{view}} and {{azimuth}}")

    def of(self, prompt: Prompt, camera: Camera) -> Prompt:
        """The prompt from there; no prompt stays none."""
        if prompt is None:
            return None
        azimuth = STEP * round(camera.azimuth / STEP) % 360
        return self.text.format(prompt=prompt, view=camera.named(self.within), azimuth=azimuth)
