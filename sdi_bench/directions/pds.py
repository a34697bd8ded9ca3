"""What differs between the stochastic latents of an edit and of its source: PDS."""

from dataclasses import dataclass

from torch import Tensor

from .. import require
from ..guidance import Guidance
from ..levels import Level, expand
from ..models.base import Denoiser
from ..noise.base import Kappa
from ..schedules import Schedule, last_finite
from .base import At, Direction, Image, of_source


@dataclass(frozen=True)
class PosteriorSampling(Direction):
    """psi(t)·(x0 - x0_src) + chi(t)·(eps - eps_src) (PDS, arXiv 2311.13831, sec. 4), the gradient with w = 1.

    It is the difference of the stochastic latents z(x0) = (x_s - mu(x_t, x0_hat)) / sd of x0 and of its source, the noises of
    x_t and of x_s shared: mu and sd are DDPM's posterior of x_s (arXiv 2006.11239, eq. 7), x0_hat the denoised picture.

    lag >= 1: timesteps from s to t, where beta_t stays that of one step. The paper has s = t - 1, and then psi is 0: since
    mu takes the signal of x_t to that of x_s, what is left is DDS times chi. The released code's s is t - 2 (500 steps of
    1,000), where psi is not 0 and pulls towards the source; that is built. Nearer than lag to the lowest level, where there is
    no s, psi and chi are those of the first t that has one.
    Raises ValueError, naming the field, otherwise; check does if the schedule has no t with an s.
    """

    lag: int = 2

    def __post_init__(self) -> None:
        require.count("direction.lag", self.lag)

    @property
    def needs_source(self) -> bool:
        return True

    def check(self, model: Denoiser, schedule: Schedule, guidance: Guidance, noise: Kappa) -> None:
        if self.first(schedule) > last_finite(schedule):
            raise ValueError(f"direction.lag={self.lag}: must be less than the timesteps of the schedule, {schedule.n_train}")

    def first(self, schedule: Schedule) -> float:
        """The first t that has an s."""
        return float(schedule.lowest.t) + self.lag / schedule.n_train

    def __call__(self, at: At) -> Image:
        assert at.source is not None  # Distillation.check() has said so
        psi, chi = self.coefficients(at.step.dst, at.net.schedule)
        x0 = at.x0 - at.source.x0
        return expand(psi.to(x0.device), x0) * x0 + expand(chi.to(x0.device), x0) * (at.guided.eps - of_source(at))

    def coefficients(self, level: Level, schedule: Schedule) -> tuple[Tensor, Tensor]:
        """(psi, chi) at a level, each [rows], on the host.

        psi = (sqrt(A_s) - c_0 - c_t·sqrt(A_t)) / sd,   chi = c_0·sqrt(1/A_t - 1) / sd,   A = alpha_bar
        c_0 = sqrt(A_s)·beta_t / (1 - A_t),   c_t = sqrt(1 - beta_t)·(1 - A_s) / (1 - A_t),   sd² = beta_t·(1 - A_s) / (1 - A_t)
        """
        t = level.host.t.clamp(min=self.first(schedule))
        now, one_less, before = (schedule.level(t - k / schedule.n_train).alpha_bar for k in (0, 1, self.lag))
        beta = 1 - now / one_less
        of_x0, of_xt = before.sqrt() * beta / (1 - now), (1 - beta).sqrt() * (1 - before) / (1 - now)
        sd = (beta * (1 - before) / (1 - now)).sqrt()
        return (before.sqrt() - of_x0 - of_xt * now.sqrt()) / sd, of_x0 * (1 / now - 1).sqrt() / sd
