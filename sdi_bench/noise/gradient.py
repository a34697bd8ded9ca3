"""kappa by gradient descent on the residual of eq. 8."""

from dataclasses import dataclass

import torch

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
class Gradient(Kappa):
    """n_steps of gradient descent on |eps(a·x0 + b·kappa) - kappa|² / 2 at the source level (arXiv 2405.15891, eq. 8, fig. 9).

    The gradient goes through the network. init: the kappa to start from. n_steps >= 1. lr > 0: the step size.
    guidance_scale: gamma of the equation, whatever guidance.convention is; null is the sampler's own. A backward
    pass is booked as one `other` row per condition.
    Raises ValueError, naming the field, for values out of range.
    """

    init: Kappa = Fresh()
    n_steps: int = 10
    lr: float = 0.5
    guidance_scale: float | None = None

    def __post_init__(self) -> None:
        require.count("noise.n_steps", self.n_steps)
        require.number("noise.lr", self.lr, above=0)
        if self.guidance_scale is not None:
            require.number("noise.guidance_scale", self.guidance_scale)

    @property
    def needs_path(self) -> bool:
        return self.init.needs_path

    def check(self, model: Denoiser, guidance: Guidance, noisiest: Level) -> None:
        self.init.check(model, guidance, noisiest)

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        kappa = self.init.propose(x0, step, last, net, draws).kappa
        for _ in range(self.n_steps):
            with torch.enable_grad():
                kappa = kappa.detach().requires_grad_()
                guided = net(noisy(x0, kappa, step.src), step.src, scale=self.guidance_scale, use=Use.INVERSION)
                loss = (guided.eps - kappa).square().sum() / 2
                (slope,) = torch.autograd.grad(loss, kappa)
            net.cost.add(Use.OTHER, len(x0) * len(guided.raw.eps))
            kappa = kappa.detach() - self.lr * slope
        return Proposal(kappa)
