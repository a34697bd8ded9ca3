"""What a direction asks of a student: eps_phi, the score of the noisy particles x = a·x0 + b·eps, not of the data."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ..draws import Draws
from ..guidance import Guidance, Prompt
from ..levels import Level, Step
from ..models.base import Denoiser
from ..noise.base import Kappa
from ..predictor import Predictor

Image = Float[Tensor, "batch *shape"]

Learnt = Mapping[str, Tensor]
"""What a student knows, by name: a row for each item, [batch, ...]. Never changed in place."""


class Student(ABC):
    """A second network and how it is taught. Stateless: what it knows is handed in and out."""

    needs_linear: ClassVar[bool] = False
    """Does it hold only where a step is linear in x0 (an image, annealed t, full steps)?"""

    def check(self, model: Denoiser, guidance: Guidance, noise: Kappa) -> None:
        """Raise ValueError if this model has no such student, with this guidance and this kappa."""

    @abstractmethod
    def begin(self, net: Predictor, draws: Draws, level: Level) -> Learnt:
        """What it knows before the first step, of particles that were predicted at `level`."""

    @abstractmethod
    def eps(self, learnt: Learnt, x: Image, level: Level, net: Predictor, prompts: Sequence[Prompt]) -> Image:
        """eps_phi at x, for a prompt per row; without guidance."""

    @abstractmethod
    def learn(self, learnt: Learnt, x0: Image, step: Step, net: Predictor, draws: Draws, drop: float = 0.0) -> Learnt:
        """What it knows once it has seen the particles x0, and the step that was made from them.

        drop: in [0, 1], how often it is told the prompt without its words for the view.
        """
