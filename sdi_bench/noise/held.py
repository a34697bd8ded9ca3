"""kappa found in some steps and kept in those between: an inversion for fewer network rows."""

from dataclasses import dataclass

import torch

from .. import require
from ..draws import Draws, SomeRows
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
    A held kappa belongs to an image that is still there. An object's is kept for each of its cameras, and for as many steps for
    each of them: of eight cameras and `every` of 5, it is found anew where an item is first seen from there in each 40 steps.
    These begin together for all, so that a network is asked for many rows of a batch at once, and only for those whose kappa is
    due. Cameras that do not recur are refused.
    noise: any that leaves no prediction of its own to a direction (Interval subtracts one). every >= 1; 1 is `noise` itself.
    Raises ValueError, naming the field, otherwise.
    """

    noise: Kappa = Inversion()
    every: int = 5

    def __post_init__(self) -> None:
        require.count("noise.every", self.every)

    @property
    def needs_path(self) -> bool:
        return self.noise.needs_path

    @property
    def holds(self) -> bool:
        return self.every > 1 or self.noise.holds

    def check(self, model: Denoiser, guidance: Guidance, noisiest: Level) -> None:
        self.noise.check(model, guidance, noisiest)

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        due = self.due(len(x0), step, last)
        if last.kappa is None or len(due) == len(x0):
            return self.noise.propose(x0, step, last, net, draws)
        if not due:
            return Proposal(last.kappa)
        rows = torch.tensor(due)
        here = rows.to(x0.device)

        def of(level: Level) -> Level:
            return level if len(level.t) == 1 else net.placed([level.host.rows(rows)])[0]

        known = Last(last.eps[here], last.kappa[here], None if last.seen is None else last.seen[rows], last.cameras)
        some = Step(of(step.src), of(step.dst), step.index)
        found = self.noise.propose(x0[here], some, known, net.rows(due), SomeRows(draws, rows))
        return Proposal(last.kappa.index_copy(0, here, found.kappa))

    def due(self, n: int, step: Step, last: Last) -> list[int]:
        """The rows, of n, for which kappa is to be found anew."""
        seen = [step.index - 1] * n if last.seen is None else last.seen.tolist()
        steps = self.every * last.cameras if self.every > 1 else 1
        return [row for row, before in enumerate(seen) if not before or (step.index - 1) // steps > (before - 1) // steps]
