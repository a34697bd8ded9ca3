"""kappa painted on an object's surface, so that every view shows the same paint: CFD in 3D."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from .. import require
from ..draws import Draws, Purpose
from ..levels import Step
from ..predictor import Predictor
from .base import Ends, Image, Kappa, Last, Proposal
from .consistent import Consistent

SOLID = 0.1
"""Opacity above which a ray ends on the object (the released code's opc_thres)."""


@dataclass(frozen=True)
class Surface(Consistent):
    """Multi-view consistent Gaussian noise (CFD, arXiv 2501.05445, sec. 3): a pixel is the sum of the texels z that its part of
    the surface covers, over the root of their number,

        kappa_p = sum_{k in p} z_k / sqrt(n_p),   z_k ~ N(0, 1),   cov(kappa_p, kappa'_q) = n_pq / sqrt(n_p·n'_q)

    for pixels p and q of two views that have n_pq texels in common (integral noise, as in arXiv 2504.03072). So one picture is
    white, the same view shows the same noise, and views share what they both see. A texel is a direction from the origin, on a
    grid of resolution² on each side of a cube; it lies where that direction meets the surface. Pixels where the object stops
    at most a tenth of the light, or that cover no texel, have noise of the picture's plane, as Consistent has all of it: a
    picture without a camera has no surface, and there it is Consistent. gamma: the share of all this that is new at each step.

    The corners of a pixel are on the mean of the surface points of the pixels that meet there, and a pixel is two triangles:
    so has the released code it (runjie-yan/ConsistentFlowDistillation, threestudio/models/noise_generator.py,
    TriplaneNoiseGenerator). It differs in three things: its directions are mapped to three squares, with opposite ones on one
    texel; a texel that several pixels cover, where one ray from the origin meets several parts, counts in each of them, here
    in the outermost alone, or one picture would not be white; its pixels have some thousand texels.
    gamma in [0, 1]; resolution >= 1. Raises ValueError, naming the field, otherwise.
    """

    resolution: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        require.count("noise.resolution", self.resolution, most=2048)

    @property
    def needs_plane(self) -> bool:
        return False

    @property
    def looks(self) -> bool:
        return True

    def over(self, ends: Ends | None) -> Kappa:
        return self if ends is None else Painted(self, ends)

    def texture(self, index: int, channels: int, draws: Draws, once: dict[Hashable, Any]) -> Float[Tensor, "batch c texels"]:
        """z of this step, on the host: of the last one that is kept in `once`, or of step 0, carried on."""
        shape = (channels, 6 * self.resolution**2)
        owner, at, z = once.get((self, shape), (None, 0, None))
        if owner is not draws or at > index:
            at, z = 0, draws.normal(Purpose.TEXTURE, 0, shape).cpu()
        while at < index and self.gamma:
            at += 1
            z = (1 - self.gamma) ** 0.5 * z + self.gamma**0.5 * draws.normal(Purpose.TEXTURE, at, shape).cpu()
        once[self, shape] = draws, at, z
        return z


@dataclass(frozen=True)
class Painted(Kappa):
    """The noise of a surface for the view of one step. ends: where the rays end, and how much light they lose."""

    noise: Surface
    ends: Ends

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        kappa = self.noise.propose(x0, step, last, net, draws).kappa.clone()
        z = self.noise.texture(step.index, x0.shape[1], draws, net.once)
        ends = [each.to("cpu", torch.float64) for each in self.ends()]
        height, width = x0.shape[2:]
        for row, paint, points, opacity in zip(kappa, z, *ends, strict=True):
            pixel = pixels_of(points, opacity, height, width, self.noise.resolution)
            seen = (pixel >= 0).nonzero()[:, 0]
            n = pixel[seen].bincount(minlength=height * width)
            total = paint.new_zeros(len(paint), height * width).index_add_(1, pixel[seen], paint[:, seen])
            covered = (n > 0).nonzero()[:, 0]
            row.flatten(1)[:, covered.to(row.device)] = (total / n.to(total).sqrt())[:, covered].to(row)
        return Proposal(kappa)


def cross(a: Float[Tensor, "*n 3"], b: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """a x b, and to the bit -(b x a), as a fused kernel's is not: a texel on an edge is in one of its triangles, or in both."""
    return a.roll(-1, -1) * b.roll(-2, -1) - a.roll(-2, -1) * b.roll(-1, -1)


def corners(
    points: Float[Tensor, "3 h w"], opacity: Float[Tensor, "h w"], height: int, width: int
) -> tuple[Float[Tensor, "rows columns 3"], Float[Tensor, "rows columns"]]:
    """Surface points where the pixels of a height x width picture meet, one row and one column more, and the opacity there:
    means over the rays around, of the points over those that end on the object.
    """
    strides = (points.shape[1] // height, points.shape[2] // width)
    sides = [(stride + 1) // 2 * 2 for stride in strides]

    def mean(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, sides, strides, [side // 2 for side in sides])

    solid = (opacity > SOLID).to(points)
    return (mean(points * solid) / mean(solid[None])).movedim(0, -1), mean(opacity[None])[0]


def pixels_of(
    points: Float[Tensor, "3 h w"], opacity: Float[Tensor, "h w"], height: int, width: int, resolution: int
) -> Int[Tensor, " texels"]:
    """The pixel, counted by rows, of a height x width picture in which each texel is seen; -1: in none.

    A texel is in a pixel if its direction goes through one of the pixel's two triangles: with vertices V, if det(d, V1, V2),
    det(d, V2, V0) and det(d, V0, V1) have the sign of det(V0, V1, V2), and it meets it at det(V0, V1, V2) over their sum.
    """
    at, opaque = corners(points, opacity, height, width)
    grid = torch.arange((height + 1) * (width + 1)).reshape(height + 1, width + 1)
    a, b, c, d = (part.flatten() for part in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]))
    triangles = torch.cat([torch.stack([a, b, c], 1), torch.stack([b, d, c], 1)])
    pixel = torch.arange(height * width).repeat(2)
    whole = (opaque.flatten() > SOLID)[triangles].all(1)
    vertices, pixel = at.flatten(0, 1)[triangles[whole]], pixel[whole]

    # every triangle that may meet a side of the cube: (u, v) of its vertices there, and the texels of the box around them
    turned = torch.cat([vertices.roll(-axis, 2) * sign for axis in range(3) for sign in (1.0, -1.0)])
    depth, rest = turned[..., :1], turned[..., 1:]
    beside = ((rest > depth).all(1) | (rest < -depth).all(1)).any(1)
    ahead = (depth > 0).all(1)  # else one may reach round the corner: anywhere on this side
    flat = rest / depth
    low, high = torch.where(ahead, flat.amin(1), -1.0), torch.where(ahead, flat.amax(1), 1.0)
    first = ((low.clamp(-1, 1) + 1) * resolution / 2 - 0.5).ceil().long()
    last = ((high.clamp(-1, 1) + 1) * resolution / 2 - 0.5).floor().long()
    extent = (last - first + 1).clamp(min=0) * ~beside[:, None]
    n = extent.prod(1)

    which = torch.repeat_interleave(n)
    offset = torch.arange(len(which)) - (n.cumsum(0) - n)[which]
    across, up = (first[which] + torch.stack([offset % extent[which, 0], offset // extent[which, 0]], 1)).unbind(1)
    u, v = ((2 * place + 1) / resolution - 1 for place in (across, up))
    faces = [cross(turned[:, i], turned[:, j])[which] for i, j in ((1, 2), (2, 0), (0, 1))]
    sides = torch.stack([face[:, 0] + u * face[:, 1] + v * face[:, 2] for face in faces])
    volume = (turned[:, 0] * cross(turned[:, 1], turned[:, 2])).sum(1)[which]
    inside = ((sides * volume.sign() >= 0).all(0) & (volume != 0)).nonzero()[:, 0]

    far = (volume / sides.sum(0))[inside].abs()  # one direction a texel: in units of its length
    texel = ((which // len(vertices) * resolution + up) * resolution + across)[inside]
    pixel = pixel[which[inside] % len(vertices)]
    n_texels = 6 * resolution**2
    outermost = far >= torch.zeros(n_texels, dtype=far.dtype).scatter_reduce(0, texel, far, "amax")[texel]
    nowhere = height * width
    owner = torch.full((n_texels,), nowhere).scatter_reduce(0, texel[outermost], pixel[outermost], "amin")
    return torch.where(owner < nowhere, owner, -1)
