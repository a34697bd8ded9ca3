"""Kernel distance: the squared MMD of two sets of features, unbiased (Binkowski et al., arXiv 1801.01401; known as KID)."""

import numpy as np
from jaxtyping import Float, Int

from ..stats import Statistic


def kernel(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """(x·y / d + 1)³ in float64."""
    gram = a.astype(np.float64) @ b.T.astype(np.float64)
    gram /= a.shape[1]
    gram += 1
    cube = gram * gram
    cube *= gram
    return cube


def others(points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n n"]:
    """The kernel of all pairs, 0 where a point would meet itself."""
    found = kernel(points, points)
    np.fill_diagonal(found, 0)
    return found


def statistic(points: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "m d"]) -> Statistic:
    """mean k(x, x') + mean k(y, y') - 2 mean k(x, y) of a subset of points to all of the reference, for the jackknife.

    Over all pairs of different points (no random subsets), so unbiased at any n, and below 0 half of the time for equal laws; a
    point shown twice does not meet itself. Its 95 % interval covers 0.93 to 0.97 of the time where laws differ, 0.90 to 0.99
    within some standard errors of 0: the statistic is quadratic there, and skew. Keeps an n x n matrix. Raises ValueError for
    fewer than two points in either.
    """
    if len(reference) < 2:
        raise ValueError(f"reference: {len(reference)} points make no pair; at least 2")
    pairs, across = others(points), kernel(points, reference).mean(axis=1)
    known = others(reference).sum() / (len(reference) * (len(reference) - 1))

    def distance(index: Int[np.ndarray, " k"]) -> float:
        times = np.bincount(index, minlength=len(points)).astype(np.float64)
        n_pairs = times.sum() ** 2 - np.square(times).sum()
        if n_pairs == 0:
            raise ValueError(f"points: {len(index)} make no pair; at least 2")
        return float(times @ pairs @ times / n_pairs + known - 2 * (times @ across) / times.sum())

    return distance


def between(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """The distance of two sets of points. Raises ValueError for fewer than two."""
    return statistic(a, b)(np.arange(len(a)))
