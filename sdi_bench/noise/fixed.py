"""kappa drawn once per item and kept."""

from dataclasses import dataclass

from ..draws import Draws, Purpose
from ..levels import Step
from ..predictor import Predictor
from .base import Image, Kappa, Last, Proposal


@dataclass(frozen=True)
class Fixed(Kappa):
    """One draw per item, the same at every step, independent of x_T (arXiv 2405.15891, fig. 9)."""

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        return Proposal(draws.normal(Purpose.KAPPA, 0, tuple(x0.shape[1:])))
