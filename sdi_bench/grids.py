"""Grids: which levels a sampler visits, noisiest first, all with sigma > 0. The step to sigma = 0 asks no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from . import require
from .levels import Level, Step
from .schedules import Schedule, Visits


@runtime_checkable
class Grid(Protocol):
    """n levels of a schedule, falling in sigma."""

    @property
    def n_levels(self) -> int:
        """How many."""

    def levels(self, schedule: Schedule) -> list[Level]:
        """The levels, noisiest first. Raises ValueError, naming the field, if they do not fall."""


@runtime_checkable
class HasVisits(Protocol):
    """A schedule that may have a scheduler behind it."""

    @property
    def visits(self) -> Visits | None:
        """How many levels -> the sigmas that the scheduler visits, noisiest first."""


def falling(levels: Level) -> list[Level]:
    """A level of many rows -> one level a row; sigma must fall strictly and stay above 0, else ValueError is raised."""
    sigmas = levels.sigma.tolist()
    for high, low in zip(sigmas, sigmas[1:], strict=False):
        if not low < high:
            raise ValueError(f"grid: sigma must fall from level to level, got {high:.6g} then {low:.6g} (too many levels?)")
    if not sigmas[-1] > 0:
        raise ValueError(f"grid: the last level has sigma={sigmas[-1]:.6g}; it must be > 0")
    return levels.split()


def steps_of(levels: Sequence[Level]) -> list[Step]:
    """The n - 1 steps between n levels; step i goes from levels[i - 1] to levels[i] and has index i."""
    return [Step(src, dst, i + 1) for i, (src, dst) in enumerate(zip(levels, levels[1:], strict=False))]


@dataclass(frozen=True)
class UniformT:
    """t falls from t_max to t_min as progress^power: power 1 is linear annealing, 0.5 square-root annealing.

    n_levels >= 1. t_max, t_min: 0 <= t_min < t_max <= 1. power > 0.
    Raises ValueError, naming the field, otherwise.
    """

    n_levels: int = 50
    t_max: float = 1.0
    t_min: float = 0.0
    power: float = 1.0

    def __post_init__(self) -> None:
        require.count("grid.n_levels", self.n_levels)
        require.number("grid.t_max", self.t_max, above=0, at_most=1)
        require.number("grid.t_min", self.t_min, at_least=0, below=1)
        if not self.t_min < self.t_max:
            raise ValueError(
                f"grid.t_max={self.t_max!r}, grid.t_min={self.t_min!r}: the grid must fall, 0 <= t_min < t_max <= 1"
            )
        require.number("grid.power", self.power, above=0)

    def times(self) -> Tensor:
        """The n_levels times, falling from t_max to t_min."""
        progress = torch.linspace(0, 1, self.n_levels, dtype=torch.float64) ** self.power
        return self.t_max - (self.t_max - self.t_min) * progress

    def levels(self, schedule: Schedule) -> list[Level]:
        return falling(schedule.level(self.times()))


@dataclass(frozen=True)
class UniformSigma:
    """sigma falls in equal steps between the schedule's highest and lowest level (or the ends given)."""

    n_levels: int = 50
    sigma_max: float | None = None
    sigma_min: float | None = None

    def __post_init__(self) -> None:
        require.count("grid.n_levels", self.n_levels)

    def ends(self, schedule: Schedule) -> tuple[float, float]:
        """(sigma_max, sigma_min). Raises ValueError if they do not fall or are not finite."""
        high = float(schedule.highest.sigma) if self.sigma_max is None else self.sigma_max
        low = float(schedule.lowest.sigma) if self.sigma_min is None else self.sigma_min
        require.number("grid.sigma_max", high, above=0)
        require.number("grid.sigma_min", low, above=0)
        if not low < high:
            raise ValueError(f"grid.sigma_max={high!r}, grid.sigma_min={low!r}: the grid must fall, sigma_min < sigma_max")
        return high, low

    def sigmas(self, high: float, low: float) -> Tensor:
        """The n_levels values of sigma, falling."""
        return torch.linspace(high, low, self.n_levels, dtype=torch.float64)

    def levels(self, schedule: Schedule) -> list[Level]:
        return falling(schedule.at_sigma(self.sigmas(*self.ends(schedule))))


@dataclass(frozen=True)
class UniformLogSigma(UniformSigma):
    """log(sigma) falls in equal steps."""

    def sigmas(self, high: float, low: float) -> Tensor:
        return torch.logspace(0, 1, self.n_levels, base=low / high, dtype=torch.float64) * high


@dataclass(frozen=True)
class Own:
    """The levels that the scheduler behind the schedule visits by itself; t in equal steps, as UniformT, where there is none.

    n_levels: 1 to n_train, as the scheduler counts its steps.
    """

    n_levels: int = 50

    def __post_init__(self) -> None:
        require.count("grid.n_levels", self.n_levels)

    def levels(self, schedule: Schedule) -> list[Level]:
        if not isinstance(schedule, HasVisits) or schedule.visits is None:
            return UniformT(self.n_levels).levels(schedule)
        if self.n_levels > schedule.n_train:
            raise ValueError(f"grid.n_levels={self.n_levels}: the schedule has {schedule.n_train} entries")
        return falling(schedule.at_sigma(schedule.visits(self.n_levels)))


def at_entries(schedule: Schedule, entries: Sequence[float] | np.ndarray) -> list[Level]:
    """The levels of table entries, falling. Raises ValueError if there are more than the table has."""
    if len(entries) > schedule.n_train:
        raise ValueError(f"grid.n_levels={len(entries)}: the schedule has {schedule.n_train} entries")
    return falling(schedule.level(torch.as_tensor(np.array(entries) / schedule.n_train)))


@dataclass(frozen=True)
class Leading:
    """Table entries k·(T // n) + offset, as diffusers' timestep_spacing="leading".

    n_levels: 1 to T. offset >= 0, such that the first entry is at most T - 1.
    """

    n_levels: int = 50
    offset: int = 0

    def __post_init__(self) -> None:
        require.count("grid.n_levels", self.n_levels)
        require.count("grid.offset", self.offset, least=0)

    def levels(self, schedule: Schedule) -> list[Level]:
        stride = schedule.n_train // self.n_levels
        entries = [k * stride + self.offset for k in reversed(range(self.n_levels))]
        if stride and entries[0] >= schedule.n_train:
            raise ValueError(f"grid.offset={self.offset}: moves the first entry to {entries[0]} of {schedule.n_train}")
        return at_entries(schedule, entries)


@dataclass(frozen=True)
class Trailing:
    """Table entries T - 1, T - 1 - T/n, ..., as diffusers' timestep_spacing="trailing"."""

    n_levels: int = 50

    def __post_init__(self) -> None:
        require.count("grid.n_levels", self.n_levels)

    def levels(self, schedule: Schedule) -> list[Level]:
        entries = np.arange(schedule.n_train, 0, -schedule.n_train / self.n_levels).round() - 1  # rounding may add an entry
        return at_entries(schedule, entries[: self.n_levels])


@dataclass(frozen=True)
class Linspace:
    """n table entries evenly spread from T - 1 to 0, rounded, as diffusers' timestep_spacing="linspace"; for n = 1, T - 1."""

    n_levels: int = 50

    def __post_init__(self) -> None:
        require.count("grid.n_levels", self.n_levels)

    def levels(self, schedule: Schedule) -> list[Level]:
        top = schedule.n_train - 1
        return at_entries(schedule, np.linspace(0, top, self.n_levels).round()[::-1] if self.n_levels > 1 else [top])
