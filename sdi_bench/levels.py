"""Noise levels: the pair (a, b) behind every schedule, and the two ends of a step.

x = a·x0 + b·eps,   sigma = b / a,   x_bar = x / a = x0 + sigma·eps        (arXiv 2405.15891, sec. 3)
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def expand(value: Shaped[Tensor, " rows"], like: Float[Tensor, "batch *shape"]) -> Tensor:
    """A number per row, shaped to multiply a batch: [rows] -> [rows, 1, ..., 1]; one number for all rows does as it is."""
    return value if value.shape[0] == 1 else value.reshape(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True)
class Level:
    """One noise level per row of a batch: x = a·x0 + b·eps.

    a: signal factor, in [0, 1].  b: noise factor, >= 0.  t: time in [0, 1], 1 is the noisiest.
    Each is float64 of shape [rows], rows = 1 (all rows of a batch alike) or the batch.
    a = 0 (flow matching at t = 1, zero terminal SNR) is legal: sigma is then infinite and x_bar
    does not exist, so nothing that must work there may divide by a.
    """

    a: Float[Tensor, " rows"]
    b: Float[Tensor, " rows"]
    t: Float[Tensor, " rows"]

    @cached_property
    def sigma(self) -> Float[Tensor, " rows"]:
        """Noise-to-signal ratio b / a, in [0, inf]."""
        return self.b / self.a

    @property
    def alpha_bar(self) -> Float[Tensor, " rows"]:
        """The variance-preserving signal share 1 / (1 + sigma²), in [0, 1] (`alphas_cumprod`)."""
        return self.a.square() / (self.a.square() + self.b.square())

    def rows(self, index: Tensor) -> "Level":
        """The level of a subset of rows (a boolean mask or indices)."""
        if self.a.shape[0] == 1:
            return self
        return Level(self.a[index], self.b[index], self.t[index])

    def split(self) -> list["Level"]:
        """One level per row, each of shape [1]."""
        return [Level(*row) for row in zip(self.a.split(1), self.b.split(1), self.t.split(1), strict=True)]

    def to(self, device: torch.device | str) -> "Level":
        """The same level on another device."""
        return Level(self.a.to(device), self.b.to(device), self.t.to(device))


def clean(device: torch.device | str = "cpu") -> Level:
    """The end of every path: sigma = 0. No network is ever asked there."""
    one = torch.ones(1, dtype=torch.float64, device=device)
    return Level(one, 0 * one, 0 * one)


@dataclass(frozen=True)
class Step:
    """Both ends of one step: kappa is sought at `src`, the network is asked at `dst`.

    index: counts the network levels of the path from 0 (the start); it keys the step's random draws.
    """

    src: Level
    dst: Level
    index: int
