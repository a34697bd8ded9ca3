"""kappa drawn anew at every step: SDS."""

from dataclasses import dataclass

from .. import require
from ..draws import Draws, Purpose
from ..levels import Step
from ..predictor import Predictor
from .base import Image, Kappa, Last, Proposal


@dataclass(frozen=True)
class Fresh(Kappa):
    """kappa ~ N(0, I) at each step: score distillation sampling (arXiv 2209.14988; 2405.15891, sec. 4).

    n_avg >= 1: the mean of that many draws, so its variance is 1 / n_avg. Raises ValueError otherwise.
    """

    n_avg: int = 1

    def __post_init__(self) -> None:
        require.count("noise.n_avg", self.n_avg)

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        noise = draws.normal(Purpose.KAPPA, step.index, (self.n_avg, *x0.shape[1:]))
        return Proposal(noise.mean(1) if self.n_avg > 1 else noise.squeeze(1))
