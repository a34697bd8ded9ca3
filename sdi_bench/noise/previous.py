"""kappa = the previous prediction: DDIM."""

from dataclasses import dataclass

from ..draws import Draws
from ..levels import Step
from ..predictor import Predictor
from .base import Image, Kappa, Last, Proposal


@dataclass(frozen=True)
class Previous(Kappa):
    """The guided prediction of the step before. With full steps this is DDIM (arXiv 2405.15891, sec. 4, fig. 1c)."""

    @property
    def needs_path(self) -> bool:
        return True

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        return Proposal(last.eps)
