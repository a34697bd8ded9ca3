"""kappa = the noise that the flow couples with x0, found once at the top and added at every level: UCM."""

from dataclasses import dataclass
from itertools import pairwise

import torch

from .. import require
from ..coordinates import eps_from_x0, noisy
from ..draws import Draws
from ..levels import Step
from ..predictor import Predictor, Use
from .base import Image, Kappa, Last, Proposal


@dataclass(frozen=True)
class Coupled(Kappa):
    """x0 is pushed up the ODE to the noisiest level; what arrives is the noise of every step (FlowDreamer's unique couple
    matching, arXiv 2408.05008):

        x(0) = a·x0,   x(k+1) = a'·x0_hat + b'·eps(x(k)),   kappa = (x(T) - a_T·x0) / b_T

    For a flow that is Euler's rule for its velocity, and kappa = x(1). At the top it is Inversion with as many steps; below,
    Inversion stops at the step's level. n_steps >= 1, uniform in t from the lowest level. guidance_scale: gamma of the way up,
    whatever guidance.convention is; the
    prompt without guidance unless it is given (ours). Raises ValueError, naming the field, for values out of range.
    """

    n_steps: int = 10
    guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        require.count("noise.n_steps", self.n_steps)
        require.number("noise.guidance_scale", self.guidance_scale)

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        low, high = float(net.schedule.lowest.t), float(net.schedule.highest.t)
        times = torch.linspace(low, high, self.n_steps + 1, dtype=torch.float64)
        levels = net.levels(times.split(1))
        x = noisy(x0, torch.zeros_like(x0), levels[0])
        for src, dst in pairwise(levels):
            found = net(x, src, scale=self.guidance_scale, use=Use.INVERSION)
            x = noisy(found.x0, found.eps, dst)
        return Proposal(eps_from_x0(x, x0, levels[-1]))
