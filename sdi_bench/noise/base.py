"""kappa: which noise is added to x0 before the network is asked. SDS, SDI and DDIM differ here and nowhere else."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..draws import Draws, Purpose
from ..guidance import Guidance
from ..levels import Level, Step
from ..models.base import Denoiser
from ..predictor import Predictor

Image = Float[Tensor, "batch *shape"]

Ends = Callable[[], tuple[Float[Tensor, "batch 3 h w"], Float[Tensor, "batch h w"]]]
"""Where the rays of a view end on an object, in the world, and how much of their light they lose there, in [0, 1]."""


class Proposal(NamedTuple):
    """kappa, and, where it was found by a walk, the last prediction on the way (ISM and DSD's code subtract that one)."""

    kappa: Tensor
    eps_s: Tensor | None = None


class Last(NamedTuple):
    """What a step leaves to the next, [batch, *shape] each: the guided eps of its network call; its kappa, if it has one.

    seen: [batch], on the host, of a scene for which `Noises` are kept: the last step that saw each row from where this one does
    (0: none did), and kappa is of that one. cameras: of such a scene.
    """

    eps: Tensor
    kappa: Tensor | None = None
    seen: Int[Tensor, " batch"] | None = None
    cameras: int = 1


class Noises(NamedTuple):
    """What is kept of every camera of a scene: the last kappa seen from there, and the step that looked from there (0: none).

    Never changed in place. seen is on the host, and so is camera, the number of a row's own: 0 ... cameras - 1.
    """

    kappa: Float[Tensor, "cameras batch *shape"]
    seen: Int[Tensor, "cameras batch"]

    @staticmethod
    def none(cameras: int, like: Image) -> "Noises":
        """Nothing yet, of images like these."""
        return Noises(like.new_zeros(cameras, *like.shape), torch.zeros(cameras, len(like), dtype=torch.int64))

    def last(self, camera: Int[Tensor, " batch"], eps: Image) -> Last:
        """What a step that sees each row from its camera knows; eps: of the step before."""
        at = self.at(camera)
        return Last(eps, self.kappa.flatten(0, 1)[at.to(eps.device)], self.seen.flatten()[at], len(self.kappa))

    def after(self, camera: Int[Tensor, " batch"], kappa: Image, index: int) -> "Noises":
        """The same after step `index`, with this kappa."""
        at = self.at(camera)
        flat = self.kappa.flatten(0, 1).index_copy(0, at.to(kappa.device), kappa)
        seen = self.seen.flatten().index_fill(0, at, index)
        return Noises(flat.view_as(self.kappa), seen.view_as(self.seen))

    def at(self, camera: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Where each row of its camera is, of cameras and rows in one line."""
        return camera * len(camera) + torch.arange(len(camera))


class Kappa(ABC):
    """A choice of noise. Stateless: what it knows of the past is `last`; what it draws is keyed by the step."""

    @property
    def needs_path(self) -> bool:
        """True where the same x0 is carried from step to step; a 3D scene cannot offer that (arXiv 2405.15891, sec. 4)."""
        return False

    @property
    def needs_plane(self) -> bool:
        """True of a noise meant to stay where the picture stays: an object's is to lie on it (arXiv 2501.05445, sec. 3)."""
        return False

    @property
    def holds(self) -> bool:
        """True where a noise found in one step is added in later ones that show the same: a scene's cameras have to recur."""
        return any(part.holds for part in vars(self).values() if isinstance(part, Kappa))

    @property
    def looks(self) -> bool:
        """True where what a step sees of an object has a say in it (`over`)."""
        return any(part.looks for part in vars(self).values() if isinstance(part, Kappa))

    def over(self, ends: Ends | None) -> "Kappa":
        """This kappa for what a step sees of an object; None: of a picture. Itself, unless it, or one in it, looks there."""
        if ends is None:
            return self
        inner = {name: part.over(ends) for name, part in vars(self).items() if isinstance(part, Kappa)}
        return cast(Kappa, replace(cast(Any, self), **inner)) if inner else self

    def check(self, model: Denoiser, guidance: Guidance, noisiest: Level) -> None:
        """Raise ValueError if this kappa cannot be had from this model, under this guidance, on a path from `noisiest` down."""

    @abstractmethod
    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        """The noise to add to x0 [batch, *shape] in this step.

        last: what the step before left, at level step.src.
        """


def finite_source(noise: str, noisiest: Level) -> None:
    """Raise ValueError if kappa would be sought at sigma = infinity."""
    if not bool((noisiest.a > 0).all()):
        raise ValueError(f"noise={noise}: would be sought at sigma = infinity on this grid; set grid.t_max below 1")


def time_sought(tau: float | None, step: Step, net: Predictor, draws: Draws) -> Float[Tensor, " rows"]:
    """Where a noise is sought, on the host: dst + U(0, tau) in t, below sigma = infinity; at src where tau is null."""
    if tau is None:
        return step.src.host.t
    if tau == 0:
        return step.dst.host.t
    return (step.dst.host.t + tau * draws.uniform(Purpose.TAU, step.index)).clamp(max=net.last_finite)
