"""Directions: which way x0 moves in a step. The second seam, after kappa: score distillation's relatives differ here."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from ..draws import Draws
from ..guidance import Guidance, Prompt
from ..levels import Step
from ..models.base import Denoiser
from ..noise.base import Kappa, Proposal
from ..predictor import Guided, Predictor, Use
from ..schedules import Schedule

Image = Float[Tensor, "batch *shape"]


class At(NamedTuple):
    """Where a step stands when its direction is asked for.

    x0: what is seen, x: the same with `proposal.kappa` added at step.dst, guided: the prediction there. net: what a direction
    asks besides, with the prompts of this step; draws: what it draws.
    """

    x0: Image
    x: Image
    step: Step
    proposal: Proposal
    guided: Guided
    net: Predictor
    draws: Draws


class Direction(ABC):
    """A choice of direction. Stateless: what it draws is keyed by the step."""

    def check(self, model: Denoiser, schedule: Schedule, guidance: Guidance, noise: Kappa) -> None:
        """Raise ValueError if this direction cannot be had from this model on this schedule, with this guidance and kappa."""

    def asked(self, prompt: Prompt) -> tuple[Prompt, ...]:
        """All that it asks the model besides, for an item of this prompt."""
        return ()

    @abstractmethod
    def __call__(self, at: At) -> Image:
        """The direction [batch, *shape], in units of noise: x0 moves against it, times sigma."""


def eps_of(at: At, prompts: Sequence[Prompt]) -> Image:
    """eps(x) under these prompts, one for each row: what guidance has asked for is at hand, another is asked, as `other`."""
    wanted, conds = tuple(prompts), at.net.guidance.conds(at.net.prompts)
    if wanted in conds:
        return at.guided.raw.eps[conds.index(wanted)]
    return replace(at.net, prompts=wanted, guidance=Guidance())(at.x, at.step.dst, use=Use.OTHER).raw.eps[0]


def eps_null(at: At) -> Image:
    """eps(x) without a prompt."""
    return eps_of(at, [None] * len(at.net.prompts))
