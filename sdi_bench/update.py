"""Updates: how parameters move to the target of eq. 10, and the weights w(t) of the gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from . import require
from .levels import Level, expand
from .scenes import Scene, Seen


@runtime_checkable
class Weight(Protocol):
    """w(t) of the gradient w·(eps - kappa)."""

    def __call__(self, level: Level) -> Float[Tensor, " rows"]:
        """w >= 0 per row."""


@dataclass(frozen=True)
class SigmaWeight:
    """w = sigma: the gradient is x0 - target (arXiv 2405.15891, eq. 4)."""

    def __call__(self, level: Level) -> Float[Tensor, " rows"]:
        return level.sigma


@dataclass(frozen=True)
class OneMinusAlphaBar:
    """w = 1 - alpha_bar (DreamFusion, arXiv 2209.14988; threestudio's "sds" strategy)."""

    def __call__(self, level: Level) -> Float[Tensor, " rows"]:
        return 1 - level.alpha_bar


@dataclass(frozen=True)
class Fantasia3dWeight:
    """w = sqrt(alpha_bar)·(1 - alpha_bar) (Fantasia3D, arXiv 2303.13873; threestudio's "fantasia3d" strategy)."""

    def __call__(self, level: Level) -> Float[Tensor, " rows"]:
        return level.alpha_bar.sqrt() * (1 - level.alpha_bar)


@dataclass(frozen=True)
class UnitWeight:
    """w = 1."""

    def __call__(self, level: Level) -> Float[Tensor, " rows"]:
        return torch.ones_like(level.sigma)


See = Callable[[Tensor], Seen]


class Moments(NamedTuple):
    """Adam's memory: steps taken, first and second moment."""

    n: int
    first: Tensor
    second: Tensor


@runtime_checkable
class Update(Protocol):
    """Parameters and memory in, parameters and memory out; nothing is remembered elsewhere."""

    def init(self, params: Tensor) -> Moments | None:
        """The memory before the first step."""

    def check(self, scene: Scene) -> None:
        """Raise ValueError if this scene's parameters cannot be moved like that."""

    def apply(
        self, params: Tensor, memory: Moments | None, seen: Seen, see: See, target: Tensor, level: Level
    ) -> tuple[Tensor, Moments | None]:
        """Move towards `target`, the one-step denoised image of eq. 10, found at `level`.

        seen: what the parameters look like from the view of this step; see: what others would.
        """


def gradient(seen: Seen, target: Tensor, level: Level, weight: Weight, image: float = 0.0, mean: bool = False) -> Tensor:
    """w·(eps - kappa)·dg/dpsi = (w / sigma)·(x0 - target)·dg/dpsi (arXiv 2405.15891, eq. 4).

    image: the share of the same loss on pictures, (w / sigma)/2·|decoded x0 - decoded target|² (HiFA, arXiv 2305.18766); where
    the picture is x0, it is the loss itself once more. mean: all divided by how many numbers x0 has.
    """
    gap = seen.x0 - target
    size = weight(level) / level.sigma
    share = expand(size / gap[0].numel() if mean else size, gap)
    if not image:
        return seen.pull(share * gap)
    of_image = seen.pull_image(target, image * share)
    if of_image is None:
        return seen.pull((1 + image) * share * gap)
    return of_image + seen.pull(share * gap)


@dataclass(frozen=True)
class FullStep:
    """The image becomes the target: one gradient step of size 1 with w = sigma. Only where the image is the parameter."""

    def init(self, params: Tensor) -> None:
        return None

    def check(self, scene: Scene) -> None:
        if not scene.is_x0:
            raise ValueError(
                f"update=full: {type(scene).__name__} cannot be set to a picture, only moved towards it; use update=adam"
            )

    def apply(
        self, params: Tensor, memory: Moments | None, seen: Seen, see: See, target: Tensor, level: Level
    ) -> tuple[Tensor, Moments | None]:
        return target, memory


@dataclass(frozen=True)
class GradientStep:
    """One step of plain gradient descent. size > 0; w as given; image_share >= 0: see `gradient`. Raises ValueError if not."""

    size: float = 1.0
    weight: Weight = SigmaWeight()
    image_share: float = 0.0

    def __post_init__(self) -> None:
        require.number("update.size", self.size, above=0)
        require.number("update.image_share", self.image_share, at_least=0)

    def init(self, params: Tensor) -> None:
        return None

    def check(self, scene: Scene) -> None:
        """Any scene has a gradient."""

    def apply(
        self, params: Tensor, memory: Moments | None, seen: Seen, see: See, target: Tensor, level: Level
    ) -> tuple[Tensor, Moments | None]:
        return params - self.size * gradient(seen, target, level, self.weight, self.image_share), memory


@dataclass(frozen=True)
class Adam:
    """n_inner steps of Adam (arXiv 1412.6980, algorithm 1) towards one target before the next is sought.

    n_inner = 25, lr = 0.1, w = sigma are those of the authors' 2D notebook, whose 41 targets get 1,001 steps: one to the last.
    n levels of a grid make n - 1 targets and (n - 1)·n_inner steps. n_inner = 1 refreshes at every step.
    n_steps: at most so many in all, or null: 1001 leaves one to the last of the notebook's targets (ottogin/
    score-distillation-via-inversion, 2dplayground_SDI_version.ipynb).
    mean: of the loss the mean over the numbers of x0, not the sum, as the released loss is (sdi_guidance.py, __call__): to Adam
    it matters beside eps and a scene's penalties only.
    lr > 0; betas in [0, 1); eps > 0; image_share >= 0, see `gradient`. Raises ValueError, naming the field, otherwise.
    """

    lr: float = 0.1
    n_inner: int = 25
    weight: Weight = SigmaWeight()
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    image_share: float = 0.0
    n_steps: int | None = None
    mean: bool = False

    def __post_init__(self) -> None:
        require.count("update.n_inner", self.n_inner)
        require.number("update.lr", self.lr, above=0)
        require.number("update.beta1", self.beta1, at_least=0, below=1)
        require.number("update.beta2", self.beta2, at_least=0, below=1)
        require.number("update.eps", self.eps, above=0)
        require.number("update.image_share", self.image_share, at_least=0)
        if self.n_steps is not None:
            require.count("update.n_steps", self.n_steps)

    def init(self, params: Tensor) -> Moments:
        return Moments(0, torch.zeros_like(params), torch.zeros_like(params))

    def check(self, scene: Scene) -> None:
        """Any scene has a gradient."""

    def apply(
        self, params: Tensor, memory: Moments | None, seen: Seen, see: See, target: Tensor, level: Level
    ) -> tuple[Tensor, Moments | None]:
        moments = memory or self.init(params)
        for k in range(self.n_inner if self.n_steps is None else min(self.n_inner, self.n_steps - moments.n)):
            slope = gradient(seen if k == 0 else see(params), target, level, self.weight, self.image_share, self.mean)
            params, moments = self.move(params, moments, slope)
        return params, moments

    def move(self, params: Tensor, moments: Moments, slope: Tensor) -> tuple[Tensor, Moments]:
        """One step against a gradient."""
        n = moments.n + 1
        first = self.beta1 * moments.first + (1 - self.beta1) * slope
        second = self.beta2 * moments.second + (1 - self.beta2) * slope.square()
        scale = (second / (1 - self.beta2**n)).sqrt() + self.eps
        return params - self.lr * first / (1 - self.beta1**n) / scale, Moments(n, first, second)
