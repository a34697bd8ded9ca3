"""kappa by fixed-point iteration on eq. 8: kappa = eps(a·x0 + b·kappa)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import require
from ..coordinates import noisy
from ..draws import Draws
from ..guidance import Guidance
from ..levels import Level, Step
from ..models.base import Denoiser
from ..predictor import Predictor, Use
from .base import Image, Kappa, Last, Proposal
from .fresh import Fresh


@dataclass(frozen=True)
class FixedPoint(Kappa):
    """n_steps of kappa <- kappa + damping·(eps(a·x0 + b·kappa) - kappa) at the source level (arXiv 2405.15891, eq. 8, fig. 9).

    init: the kappa to start from (Previous starts at the root and stays there: DDIM).
    n_steps >= 1. damping in (0, 1]: 1 is Picard's iteration, which diverges where eps is steep.
    memory >= 0: Anderson acceleration over that many earlier differences (Walker and Ni, 2011, type II); 0 is off.
    guidance_scale: gamma of the equation (arXiv 2405.15891, eq. 3), whatever guidance.convention is; null is the sampler's own.
    Raises ValueError, naming the field, for values out of range.
    """

    init: Kappa = Fresh()
    n_steps: int = 10
    damping: float = 1.0
    memory: int = 0
    guidance_scale: float | None = None

    def __post_init__(self) -> None:
        require.count("noise.n_steps", self.n_steps)
        require.count("noise.memory", self.memory, least=0)
        require.number("noise.damping", self.damping, above=0, at_most=1)
        if self.guidance_scale is not None:
            require.number("noise.guidance_scale", self.guidance_scale)

    @property
    def needs_path(self) -> bool:
        return self.init.needs_path

    def check(self, model: Denoiser, guidance: Guidance, noisiest: Level) -> None:
        self.init.check(model, guidance, noisiest)

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        kappa = self.init.propose(x0, step, last, net, draws).kappa
        kappas: list[Tensor] = []
        gaps: list[Tensor] = []
        for _ in range(self.n_steps):
            eps = net(noisy(x0, kappa, step.src), step.src, scale=self.guidance_scale, use=Use.INVERSION).eps
            kappas, gaps = [*kappas, kappa][-self.memory - 1 :], [*gaps, eps - kappa][-self.memory - 1 :]
            kappa = _anderson(kappas, gaps, self.damping)
        return Proposal(kappa)


def _anderson(kappas: list[Tensor], gaps: list[Tensor], damping: float) -> Tensor:
    """The next iterate from the last ones; with a single one, the damped Picard step."""
    plain = kappas[-1] + damping * gaps[-1]
    if len(gaps) == 1:
        return plain
    d_gaps = torch.stack([(new - old).flatten(1) for old, new in zip(gaps, gaps[1:], strict=False)], dim=2)
    d_kappas = torch.stack([(new - old).flatten(1) for old, new in zip(kappas, kappas[1:], strict=False)], dim=2)
    weights = torch.linalg.pinv(d_gaps, rtol=1e-13) @ gaps[-1].flatten(1)[:, :, None]
    return plain - ((d_kappas + damping * d_gaps) @ weights).reshape(plain.shape)
