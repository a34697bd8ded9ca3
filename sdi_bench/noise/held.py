"""kappa found in some steps and kept in those between: an inversion for fewer network rows."""

from dataclasses import dataclass

from .. import require
from ..draws import Draws
from ..guidance import Guidance
from ..levels import Level, Step
from ..models.base import Denoiser
from ..predictor import Predictor
from .base import Image, Kappa, Last, Proposal
from .inversion import Inversion


@dataclass(frozen=True)
class Held(Kappa):
    """The kappa of `noise`, found in the first step and every `every`-th after it, and the same in the steps between.

    Between two of them x0 moves and the level falls, and the noise found for the earlier x0 stays: an inversion costs
    1 / every of what it costs in each step. Ours; the released code of SDI holds a target in this way, for 25 steps of Adam.
    A held kappa belongs to an image that is still there: not to a scene that is seen from elsewhere in the next step.
    noise: any that leaves no prediction of its own to a direction (Interval subtracts one). every >= 1; 1 is `noise` itself.
    Raises ValueError, naming the field, otherwise.
    """

    noise: Kappa = Inversion()
    every: int = 5

    def __post_init__(self) -> None:
        require.count("noise.every", self.every)

    @property
    def needs_path(self) -> bool:
        return self.every > 1 or self.noise.needs_path

    def check(self, model: Denoiser, guidance: Guidance, noisiest: Level) -> None:
        self.noise.check(model, guidance, noisiest)

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        if last.kappa is None or (step.index - 1) % self.every == 0:
            return self.noise.propose(x0, step, last, net, draws)
        return Proposal(last.kappa)
