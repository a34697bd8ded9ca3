"""Intervals by the delete-a-group jackknife."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit

FEWEST = 5
"""Clusters below which a value is given alone, without interval or test: of so few a spread says next to nothing."""

Statistic = Callable[[Int[np.ndarray, " n"]], float]
"""A number computed from a subset of the samples, given by index."""


class Estimate(NamedTuple):
    """A point and its confidence interval; NaN for low and high where there is none."""

    point: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


class Spread(NamedTuple):
    """A point, its standard error and the degrees of freedom of that; NaN and 0 where nothing is known of it.

    left_out: the statistic without each group in turn, by the groups' numbers; nothing of fewer than FEWEST.
    """

    point: float
    error: float
    df: int
    left_out: tuple[float, ...] = ()

    def interval(self, confidence: float = 0.95) -> Estimate:
        """Point ± Student's t times the error; no interval without one."""
        if np.isnan(self.error):
            return Estimate(self.point, np.nan, np.nan)
        half = float(stdtrit(self.df, (1 + confidence) / 2)) * self.error
        return Estimate(self.point, self.point - half, self.point + half)


def spread(statistic: Statistic, groups: Int[np.ndarray, " n"], corrected: bool = False) -> Spread:
    """The statistic of all samples and its delete-a-group jackknife standard error (Shao and Tu 1995, sec. 5).

    corrected: the point is Quenouille's G·all - (G - 1)·(mean over left out), which is free of a bias that falls as 1/n.
    No error for fewer than FEWEST groups, nor where the statistic says nothing once a group is left out.
    """
    index = np.arange(len(groups))
    point = statistic(index)
    names = np.unique(groups)
    if len(names) < FEWEST:
        return Spread(point, np.nan, 0)
    left_out = np.array([statistic(index[groups != name]) for name in names])
    if not np.isfinite(left_out).all():
        return Spread(point, np.nan, 0)
    if corrected:
        point = len(names) * point - (len(names) - 1) * float(left_out.mean())
    return spread_of(point, left_out)


def spread_of(point: float, left_out: Float[np.ndarray, " groups"]) -> Spread:
    """What `spread` gives of a statistic whose values without each group are known, FEWEST or more; so of a difference of two
    over the same groups, which is paired.
    """
    n = len(left_out)
    variance = (n - 1) / n * np.square(left_out - left_out.mean()).sum()
    return Spread(point, float(np.sqrt(variance)), n - 1, tuple(left_out.tolist()))


def jackknife(
    statistic: Statistic, groups: Int[np.ndarray, " n"], confidence: float = 0.95, corrected: bool = False
) -> Estimate:
    """The statistic of all samples, with a delete-a-group jackknife interval (Shao and Tu 1995, sec. 5; Student's t).

    Unlike a bootstrap it never shows a sample twice, which would bias distances and counts. A statistic that is biased at n
    samples keeps its bias, and the interval is about what such statistics are on average, unless corrected: then the point is
    the jackknife's, free of a bias that falls as 1/n (groups should be of one size).
    groups: a group number per sample. Fewer than FEWEST give the value alone.
    """
    return spread(statistic, groups, corrected).interval(confidence)


def mean_of(values: Float[np.ndarray, " n"]) -> Statistic:
    """The mean as a statistic."""
    return lambda index: float(values[index].mean())
