"""Schedules: time t in [0, 1] -> Level. t = n / 1000 is entry n of a 1000-entry training table."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from . import require
from .levels import Level


def as_rows(value: float | Tensor) -> Float[Tensor, " rows"]:
    """A float or tensor as float64 of shape [rows]."""
    return torch.as_tensor(value, dtype=torch.float64).reshape(-1)


@runtime_checkable
class Schedule(Protocol):
    """What the rest of the library asks of a schedule. A level is on the device of the tensor that asks for it."""

    @property
    def n_train(self) -> int:
        """Entries of the training table: timestep = n_train · t."""

    def level(self, t: float | Tensor) -> Level:
        """The level at time t in [0, 1]; t outside the trained range is clamped to it."""

    def at_sigma(self, sigma: float | Tensor) -> Level:
        """The level whose noise-to-signal ratio is sigma > 0; outside the trained range only its t is clamped."""

    @property
    def lowest(self) -> Level:
        """The least noisy level a network was trained on; sigma > 0."""

    @property
    def highest(self) -> Level:
        """The noisiest level; sigma may be infinite."""


def last_finite(schedule: Schedule) -> float:
    """The latest time at which sigma is finite, of those that the training table has."""
    top = schedule.highest
    return float(top.t) if bool((top.a > 0).all()) else float(top.t) - 1 / schedule.n_train


Visits = Callable[[int], Float[Tensor, " n"]]
"""How many levels -> the sigmas that are visited, noisiest first; the first may be infinite."""


@dataclass(frozen=True)
class TableSchedule:
    """Variance preserving, a² + b² = 1, from a table of alpha_bar; log-SNR is interpolated between entries.

    alphas_cumprod: falling, in [0, 1], shape [n_train]. Entry n is t = n / n_train.
    linear: interpolate sigma itself instead, as k-diffusion's samplers do. visits: of the scheduler behind it, if there is one.
    Raises ValueError unless the table falls strictly inside [0, 1).
    """

    alphas_cumprod: Float[Tensor, " n"]
    linear: bool = False
    visits: Visits | None = field(default=None, compare=False, repr=False)
    _logsnr: Float[Tensor, " n"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        table = self.alphas_cumprod.double().cpu()
        if not bool(((table[1:] < table[:-1]).all() & (table[0] < 1) & (table[-1] >= 0)).item()):
            raise ValueError("alphas_cumprod: must fall strictly and stay in [0, 1)")
        object.__setattr__(self, "alphas_cumprod", table)
        object.__setattr__(self, "_logsnr", table.log() - (1 - table).log())

    @property
    def n_train(self) -> int:
        return self.alphas_cumprod.shape[0]

    @property
    def _sigma(self) -> Float[Tensor, " n"]:
        return (-self._logsnr / 2).exp()

    @cached_property
    def lowest(self) -> Level:
        return self.level(0.0)

    @cached_property
    def highest(self) -> Level:
        return self.level(1.0)

    def level(self, t: float | Tensor) -> Level:
        t = as_rows(t)
        position = (t.cpu() * self.n_train).clamp(0, self.n_train - 1)
        nearest = position.round()
        position = torch.where((position - nearest).abs() < 1e-9, nearest, position)
        low = position.floor().long()
        high = (low + 1).clamp(max=self.n_train - 1)
        share = position - low
        below = self._logsnr[low]
        logsnr = below + share * (self._logsnr[high] - below)
        if self.linear:
            logsnr = -2 * torch.lerp(self._sigma[low], self._sigma[high], share).log()
        # the last bit of torch's sigmoid goes by where a number stands in its tensor
        between = (1 + (-logsnr).exp()).reciprocal()
        alpha_bar = torch.where(share == 0, self.alphas_cumprod[low], between)
        return Level(alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), position / self.n_train).to(t.device)

    @cached_property
    def _rising(self) -> tuple[np.ndarray, np.ndarray]:
        """(sigma, or where that is not interpolated -log-SNR = 2·log(sigma), of each entry; which entry it is)."""
        table = self._sigma if self.linear else -self._logsnr
        return table.numpy(), np.arange(self.n_train, dtype=np.float64)

    def time_of(self, sigma: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """The time t at which the noise-to-signal ratio is sigma, clamped to the trained range."""
        host = sigma.cpu()
        position = np.interp((host if self.linear else 2 * host.log()).numpy(), *self._rising)
        return torch.from_numpy(np.atleast_1d(position)).to(sigma.device) / self.n_train

    def at_sigma(self, sigma: float | Tensor) -> Level:
        sigma = as_rows(sigma)
        a = (1 + sigma.square()).rsqrt()
        return Level(a, torch.where(a > 0, sigma * a, 1.0), self.time_of(sigma))


def _check_betas(n_train: int, beta_start: float, beta_end: float) -> None:
    """Raise ValueError, naming the field, unless the betas rise within (0, 1)."""
    require.count("n_train", n_train, least=2)
    require.number("beta_start", beta_start, above=0, below=1)
    require.number("beta_end", beta_end, at_least=beta_start, below=1)


def _from_betas(betas: Tensor) -> TableSchedule:
    return TableSchedule((1 - betas).cumprod(0))


def linear(n_train: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> TableSchedule:
    """Betas linear in t (DDPM, arXiv 2006.11239). sigma from 0.01 to 157."""
    _check_betas(n_train, beta_start, beta_end)
    return _from_betas(torch.linspace(beta_start, beta_end, n_train, dtype=torch.float64))


def scaled_linear(n_train: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> TableSchedule:
    """Square roots of the betas linear in t (Stable Diffusion, arXiv 2112.10752). sigma from 0.029 to 14.6."""
    _check_betas(n_train, beta_start, beta_end)
    return _from_betas(torch.linspace(beta_start**0.5, beta_end**0.5, n_train, dtype=torch.float64) ** 2)


def cosine(n_train: int = 1000, beta_max: float = 0.999) -> TableSchedule:
    """alpha_bar = cos²((t + .008) / 1.008 · pi / 2), betas capped (arXiv 2102.09672, eq. 17). sigma to 2e4."""

    def alpha_bar(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    require.count("n_train", n_train, least=2)
    require.number("beta_max", beta_max, above=0, below=1)
    betas = [min(1 - alpha_bar((i + 1) / n_train) / alpha_bar(i / n_train), beta_max) for i in range(n_train)]
    return _from_betas(torch.tensor(betas, dtype=torch.float64))


def sigmoid(n_train: int = 1000, start: float = -3.0, end: float = 3.0, clip: float = 1e-9) -> TableSchedule:
    """alpha_bar falls as a sigmoid from t = 0 to 1, clipped from below (arXiv 2212.11972). sigma to 3e4."""
    require.count("n_train", n_train, least=2)
    require.number("start", start)
    require.number("end", end, above=start)
    require.number("clip", clip, above=0, below=1)
    t = torch.arange(1, n_train + 1, dtype=torch.float64) / n_train
    top, bottom = torch.tensor([-start, -end], dtype=torch.float64).sigmoid()
    alpha_bar = ((-(t * (end - start) + start)).sigmoid() - bottom) / (top - bottom)
    return TableSchedule(alpha_bar.clamp(clip))


def zero_terminal_snr(schedule: TableSchedule) -> TableSchedule:
    """The same schedule shifted and scaled in sqrt(alpha_bar) so that its last level is pure noise (arXiv 2305.08891)."""
    root = schedule.alphas_cumprod.sqrt()
    return TableSchedule(((root - root[-1]) * root[0] / (root[0] - root[-1])).square())


@dataclass(frozen=True)
class Karras:
    """Variance exploding, a = 1, b = sigma; t is uniform in sigma^(1/rho) (EDM, arXiv 2206.00364, eq. 5).

    sigma_min, sigma_max: the trained range, 0 < sigma_min < sigma_max. rho > 0: at infinity t is uniform in log(sigma).
    visits: of the scheduler behind it, if there is one.
    Raises ValueError if they are not.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    n_train: int = 1000
    visits: Visits | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        require.number("sigma_max", self.sigma_max, above=0)
        require.number("sigma_min", self.sigma_min, above=0, below=self.sigma_max)
        if self.rho != math.inf:
            require.number("rho", self.rho, above=0)
        require.count("n_train", self.n_train, least=2)

    @cached_property
    def lowest(self) -> Level:
        return self.level(0.0)

    @cached_property
    def highest(self) -> Level:
        return self.level(1.0)

    def level(self, t: float | Tensor) -> Level:
        t = as_rows(t).clamp(0, 1)
        if self.rho == math.inf:
            sigma = self.sigma_min ** (1 - t) * self.sigma_max**t
            return Level(torch.ones_like(sigma), sigma, t)
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        sigma = (low + t * (high - low)) ** self.rho
        return Level(torch.ones_like(sigma), sigma, t)

    def at_sigma(self, sigma: float | Tensor) -> Level:
        sigma = as_rows(sigma)
        if self.rho == math.inf:
            t = (sigma / self.sigma_min).log() / math.log(self.sigma_max / self.sigma_min)
            return Level(torch.ones_like(sigma), sigma, t.clamp(0, 1))
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return Level(torch.ones_like(sigma), sigma, ((sigma ** (1 / self.rho) - low) / (high - low)).clamp(0, 1))


@dataclass(frozen=True)
class RectifiedFlow:
    """a = 1 - b, b = t (arXiv 2209.03003), or with a shift s, s·t / (1 + (s - 1)·t). At t = 1 the signal is gone: a = 0.

    t_min: the least noisy level a network is asked at, in (0, 1).
    shift: s > 0; above 1, more of t is spent on high noise (arXiv 2403.03206, eq. 23).
    visits: of the scheduler behind it, if there is one.
    Raises ValueError if they are not.
    """

    t_min: float = 0.001
    n_train: int = 1000
    shift: float = 1.0
    visits: Visits | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        require.number("t_min", self.t_min, above=0, below=1)
        require.number("shift", self.shift, above=0)
        require.count("n_train", self.n_train, least=2)

    @cached_property
    def lowest(self) -> Level:
        return self.level(self.t_min)

    @cached_property
    def highest(self) -> Level:
        return self.level(1.0)

    def level(self, t: float | Tensor) -> Level:
        t = as_rows(t).clamp(self.t_min, 1)
        b = self.shift * t / (1 + (self.shift - 1) * t)
        return Level(1 - b, b, t)

    def at_sigma(self, sigma: float | Tensor) -> Level:
        sigma = as_rows(sigma)
        b = torch.where(sigma.isinf(), 1.0, sigma / (1 + sigma))
        t = b / (self.shift - (self.shift - 1) * b)
        return Level(1 / (1 + sigma), b, t.clamp(self.t_min, 1))
