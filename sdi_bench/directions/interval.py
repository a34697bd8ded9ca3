"""What the inversion predicted last is subtracted: ISM."""

from dataclasses import dataclass

from ..guidance import Guidance
from ..models.base import Denoiser
from ..noise.base import Kappa
from ..noise.inversion import Inversion
from ..schedules import Schedule
from .base import At, Direction, Image


@dataclass(frozen=True)
class Interval(Direction):
    """eps(x_t, prompt) - eps(x_s), s the last source of the inversion (ISM, arXiv 2311.11284, eq. 15).

    Needs a kappa found by inversion; check raises ValueError otherwise.
    """

    def check(self, model: Denoiser, schedule: Schedule, guidance: Guidance, noise: Kappa) -> None:
        if not isinstance(noise, Inversion):
            raise ValueError(f"direction=interval: needs noise=inversion, got {type(noise).__name__}")

    def __call__(self, at: At) -> Image:
        assert at.proposal.eps_s is not None  # check() has said so
        return at.guided.eps - at.proposal.eps_s
