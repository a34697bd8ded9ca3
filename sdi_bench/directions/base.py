"""Directions: which way x0 moves in a step. The second seam, after kappa: score distillation's relatives differ here."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor

from ..coordinates import noisy
from ..draws import Draws
from ..guidance import Guidance, Prompt
from ..levels import Level, Step
from ..models.base import Denoiser
from ..noise.base import Kappa, Proposal
from ..predictor import Guided, Predictor, Use
from ..schedules import Schedule
from ..students import Learnt

Image = Float[Tensor, "batch *shape"]


class Edited(NamedTuple):
    """What an edit starts from, and is held against: x0 [batch, *shape], and the prompt that says what it shows."""

    x0: Image
    prompt: Prompt


class At(NamedTuple):
    """Where a step stands when its direction is asked for.

    x0: what is seen, x: the same with `proposal.kappa` added at step.dst, guided: the prediction there. net: what a direction
    asks besides, with the prompts of this step; draws: what it draws. learnt: what it has learnt in the steps before.
    source: of an edit, what is edited.
    """

    x0: Image
    x: Image
    step: Step
    proposal: Proposal
    guided: Guided
    net: Predictor
    draws: Draws
    learnt: Learnt | None = None
    source: Edited | None = None


class Direction(ABC):
    """A choice of direction. Stateless: what it draws is keyed by the step, what it learns is handed in and out."""

    needs_views: ClassVar[bool] = False
    """Does it need a scene with views that the prompt tells?"""

    @property
    def needs_linear(self) -> bool:
        """Does it need steps that are linear in x0?"""
        return False

    @property
    def needs_source(self) -> bool:
        """True where it is an edit: there must be a source."""
        return False

    def check(self, model: Denoiser, schedule: Schedule, guidance: Guidance, noise: Kappa) -> None:
        """Raise ValueError if this direction cannot be had from this model on this schedule, with this guidance and kappa."""

    def asked(self, prompt: Prompt) -> tuple[Prompt, ...]:
        """All that it asks the model besides, for an item of this prompt."""
        return ()

    def begin(self, net: Predictor, draws: Draws, level: Level) -> Learnt | None:
        """What it knows before the first step, of x0 predicted at `level`; None: it learns nothing."""
        return None

    @abstractmethod
    def __call__(self, at: At) -> Image:
        """The direction [batch, *shape], in units of noise: x0 moves against it, times sigma."""

    def learn(self, at: At) -> Learnt | None:
        """What it knows after the step."""
        return at.learnt


def of_source(at: At) -> Image:
    """The guided eps of the source, under its own prompt and the same noise as x0; its rows are booked as others."""
    assert at.source is not None  # Distillation.check() has said so
    x = noisy(at.source.x0, at.proposal.kappa, at.step.dst)
    net = replace(at.net, prompts=(at.source.prompt,) * len(x))
    return net(x, at.step.dst, use=Use.OTHER).eps


def eps_of(at: At, prompts: Sequence[Prompt]) -> Image:
    """eps(x) under these prompts, one for each row: what guidance has asked for is at hand, another is asked, as `other`."""
    wanted, conds = tuple(prompts), at.net.guidance.conds(at.net.prompts)
    if wanted in conds:
        return at.guided.raw.eps[conds.index(wanted)]
    return replace(at.net, prompts=wanted, guidance=Guidance())(at.x, at.step.dst, use=Use.OTHER).raw.eps[0]


def eps_null(at: At) -> Image:
    """eps(x) without a prompt."""
    return eps_of(at, [None] * len(at.net.prompts))
