"""Heun's second-order solver of the probability-flow ODE (EDM, arXiv 2206.00364, algorithm 1 without churn)."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..coordinates import noisy, x_bar
from ..draws import Draws
from ..grids import Grid
from ..guidance import Guidance
from ..levels import Level, expand
from ..models.base import Denoiser
from ..predictor import Guided, Predictor, Use
from ..schedules import Schedule
from .base import State, start
from .ddpm import require_finite


def slope_of(guided: Guided, level: Level) -> Tensor:
    """d x_bar / d sigma = (x_bar - x0) / sigma; it is eps where no rule has moved x0."""
    return guided.eps if guided.moved is None else guided.eps - guided.moved / expand(level.sigma, guided.eps)


@dataclass(frozen=True)
class Heun:
    """d x_bar / d sigma = eps. n levels, 2n - 1 network calls (the correctors count as `other`). Needs sigma < infinity."""

    grid: Grid
    guidance: Guidance = Guidance()

    @property
    def n_states(self) -> int:
        return self.grid.n_levels

    def check(self, model: Denoiser, schedule: Schedule) -> None:
        require_finite("heun", self.grid.levels(schedule)[0])

    def sample(self, net: Predictor, draws: Draws) -> Iterator[State]:
        levels = net.placed(self.grid.levels(net.schedule))
        x, guided = start(net, draws, levels[0])
        x = x_bar(x, levels[0])
        for i, level in enumerate(levels):
            if i:
                d_sigma = expand(level.sigma - levels[i - 1].sigma, x)
                slope = slope_of(guided, levels[i - 1])
                ahead = net(noisy(x + d_sigma * slope, 0 * x, level), level, use=Use.OTHER)
                x = x + d_sigma * (slope + slope_of(ahead, level)) / 2
                guided = net(noisy(x, 0 * x, level), level)
            yield State(i, level, guided.x0, guided.eps)
