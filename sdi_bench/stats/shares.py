"""Shares of items that are hits."""

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.special import stdtrit

from .intervals import FEWEST, Estimate

PSEUDO = 0.25
"""Of a cluster of hits, and as much of misses, that deff is computed with: by simulation the least that covers rare hits."""


def effective(hits: Float[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"]) -> float:
    """n / deff; deff >= 1 is the variance of the mean of whole clusters over that of as many single items.

    The variance is the jackknife's, linearised, of the clusters and PSEUDO more of mean size. Few hits say little of how they
    cluster: those make deff what it is when items of a cluster agree, and nearly all of it where every item agrees. So where
    all are 0 or all are 1, deff is the mean size and n / deff the number of clusters: as one item from each would say.
    """
    _, rank = np.unique(clusters, return_inverse=True)
    sizes, sums = np.bincount(rank).astype(float), np.bincount(rank, hits)
    n, size = len(hits) + 2 * PSEUDO * sizes.mean(), sizes.mean()
    p = (sums.sum() + PSEUDO * size) / n
    squares = np.square(sums - p * sizes).sum() + PSEUDO * size**2 * ((1 - p) ** 2 + p**2)
    count = len(sizes) + 2 * PSEUDO
    deff = count / (count - 1) * squares / n**2 / (p * (1 - p) / (n - 1))
    return len(hits) / max(1.0, float(deff))


def share(
    hits: Float[np.ndarray, " n"] | Bool[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"], confidence: float = 0.95
) -> Estimate:
    """The share of hits, with Wilson's score interval (1927) at an effective number of items (Franco et al. 2019).

    Student's t of clusters - 1 instead of the normal; inside [0, 1] and never a point, also where all are hits or none is.
    Fewer than FEWEST clusters give the value alone. Covers 0.94 to 0.98 where a dozen clusters have hits and a dozen misses;
    with fewer to 0.99, but 0.92 where clusters are single items and one hit is expected: a count has few values. clusters: a
    label per item. Raises ValueError for hits other than 0 and 1.
    """
    values = hits.astype(np.float64)
    if not np.isin(values, (0, 1)).all():
        raise ValueError(f"hits: {values[~np.isin(values, (0, 1))][0]:g} is neither 0 nor 1")
    point, count = float(values.mean()), len(np.unique(clusters))
    if count < FEWEST:
        return Estimate(point, np.nan, np.nan)
    n, t = effective(values, clusters), float(stdtrit(count - 1, (1 + confidence) / 2))
    centre = (point + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * float(np.sqrt(point * (1 - point) / n + t**2 / (4 * n**2)))
    return Estimate(point, max(min(centre - half, point), 0.0), min(max(centre + half, point), 1.0))
