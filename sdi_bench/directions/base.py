"""Directions: which way x0 moves in a step. The second seam, after kappa: score distillation's relatives differ here."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from ..coordinates import noisy
from ..draws import Draws
from ..guidance import Guidance, Prompt
from ..levels import Step
from ..models.base import Denoiser
from ..noise.base import Kappa, Proposal
from ..predictor import Guided, Predictor, Use

Image = Float[Tensor, "batch *shape"]


class Edited(NamedTuple):
    """What an edit starts from, and is held against: x0 [batch, *shape], and the prompt that says what it shows."""

    x0: Image
    prompt: Prompt


class At(NamedTuple):
    """Where a step stands when its direction is asked for.

    x0: what is seen, x: the same with `proposal.kappa` added at step.dst, guided: the prediction there. net: what a direction
    asks besides, with the prompts of this step; draws: what it draws. source: of an edit, what is edited.
    """

    x0: Image
    x: Image
    step: Step
    proposal: Proposal
    guided: Guided
    net: Predictor
    draws: Draws
    source: Edited | None = None


class Direction(ABC):
    """A choice of direction. Stateless: what it draws is keyed by the step."""

    @property
    def needs_source(self) -> bool:
        """True where it is an edit: there must be a source."""
        return False

    def check(self, model: Denoiser, guidance: Guidance, noise: Kappa) -> None:
        """Raise ValueError if this direction cannot be had from this model, with this guidance and this kappa."""

    @abstractmethod
    def __call__(self, at: At) -> Image:
        """The direction [batch, *shape], in units of noise: x0 moves against it, times sigma."""


def of_source(at: At) -> Image:
    """The guided eps of the source, under its own prompt and the same noise as x0; its rows are booked as others."""
    assert at.source is not None  # Distillation.check() has said so
    x = noisy(at.source.x0, at.proposal.kappa, at.step.dst)
    net = replace(at.net, prompts=(at.source.prompt,) * len(x))
    return net(x, at.step.dst, use=Use.OTHER).eps
