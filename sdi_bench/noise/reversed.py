"""kappa = a fresh draw after one step against the flow's own loss: RFDS-Rev."""

from dataclasses import dataclass

from .. import require
from ..coordinates import noisy
from ..draws import Draws
from ..levels import Step
from ..predictor import Predictor, Use
from .base import Image, Kappa, Last, Proposal
from .fresh import Fresh


@dataclass(frozen=True)
class Reversed(Kappa):
    """The noise reversed before it is used (RFDS-Rev, arXiv 2406.03293, algorithm 3: a step of iRFDS, then RFDS), at one level:

        kappa <- kappa + (1 - t)·(v(x_t) - (kappa - x0)),   x_t = (1 - t)·x0 + t·kappa,   kappa ~ N(0, I)

    v - (kappa - x0) = (eps - kappa) / (1 - t), so with the code's step size 1 - t what comes out is the prediction itself:
    one step of FixedPoint, at the level where the network is asked. So it is no matter of flows alone.
    guidance_scale: gamma of v, whatever guidance.convention is; the code asks under the prompt without guidance, 1.
    """

    guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        require.number("noise.guidance_scale", self.guidance_scale)

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        kappa = Fresh().propose(x0, step, last, net, draws).kappa
        found = net(noisy(x0, kappa, step.dst), step.dst, scale=self.guidance_scale, use=Use.INVERSION)
        return Proposal(found.eps)
