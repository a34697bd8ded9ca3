"""Kernel distance: the squared MMD of two sets of features, unbiased (Binkowski et al., arXiv 1801.01401; known as KID)."""

import numpy as np
from jaxtyping import Float, Int

from ..stats import Statistic

AT_ONCE = 256
"""Points of either set whose kernel is worked out at once."""


def kernel(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """(x·y / d + 1)³ in float64, of all pairs."""
    gram = a.astype(np.float64) @ b.T.astype(np.float64)
    gram /= a.shape[1]
    gram += 1
    cube = gram * gram
    cube *= gram
    return cube


def sums(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"] | None, weights: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """For each of a the weighted sum of its kernel over all of b, or, where b is None, over the others of a.

    Block by block: there is no n x m matrix, and no copy of all the features.
    """
    found, second = np.zeros(len(a)), a if b is None else b
    for i in range(0, len(a), AT_ONCE):
        rows = a[i : i + AT_ONCE].astype(np.float64)
        for j in range(0, len(second), AT_ONCE):
            block = kernel(rows, second[j : j + AT_ONCE])
            if b is None and i == j:
                np.fill_diagonal(block, 0)  # none meets itself
            found[i : i + AT_ONCE] += block @ weights[j : j + AT_ONCE]
    return found


def statistic(points: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "m d"]) -> Statistic:
    """mean k(x, x') + mean k(y, y') - 2 mean k(x, y) of a subset of points to all of the reference, for the jackknife.

    Over all pairs of different points (no random subsets), so unbiased at any n, and below 0 half of the time for equal laws; a
    point shown twice does not meet itself. Of a subset the pairs are asked that are in it, or, where these are fewer, those of
    the points left out: sum w w' k = sum k - 2 sum u k + sum u u' k with u = 1 - w. Its 95 % interval covers 0.93 to 0.97 of
    the time where laws differ, 0.90 to 0.99 within some standard errors of 0: the statistic is quadratic there, and skew.
    Raises ValueError for fewer than two points in either.
    """
    n, m = len(points), len(reference)
    if m < 2:
        raise ValueError(f"reference: {m} points make no pair; at least 2")
    pairs, across = sums(points, None, np.ones(n)), sums(points, reference, np.ones(m)) / m
    known = sums(reference, None, np.ones(m)).sum() / (m * (m - 1))

    def of_pairs(times: Float[np.ndarray, " n"]) -> float:
        """The kernel of all pairs of different points, each as often as both are shown."""
        (some,) = times.nonzero()
        return float(times[some] @ sums(points[some], None, times[some]))

    def distance(index: Int[np.ndarray, " k"]) -> float:
        times = np.bincount(index, minlength=n).astype(np.float64)
        n_pairs = times.sum() ** 2 - np.square(times).sum()
        if n_pairs == 0:
            raise ValueError(f"points: {len(index)} make no pair; at least 2")
        left = 1 - times
        few = np.count_nonzero(left) > np.count_nonzero(times)
        own = of_pairs(times) if few else pairs.sum() - 2 * (left @ pairs) + of_pairs(left)
        return float(own / n_pairs + known - 2 * (times @ across) / times.sum())

    return distance


def between(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """The distance of two sets of points. Raises ValueError for fewer than two."""
    return statistic(a, b)(np.arange(len(a)))
