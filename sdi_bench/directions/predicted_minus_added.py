"""eps - kappa: SDS, SDI, DDIM."""

from dataclasses import dataclass

from .base import At, Direction, Image


@dataclass(frozen=True)
class PredictedMinusAdded(Direction):
    """eps - kappa (arXiv 2405.15891, eq. 10)."""

    def __call__(self, at: At) -> Image:
        return at.guided.eps - at.proposal.kappa
