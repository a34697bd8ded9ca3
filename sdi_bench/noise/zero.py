"""No noise at all: the lower end of every comparison."""

from dataclasses import dataclass

from ..draws import Draws
from ..levels import Step
from ..predictor import Predictor
from .base import Image, Kappa, Last, Proposal


@dataclass(frozen=True)
class Zero(Kappa):
    """kappa = 0: the clean image is shown to the network as if it were noisy."""

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        return Proposal(0 * x0)
