"""kappa drawn once per item and slowly replaced: CFD."""

from dataclasses import dataclass

from .. import require
from ..draws import Draws, Purpose
from ..levels import Step
from ..predictor import Predictor
from .base import Image, Kappa, Last, Proposal


@dataclass(frozen=True)
class Consistent(Kappa):
    """The noise of the clean flow (CFD, arXiv 2501.05445): N(0, I) at every step, a share gamma of it new since the last,

        kappa(0) = z(0),   kappa(i) = sqrt(1 - gamma)·kappa(i - 1) + sqrt(gamma)·z(i),   z ~ N(0, I) for each item

    gamma = 0 is the flow's ODE: one draw per item (Fixed). gamma = 1 is SDS. It is a picture's; an object has Surface. Step i
    makes i draws, as nothing is kept.
    gamma in [0, 1]. Raises ValueError otherwise.
    """

    gamma: float = 0.0

    def __post_init__(self) -> None:
        require.number("noise.gamma", self.gamma, at_least=0, at_most=1)

    @property
    def needs_plane(self) -> bool:
        return True

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        kappa = draws.normal(Purpose.KAPPA, 0, tuple(x0.shape[1:]))
        for index in range(1, step.index + 1 if self.gamma else 1):
            z = draws.normal(Purpose.KAPPA, index, tuple(x0.shape[1:]))
            kappa = (1 - self.gamma) ** 0.5 * kappa + self.gamma**0.5 * z
        return Proposal(kappa)
