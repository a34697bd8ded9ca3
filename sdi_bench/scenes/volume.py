"""Radiance fields in plain torch: density and colour in the unit sphere, seen by emission and absorption along rays.

    tau_i = density_i·delta_i,   w_i = exp(-sum_{j<i} tau_j)·(1 - exp(-tau_i)),   pixel = sum_i w_i·colour_i + (1 - sum_i w_i)·1

(arXiv 2003.08934, eq. 3; in front of white, as the built-in world's pictures are). All cameras have one lens and one distance,
so the samples along the rays are the same in every camera's own axes; a view only turns them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from .. import require
from ..data.cameras import DISTANCE, VIEWS, Camera
from ..draws import Draws, Purpose
from ..guidance import Prompt, Sides
from ..models.base import Denoiser
from .base import Look, Seen, image_shape, traced
from .cameras import Cameras, Rendered, View, Wording

SIDES = (VIEWS[0], VIEWS[2], VIEWS[4])
"""A camera for each of front, side and back."""

FAINT = 1e-3
"""Opacity below which there is nothing to have a depth."""

CHANNELS = 4
"""Of a field: density and three colours, both before their squashing."""


class Lens(NamedTuple):
    """Samples in the unit sphere, midpoints of equal parts of each ray's chord, in the camera's axes about the origin."""

    points: Float[Tensor, "rays samples 3"]
    delta: Float[Tensor, " rays"]
    hits: Bool[Tensor, " pixels"]


@lru_cache(maxsize=16)
def lens(height: int, width: int, n_samples: int, dtype: torch.dtype, device: torch.device) -> Lens:
    """The rays of a picture that meet the unit sphere."""
    origins, directions = (torch.tensor(rays).reshape(-1, 3) for rays in Camera(0.0, 0.0).rays(height, width))
    middle = -(origins * directions).sum(-1)
    off = (origins * origins).sum(-1) - middle.square()
    hits = off < 1
    half = (1 - off[hits]).sqrt()
    along = (2 * torch.arange(n_samples) + 1) / n_samples - 1
    depth = middle[hits, None] + half[:, None] * along
    points = origins[hits, None] + depth[..., None] * directions[hits, None]
    return Lens(points.to(device, dtype), (2 * half / n_samples).to(device, dtype), hits.to(device))


def ends_of(look: Look, view: View) -> Float[Tensor, "batch 3 h w"]:
    """Where the rays of a view end, in the world; of those that meet next to nothing, beyond the unit sphere."""
    _, directions = (torch.tensor(rays) for rays in Camera(0.0, 0.0).rays(*look.depth.shape[1:]))
    through = (directions / -directions[..., 2:]).to(look.depth)
    ends = look.depth[..., None] * through + through.new_tensor([0.0, 0.0, DISTANCE])
    return torch.einsum("bhwi,bij->bjhw", ends, view.axes.to(ends))


def slope_of_squares(grid: Tensor, dims: Sequence[int]) -> Tensor:
    """The gradient of the sum of squared differences along these axes; written out, as autograd takes four times as long."""
    slope = torch.zeros_like(grid)
    for dim in dims:
        step, n = grid.diff(dim=dim), grid.shape[dim] - 1
        slope.narrow(dim, 1, n).add_(step, alpha=2)
        slope.narrow(dim, 0, n).sub_(step, alpha=2)
    return slope


@dataclass(frozen=True)
class Volume(ABC):
    """A field that a network of prompts and views is asked about, one view of each item a step.

    cameras: where from. wording: how the prompt says so. n_samples >= 1 a ray. sharpness > 0, bias: density per unit of length
    = sharpness·softplus(raw + bias). spread >= 0: of the noise it starts as. dtype: of the field.
    Penalties, >= 0, added to half the sum of squares between view and target (of latents, where the model has them):
    smooth·(sum of squared differences between neighbours in the field), sparse·(sum of opacity over pixels),
    solid·(sum of opacity·(1 - opacity) over pixels). Where another code takes means, its weights are to be multiplied by its
    numbers in the mean of squares over its pixels: 1/16 for Stable Diffusion at 512 pixels.
    n_views, elevation: of the pictures kept, around the object. Raises ValueError, naming the field, otherwise.
    """

    cameras: Cameras = Rendered()
    wording: Wording = Wording()
    n_samples: int = 32
    sharpness: float = 10.0
    bias: float = -3.0
    spread: float = 0.0
    smooth: float = 1e-5
    sparse: float = 0.0
    solid: float = 0.0
    n_views: int = 48
    elevation: float = 20.0
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        require.count("scene.n_samples", self.n_samples)
        require.count("scene.n_views", self.n_views)
        require.number("scene.sharpness", self.sharpness, above=0)
        require.number("scene.bias", self.bias)
        require.number("scene.elevation", self.elevation, at_least=-90, at_most=90)
        for name in ("spread", "smooth", "sparse", "solid"):
            require.number(f"scene.{name}", getattr(self, name), at_least=0)

    @property
    def is_x0(self) -> bool:
        return False

    @property
    def n_cameras(self) -> int | None:
        return self.cameras.n

    @property
    @abstractmethod
    def n_params(self) -> int:
        """Of one field."""

    @abstractmethod
    def field(self, params: Float[Tensor, "batch n"], points: Float[Tensor, "batch m 3"]) -> Float[Tensor, "batch 4 m"]:
        """Density and colours, raw, at points of the world inside the unit sphere."""

    @abstractmethod
    def roughness_slope(self, params: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
        """The gradient of the sum of squared differences between neighbours."""

    def check(self, model: Denoiser) -> None:
        if len(image_shape(model)) != 3 or image_shape(model)[0] != 3:
            raise ValueError(f"scene: a field has three colours; this model's images are {list(image_shape(model))}")

    def init(self, model: Denoiser, draws: Draws, n: int) -> Tensor:
        if not self.spread:
            return torch.zeros(n, self.n_params, dtype=self.dtype)
        return (self.spread * draws.normal(Purpose.SCENE, 0, (self.n_params,))).to(self.dtype)

    def view(self, draws: Draws, step: int) -> View:
        return self.cameras.draw(draws, step)

    def prompts(self, prompts: Sequence[Prompt], view: View | None) -> tuple[Prompt, ...]:
        assert view is not None
        return tuple(self.wording.of(prompt, camera) for prompt, camera in zip(prompts, view.cameras, strict=True))

    def sides(self, prompts: Sequence[Prompt], view: View) -> Sides:
        front, side, back = (tuple(self.wording.of(prompt, camera) for prompt in prompts) for camera in SIDES)
        words = tuple(camera.named(self.wording.within) for camera in view.cameras)
        return Sides(front, side, back, words, tuple(camera.azimuth for camera in view.cameras))

    def asked(self, prompt: Prompt) -> tuple[Prompt, ...]:
        """From the eight sides: a model that knows these words is taken to know those for views between and above."""
        return tuple(dict.fromkeys(self.wording.of(prompt, camera) for camera in VIEWS[:-1]))

    def look(self, params: Float[Tensor, "batch n"], view: View, height: int, width: int) -> Look:
        """What each item looks like from its camera; differentiable."""
        points, delta, hits = lens(height, width, self.n_samples, params.dtype, params.device)
        world = points.flatten(0, 1) @ view.axes.to(params)
        raw = self.field(params, world).unflatten(-1, points.shape[:2])
        tau = self.per_length(raw[:, 0]) * delta[:, None]
        weights = torch.exp(tau - tau.cumsum(-1)) * -torch.expm1(-tau)
        opacity = weights.sum(-1)
        colours = (weights[:, None] * torch.tanh(raw[:, 1:] / 2)).sum(-1) + (1 - opacity)[:, None]
        depth = torch.where(
            opacity > FAINT, DISTANCE - (weights * points[..., 2]).sum(-1) / opacity.clamp(min=FAINT), DISTANCE + 1
        )

        def picture(values: Tensor, background: float) -> Tensor:
            blank = torch.full((*values.shape[:-1], height * width), background, dtype=values.dtype, device=values.device)
            blank[..., hits] = values
            return blank.unflatten(-1, (height, width))

        return Look(picture(colours, 1.0), picture(opacity, 0.0), picture(depth, DISTANCE + 1))

    def per_length(self, raw: Tensor) -> Tensor:
        """Density per unit of length, >= 0, from a field's raw values."""
        return self.sharpness * functional.softplus(raw + self.bias)

    def normals(self, params: Float[Tensor, "batch n"], view: View, look: Look) -> Float[Tensor, "batch 3 h w"]:
        """Outward unit normals in the camera's axes (right, up, towards it), where rays end on the mean; 0 for white."""
        height, width = look.depth.shape[1:]
        points, _, hits = lens(height, width, self.n_samples, params.dtype, params.device)
        eye = points.new_tensor([0.0, 0.0, DISTANCE])
        along = points[:, 0] - eye
        depth = look.depth.flatten(1)[:, hits, None]
        ends = eye + along * depth / -along[:, 2:]
        h = 1 / 32
        sides = torch.eye(3).repeat_interleave(2, 0) * torch.tensor([h, -h]).repeat(3)[:, None]
        around = (ends[:, None] + sides.to(params)[:, None]).flatten(1, 2) @ view.axes.to(params)  # six points for each end
        raw = self.field(params, around)[:, 0].unflatten(-1, (6, -1))
        slope = torch.stack([raw[:, 1] - raw[:, 0], raw[:, 3] - raw[:, 2], raw[:, 5] - raw[:, 4]], dim=1)
        found = params.new_zeros(len(params), 3, height * width)
        found[..., hits] = functional.normalize(slope, dim=1)
        return found.unflatten(-1, (height, width)) * (look.opacity[:, None] > 0.5)

    def see(self, params: Tensor, view: View | None, model: Denoiser) -> Seen:
        assert view is not None
        height, width = image_shape(model)[1:]
        penalties: list[Tensor] = []
        looks: list[Look] = []

        def image(leaf: Tensor) -> Tensor:
            look = self.look(leaf, view, height, width)
            looks.append(Look(*(part.detach() for part in look)))
            if self.sparse or self.solid:
                penalties.append(self.sparse * look.opacity.sum() + self.solid * (look.opacity * (1 - look.opacity)).sum())
            return look.image

        seen = traced(params, image, model, penalties=penalties)
        seen = seen._replace(ends=lambda: (ends_of(looks[0], view), looks[0].opacity))
        if not self.smooth:
            return seen
        return seen._replace(pull=lambda slope: seen.pull(slope).add_(self.roughness_slope(params), alpha=self.smooth))

    @property
    def orbit(self) -> View:
        """Where the pictures kept are taken from; of 48, every sixth is where the built-in world's pictures were."""
        return View.orbit(self.n_views, self.elevation)

    def pictures(self, params: Tensor, model: Denoiser) -> Tensor:
        return self.around(params, self.orbit, image_shape(model)[1:])

    def around(self, params: Tensor, views: View, size: Sequence[int]) -> Float[Tensor, "batch views 3 h w"]:
        """Every item from every one of these views."""
        shots = [
            self.look(params, View(a.expand(len(params)), e.expand(len(params))), *size).image
            for a, e in zip(views.azimuth.split(1), views.elevation.split(1), strict=True)
        ]
        return torch.stack(shots, dim=1)


@dataclass(frozen=True)
class Voxel(Volume):
    """Density and colour on grids over [-1, 1]^3, read between their points linearly, and added up: the coarser ones move
    whole parts at once. resolutions: points along an edge, >= 2 each. Raises ValueError otherwise.
    """

    resolutions: Sequence[int] = (40,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.resolutions:
            raise ValueError("scene.resolutions=[]: must name at least one")
        for resolution in self.resolutions:
            require.count("scene.resolutions", resolution, least=2)

    @property
    def n_params(self) -> int:
        return CHANNELS * sum(r**3 for r in self.resolutions)

    def grids(self, params: Float[Tensor, "batch n"]) -> list[Float[Tensor, "batch 4 z y x"]]:
        """One for each resolution."""
        parts = params.split([CHANNELS * r**3 for r in self.resolutions], dim=1)
        return [part.reshape(-1, CHANNELS, r, r, r) for part, r in zip(parts, self.resolutions, strict=True)]

    def field(self, params: Float[Tensor, "batch n"], points: Float[Tensor, "batch m 3"]) -> Float[Tensor, "batch 4 m"]:
        places = points[:, :, None, None]
        read = [functional.grid_sample(grid, places, align_corners=True)[..., 0, 0] for grid in self.grids(params)]
        return torch.stack(read).sum(0)

    def roughness_slope(self, params: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
        return torch.cat([slope_of_squares(grid, (2, 3, 4)).flatten(1) for grid in self.grids(params)], dim=1)


@dataclass(frozen=True)
class Factorised(Volume):
    """Density and colour as sums of products of planes and lines (arXiv 2203.09517, vector-matrix form):
    f(x, y, z) = sum over the axes and over n_components of plane(two axes)·line(third).

    resolution >= 2: points along an edge. n_components >= 1 for each channel and axis. Raises ValueError otherwise.
    """

    resolution: int = 64
    n_components: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        require.count("scene.resolution", self.resolution, least=2)
        require.count("scene.n_components", self.n_components)

    @property
    def n_params(self) -> int:
        return 3 * CHANNELS * self.n_components * (self.resolution**2 + self.resolution)

    def init(self, model: Denoiser, draws: Draws, n: int) -> Tensor:
        """Lines start at 1, planes at 0: products of zeros would have no gradient."""
        params = super().init(model, draws, n).clone()
        self.factors(params)[1].add_(1)
        return params

    def factors(
        self, params: Float[Tensor, "batch n"]
    ) -> tuple[Float[Tensor, "batch 3 channels r r"], Float[Tensor, "batch 3 channels r 1"]]:
        """Planes and lines, for each axis."""
        k, r = CHANNELS * self.n_components, self.resolution
        planes, lines = params.split([3 * k * r * r, 3 * k * r], dim=1)
        return planes.view(-1, 3, k, r, r), lines.view(-1, 3, k, r, 1)

    def field(self, params: Float[Tensor, "batch n"], points: Float[Tensor, "batch m 3"]) -> Float[Tensor, "batch 4 m"]:
        planes, lines = self.factors(params)
        total = torch.zeros((), dtype=params.dtype, device=params.device)
        for axis in range(3):
            rest = [i for i in range(3) if i != axis]
            across = functional.grid_sample(planes[:, axis], points[:, :, None, rest], align_corners=True)[..., 0]
            place = torch.stack([torch.zeros_like(points[..., axis]), points[..., axis]], dim=-1)[:, :, None]
            along = functional.grid_sample(lines[:, axis], place, align_corners=True)[..., 0]
            total = total + (across * along).unflatten(1, (CHANNELS, self.n_components)).sum(2)
        return total

    def roughness_slope(self, params: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
        planes, lines = self.factors(params)
        slopes = [slope_of_squares(planes, (3, 4)), slope_of_squares(lines, (3,))]
        return torch.cat([slope.flatten(1) for slope in slopes], dim=1)
