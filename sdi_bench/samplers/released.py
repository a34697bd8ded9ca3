"""The levels of the released SDI."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import require
from ..draws import Draws, Purpose
from ..levels import Level, Step, expand
from ..predictor import Predictor
from ..schedules import Schedule
from .base import State


@dataclass(frozen=True)
class ReleasedTimeline:
    """t falls linearly from t_max to t_min, after a start at the table's last entry.

    ottogin/score-distillation-via-inversion: target k is sought at timestep int(N·((t_max - t_min)·(1 - k/n_spans) + t_min)),
    N entries in the table; in 2D k = 0 ... 40 of 40 (2dplayground_SDI_version.ipynb), in 3D 0 ... 9,999 of 10,000
    (stable_diffusion_sdi_guidance.py, update_step). The start is the one-step denoised noise, x = eps (the notebook).
    truncated: timesteps are whole, as int() has them; False: as they come.
    1 <= n_targets <= n_spans + 1; 0 <= t_min < t_max <= 1. Raises ValueError, naming the field, otherwise.
    """

    n_targets: int = 41
    n_spans: int = 40
    t_max: float = 0.98
    t_min: float = 0.02
    truncated: bool = True

    def __post_init__(self) -> None:
        require.count("sampler.timeline.n_spans", self.n_spans)
        require.count("sampler.timeline.n_targets", self.n_targets, most=self.n_spans + 1)
        require.number("sampler.timeline.t_max", self.t_max, above=0, at_most=1)
        require.number("sampler.timeline.t_min", self.t_min, at_least=0, below=self.t_max)

    @property
    def n_states(self) -> int:
        return self.n_targets + 1

    def times(self, n_train: int) -> list[Tensor]:
        """t of each target, [1]."""
        found = [n_train * ((self.t_max - self.t_min) * (1 - k / self.n_spans) + self.t_min) for k in range(self.n_targets)]
        return [torch.tensor([(int(t) if self.truncated else t) / n_train], dtype=torch.float64) for t in found]

    def noisiest(self, schedule: Schedule) -> Level:
        return schedule.level(max((schedule.n_train - 1) / schedule.n_train, self.t_max))

    def first(self, net: Predictor) -> Level:
        return net.level((net.schedule.n_train - 1) / net.schedule.n_train)

    def start(self, net: Predictor, draws: Draws) -> State:
        level = self.first(net)
        noise = draws.normal(Purpose.INIT, 0, net.model.shape)
        guided = net(expand(torch.hypot(level.a, level.b), noise) * noise, level)
        return State(0, level, guided.x0, guided.eps)

    def steps(self, net: Predictor, draws: Draws) -> Iterator[Step]:
        levels = [self.first(net), *net.levels(self.times(net.schedule.n_train))]
        for index, (src, dst) in enumerate(zip(levels, levels[1:], strict=False), start=1):
            yield Step(src, dst, index)
