"""What was predicted last on the way to kappa is subtracted: ISM."""

from dataclasses import dataclass

from ..guidance import Guidance
from ..models.base import Denoiser
from ..noise.base import Kappa
from ..noise.inversion import Inversion
from ..noise.simulated import Simulated
from ..schedules import Schedule
from .base import At, Direction, Image


@dataclass(frozen=True)
class Interval(Direction):
    """eps(x_t, prompt) - eps(x_s), s the last source of the inversion (ISM, arXiv 2311.11284, eq. 15).

    Of a simulated kappa, eps_s is its last prediction under the prompt alone (DSD's released code, arXiv 2412.06780).
    Needs a kappa found by inversion or simulated; check raises ValueError otherwise.
    """

    def check(self, model: Denoiser, schedule: Schedule, guidance: Guidance, noise: Kappa) -> None:
        if not isinstance(noise, Inversion | Simulated):
            raise ValueError(f"direction=interval: needs noise=inversion or noise=simulated, got {type(noise).__name__}")

    def __call__(self, at: At) -> Image:
        assert at.proposal.eps_s is not None  # check() has said so
        return at.guided.eps - at.proposal.eps_s
