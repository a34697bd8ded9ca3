"""Statistics: arrays in, (point, low, high) out."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import t as student

Statistic = Callable[[Int[np.ndarray, " n"]], float]
"""A number computed from a subset of the samples, given by index."""


class Estimate(NamedTuple):
    """A point and its confidence interval."""

    point: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


def groups_of(seeds: Int[np.ndarray, " n"], at_most: int = 20) -> Int[np.ndarray, " n"]:
    """Jackknife groups: whole seeds together, so that every group holds all prompts; single items where seeds are few."""
    distinct, rank = np.unique(seeds, return_inverse=True)
    if len(distinct) < 8:
        rank = np.arange(len(seeds))
    return rank % at_most


def jackknife(statistic: Statistic, groups: Int[np.ndarray, " n"], confidence: float = 0.95) -> Estimate:
    """The statistic of all samples, with a delete-a-group jackknife interval (Shao and Tu 1995, sec. 5; Student's t).

    Unlike a bootstrap it never shows a sample twice, which would bias distances and counts.
    groups: a group number per sample. A single group gives an infinite interval.
    """
    index = np.arange(len(groups))
    point = statistic(index)
    names = np.unique(groups)
    if len(names) < 2:
        return Estimate(point, -np.inf, np.inf)
    left_out = np.array([statistic(index[groups != name]) for name in names])
    variance = (len(names) - 1) / len(names) * np.square(left_out - left_out.mean()).sum()
    half = float(student.ppf((1 + confidence) / 2, len(names) - 1) * np.sqrt(variance))
    return Estimate(point, point - half, point + half)


def mean_of(values: Float[np.ndarray, " n"]) -> Statistic:
    """The mean as a statistic."""
    return lambda index: float(values[index].mean())
