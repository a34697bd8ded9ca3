"""DDPM's ancestral sampler in its own variables (arXiv 2006.11239), posterior variance ("fixed_small")."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..coordinates import x_bar
from ..draws import Draws, Purpose
from ..grids import Grid
from ..guidance import Guidance
from ..levels import Level, expand
from ..models.base import Denoiser, rules_of
from ..predictor import Predictor
from ..schedules import Schedule
from .base import State, start

POSTERIOR = ("fixed_small", "fixed_small_log")
"""The names under which diffusers has the posterior's variance."""


def step(x: Tensor, x0: Tensor, z: Tensor, src: Level, dst: Level) -> Tensor:
    """A draw from q(x_dst | x_src, x0), z ~ N(0, I) (arXiv 2006.11239, eq. 6 and 7), written in x_bar:

    mean = r·x_bar + (1 - r)·x0,   variance = sigma'²·(1 - r),   r = sigma'² / sigma²
    """
    r = (dst.sigma / src.sigma).square()
    mean = expand(r, x) * x_bar(x, src) + expand(1 - r, x) * x0
    return expand(dst.a, x) * (mean + expand(dst.sigma * (1 - r).sqrt(), x) * z)


@dataclass(frozen=True)
class Ddpm:
    """Ancestral sampling: n levels, n network calls, fresh noise at each but the first. Needs sigma < infinity."""

    grid: Grid
    guidance: Guidance = Guidance()

    @property
    def n_states(self) -> int:
        return self.grid.n_levels

    def check(self, model: Denoiser, schedule: Schedule) -> None:
        require_finite("ddpm", self.grid.levels(schedule)[0])
        variance = rules_of(model).variance
        if variance not in POSTERIOR:
            raise ValueError(
                f"sampler=ddpm: draws with the posterior's variance, and the model's scheduler says variance_type={variance!r};"
                f" use sampler=ddim, or a scheduler that has one of {', '.join(POSTERIOR)}"
            )

    def sample(self, net: Predictor, draws: Draws) -> Iterator[State]:
        levels = net.placed(self.grid.levels(net.schedule))
        x, guided = start(net, draws, levels[0])
        for i, level in enumerate(levels):
            if i:
                z = draws.normal(Purpose.KAPPA, i, (1, *x.shape[1:])).mean(1)
                x = step(x, guided.x0, z, levels[i - 1], level)
                guided = net(x, level)
            yield State(i, level, guided.x0, guided.eps)


def require_finite(sampler: str, level: Level) -> None:
    """Raise ValueError if x_bar does not exist at this level."""
    if not bool((level.a > 0).all()):
        raise ValueError(f"sampler={sampler}: starts at sigma = infinity on this grid; set grid.t_max below 1")
