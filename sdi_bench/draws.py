"""Counter-based randomness: every draw is a function of (item, purpose, step), never of what was drawn before.

So drawing tau does not shift kappa, samplers share draws, a row of a batch equals a batch of one, and a
resumed run continues as if it had never stopped. Philox-4x64 (Salmon et al., SC 2011): the item is the key,
purpose and step are words of the counter.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from . import require

LOOK_AHEAD = 10
"""Steps whose draws are made at once, where they are small: it divides the usual numbers of levels, so few are in vain."""


MOST_SEED = 2**63 - 1

Make = Callable[["Purpose", int, tuple[int, ...]], np.ndarray]
"""(purpose, step, shape) -> a row for each item."""


class Purpose(IntEnum):
    """What a draw is for. Numbers are part of the results: append, never renumber."""

    INIT = 0
    KAPPA = 1
    ENTROPY = 2
    TAU = 3
    TIME = 4
    CAMERA = 5
    VAE = 6
    SCENE = 7
    STUDENT = 8
    STUDENT_TIME = 9
    STUDENT_VIEW = 10
    SOURCE = 11
    LATER = 12
    TEXTURE = 13


@dataclass(frozen=True, order=True)
class Item:
    """What is sampled once: a prompt (None is unconditional) and a seed >= 0. Its x_T depends on nothing else."""

    prompt: str | None
    seed: int

    def __post_init__(self) -> None:
        require.count("seed", self.seed, least=0, most=MOST_SEED)

    @cached_property
    def key(self) -> int:
        """128 bits that name the item."""
        text = f"{'' if self.prompt is None else 'p' + self.prompt}\x00{self.seed}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def items_of(prompts: Sequence[str | None], seeds: Sequence[int]) -> list[Item]:
    """All pairs, prompt by prompt."""
    return [Item(prompt, seed) for prompt in prompts for seed in seeds]


@runtime_checkable
class Draws(Protocol):
    """Random numbers for a batch of items."""

    def normal(self, purpose: Purpose, step: int, shape: tuple[int, ...]) -> Float[Tensor, "batch *shape"]:
        """Standard normal draws, float64."""

    def uniform(self, purpose: Purpose, step: int) -> Float[Tensor, " batch"]:
        """Uniform draws in [0, 1), float64, on the host: of these times and cameras are made."""


@dataclass(frozen=True)
class PhiloxDraws:
    """The draws of `items`, made on the CPU (the same bits everywhere); normal ones are handed over on `device`."""

    items: tuple[Item, ...]
    device: torch.device | str = "cpu"
    _ahead: dict[tuple[Purpose, int, tuple[int, ...]], np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def _generator(self) -> np.random.Generator:
        return np.random.Generator(np.random.Philox())

    @cached_property
    def _state(self) -> dict[str, Any]:
        """Of the generator; what tells items, purposes and steps apart is put in anew for each draw."""
        return dict(self._generator.bit_generator.state)

    @cached_property
    def _keys(self) -> list[np.ndarray]:
        return [np.array(divmod(item.key, 2**64)[::-1], dtype=np.uint64) for item in self.items]

    def _generators(self, purpose: Purpose, step: int) -> Iterator[np.random.Generator]:
        """One generator, set anew for each item: to construct one costs more than the draws of a small image."""
        bits = self._generator.bit_generator
        counter = np.array([0, 0, step, purpose], dtype=np.uint64)
        for key in self._keys:
            bits.state = self._state | {"state": {"counter": counter, "key": key}, "buffer_pos": 4, "has_uint32": 0}
            yield self._generator

    def normal(self, purpose: Purpose, step: int, shape: tuple[int, ...]) -> Float[Tensor, "batch *shape"]:
        return torch.from_numpy(self._drawn(purpose, step, shape, self._normal)).to(self.device)

    def uniform(self, purpose: Purpose, step: int) -> Float[Tensor, " batch"]:
        return torch.from_numpy(self._drawn(purpose, step, (), self._uniform))

    def _drawn(self, purpose: Purpose, step: int, shape: tuple[int, ...], make: Make) -> np.ndarray:
        """What `make` draws; small draws for some steps at once: the generator's code is out of the caches after a call."""
        if (purpose, step, shape) not in self._ahead:
            many = 1 if step == 0 else max(1, min(LOOK_AHEAD, 2**17 // (len(self.items) * math.prod(shape))))
            self._ahead.update({(purpose, k, shape): make(purpose, k, shape) for k in range(step, step + many)})
        return self._ahead.pop((purpose, step, shape))

    def _uniform(self, purpose: Purpose, step: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.array([generator.random() for generator in self._generators(purpose, step)])

    def _normal(self, purpose: Purpose, step: int, shape: tuple[int, ...]) -> np.ndarray:
        rows = np.empty((len(self.items), *shape))
        for row, generator in zip(rows, self._generators(purpose, step), strict=True):
            generator.standard_normal(out=row)
        return rows


@dataclass(frozen=True)
class SomeRows:
    """The draws of some rows of a batch; rows: their numbers, on the host."""

    draws: Draws
    rows: Int[Tensor, " rows"]

    def normal(self, purpose: Purpose, step: int, shape: tuple[int, ...]) -> Float[Tensor, "rows *shape"]:
        drawn = self.draws.normal(purpose, step, shape)
        return drawn[self.rows.to(drawn.device)]

    def uniform(self, purpose: Purpose, step: int) -> Float[Tensor, " rows"]:
        return self.draws.uniform(purpose, step)[self.rows]
