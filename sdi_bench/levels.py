"""Noise levels: the pair (a, b) behind every schedule, and the two ends of a step.

x = a·x0 + b·eps,   sigma = b / a,   x_bar = x / a = x0 + sigma·eps        (arXiv 2405.15891, sec. 3)

Levels are worked out on the host: a device is never asked for a number. One that all rows share stays there, since a number on
the host multiplies a batch on any device (`expand`); levels that differ from row to row are copied to the batch's device once,
all of a step together (`placed`), and keep what they were copied from (`host`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def expand(value: Shaped[Tensor, " rows"], like: Float[Tensor, "batch *shape"]) -> Tensor:
    """A number per row, shaped to multiply a batch: [rows] -> [rows, 1, ..., 1]; one number for all rows does as it is."""
    if value.shape[0] == 1:
        return value if value.device == like.device else value[0]
    return value.reshape(-1, *[1] * (like.ndim - 1))


def spread(value: Float[Tensor, " rows"], n: int, like: Tensor, dtype: torch.dtype) -> Tensor:
    """A number per row as a tensor [n] on the device of `like`; one for all rows is filled in there, not copied."""
    if value.shape[0] == 1 and value.device != like.device:
        return torch.full((n,), float(value), dtype=dtype, device=like.device)
    return value.to(dtype) if value.shape[0] == n else value.to(dtype).expand(n)


@dataclass(frozen=True)
class Level:
    """One noise level per row of a batch: x = a·x0 + b·eps.

    a: signal factor, in [0, 1].  b: noise factor, >= 0.  t: time in [0, 1], 1 is the noisiest.
    Each is float64 of shape [rows], rows = 1 (all rows of a batch alike) or the batch.
    a = 0 (flow matching at t = 1, zero terminal SNR) is legal: sigma is then infinite and x_bar
    does not exist, so nothing that must work there may divide by a.
    host: the same level on the host, of one that was copied to a device. told: what the network is told there, where that was
    worked out before (`placed`).
    """

    a: Float[Tensor, " rows"]
    b: Float[Tensor, " rows"]
    t: Float[Tensor, " rows"]
    told: Float[Tensor, " rows"] | None = field(default=None, compare=False, repr=False)
    origin: "Level | None" = field(default=None, kw_only=True, compare=False, repr=False)

    @property
    def host(self) -> "Level":
        """The same level on the host, without a copy."""
        return self if self.origin is None else self.origin

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
        """The same level wholly on another device, for models that reckon with it there."""
        if self.a.device == torch.device(device):
            return self
        return Level(self.a.to(device), self.b.to(device), self.t.to(device), origin=self.host)


def joined(levels: Sequence[Level]) -> Level:
    """Levels on the host as one, row after row."""
    return Level(*(torch.cat([getattr(level, name) for level in levels]) for name in "abt"))


def placed(
    whole: Level, sizes: Sequence[int], device: torch.device | str, told: Callable[[Level], Tensor] | None = None
) -> list[Level]:
    """A level on the host, cut into levels of so many rows, as a batch on a device needs them: those that differ from row to
    row are copied, all at once.

    told: what a network is told at a level, [rows]; it is worked out for all, and goes along.
    """
    columns = [whole.a, whole.b, whole.t, *([] if told is None else [told(whole)])]
    pieces = zip(*(each.split(sizes) for each in columns), strict=True)
    here = [Level(*each) for each in pieces]
    if max(sizes) == 1 or torch.device(device).type == "cpu":
        return here
    moved = torch.stack([each.double() for each in columns]).to(device).split(sizes, dim=1)
    return [level if n == 1 else Level(*there, origin=level) for level, n, there in zip(here, sizes, moved, strict=True)]


def abreast(levels: Sequence[Level], sizes: Sequence[int], device: torch.device | str = "cpu") -> Level:
    """The levels of several batches, of so many rows each, as that of one batch on a device, row after row; with what a network
    is told there, if that was worked out for all of them.
    """

    def rows(values: Sequence[Tensor]) -> Tensor:
        return torch.cat([value.expand(n) for value, n in zip(values, sizes, strict=True)])

    hosts = [level.host for level in levels]
    told = [level.told for level in hosts if level.told is not None]
    whole = Level(*(rows([getattr(level, name) for level in hosts]) for name in "abt"))
    asked = rows(told) if len(told) == len(levels) else None
    return placed(whole, [sum(sizes)], device, None if asked is None else lambda _: asked)[0]


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
