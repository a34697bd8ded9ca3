"""Differences between two samplers on the same items."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import stdtr

from .groups import clusters_of
from .intervals import Estimate, Spread, Statistic, mean_of, spread


class Difference(NamedTuple):
    """a - b with its 95 % interval; effect: Cohen's d_z; p: two-sided, that there is none; error, df: of Student's t.

    From fewer than FEWEST clusters the difference alone: all else is NaN.
    """

    estimate: Estimate
    effect: float
    p: float
    error: float
    df: int


def difference(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"]) -> Difference:
    """Mean of a - b over the same items, clusters left out whole (clusters_of); d_z is over the clusters' means.

    clusters: a label per item. Raises ValueError where a value is not finite.
    """
    gaps = a - b
    if bad := int((~np.isfinite(gaps)).sum()):
        raise ValueError(f"a - b: {bad} of {len(gaps)} are not finite; leave these items out of both")
    _, rank = np.unique(clusters, return_inverse=True)
    means = np.bincount(rank, gaps) / np.bincount(rank)
    return tested(
        spread(mean_of(gaps), clusters_of(clusters)), float(means.mean()), float(means.std(ddof=min(1, len(means) - 1)))
    )


def difference_of(statistic_a: Statistic, statistic_b: Statistic, groups: Int[np.ndarray, " n"]) -> Difference:
    """Statistic a - statistic b, the same items left out of both; d_z is over groups: in standard deviations of one group.

    A bias that both share, as that of two Fréchet distances at one n, mostly cancels.
    """
    found = spread(lambda index: statistic_a(index) - statistic_b(index), groups)
    return tested(found, found.point, found.error * math.sqrt(found.df + 1))


def tested(found: Spread, mean: float, deviation: float) -> Difference:
    """Student's t on a difference; an effect of mean / deviation. p is 1 for no difference at all, NaN without an error."""
    if math.isnan(found.error):
        return Difference(found.interval(), math.nan, math.nan, found.error, found.df)
    effect = mean / deviation if deviation > 0 else math.copysign(math.inf, mean) if mean else 0.0
    p = 2 * float(stdtr(found.df, -abs(found.point) / found.error)) if found.error > 0 else float(found.point == 0)
    return Difference(found.interval(), effect, p, found.error, found.df)
