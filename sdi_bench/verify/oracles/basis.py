"""Moments without sampling error: an affine sampler is a linear map of its draws, and basis draws read that map off."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ...draws import Purpose

Key = tuple[Purpose, int]


def fixed_uniform(purpose: Purpose, step: int) -> float:
    """The one number in [0, 1) that stands for every uniform draw of this purpose and step."""
    return (0.618 * step + 0.25 * purpose) % 1


@dataclass(frozen=True)
class NoDraws:
    """Every normal draw of a batch of one is 0; what was asked for is written down in `shapes`."""

    shapes: dict[Key, tuple[int, ...]] = field(default_factory=dict)

    def normal(self, purpose: Purpose, step: int, shape: tuple[int, ...]) -> Float[Tensor, "batch *shape"]:
        self.shapes[purpose, step] = shape
        return torch.zeros(1, *shape, dtype=torch.float64)

    def uniform(self, purpose: Purpose, step: int) -> Float[Tensor, " batch"]:
        return torch.tensor([fixed_uniform(purpose, step)], dtype=torch.float64)


@dataclass(frozen=True)
class BasisDraws:
    """Row 0: every normal draw is 0. Each further row: a single number of a single draw is 1, all others are 0.

    For a result affine in its draws: mean = row 0, variance = sum over the rows of (row - row 0)².
    shapes: of every draw that will be asked for (see NoDraws); another one raises.
    """

    shapes: Mapping[Key, tuple[int, ...]]

    @property
    def n_rows(self) -> int:
        """1 + the number of numbers drawn."""
        return 1 + sum(math.prod(shape) for shape in self.shapes.values())

    def normal(self, purpose: Purpose, step: int, shape: tuple[int, ...]) -> Float[Tensor, "batch *shape"]:
        if self.shapes[purpose, step] != shape:
            raise ValueError(f"draw {purpose.name}, {step}: asked for as {shape} and as {self.shapes[purpose, step]}")
        before = list(self.shapes)[: list(self.shapes).index((purpose, step))]
        first, size = 1 + sum(math.prod(self.shapes[key]) for key in before), math.prod(shape)
        rows = torch.zeros(self.n_rows, size, dtype=torch.float64)
        rows[first : first + size] = torch.eye(size, dtype=torch.float64)
        return rows.reshape(-1, *shape)

    def uniform(self, purpose: Purpose, step: int) -> Float[Tensor, " batch"]:
        return torch.full((self.n_rows,), fixed_uniform(purpose, step), dtype=torch.float64)
