"""The Fréchet distance between two sets of features (Heusel et al., arXiv 1706.08500), from points or from moments that merge.

|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^1/2), C unbiased. At finite n it is biased upwards, about as 1/n in either set.
Reported is the plain value, to be held against others of the same n, and its interval is about such values. The points'
share of the bias comes off by stats.jackknife(corrected=True) or stats.extrapolated, where n >> d and it does fall as 1/n;
the reference's share stays.
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..stats import Statistic
from . import weights

AT_ONCE = 128
"""Points that are worked on at once, or a quarter of their dimensions where that is more: little beside a covariance."""


class Moments(NamedTuple):
    """What the distance knows of a set; scatter: the sum of (x - mean)(x - mean)', in float64."""

    n: int
    mean: Float[np.ndarray, " d"]
    scatter: Float[np.ndarray, "d d"]

    @property
    def freedom(self) -> int:
        """By which a scatter is divided, n - 1. Raises ValueError for fewer than two points."""
        if self.n < 2:
            raise ValueError(f"n: {self.n} points have no covariance; at least 2")
        return self.n - 1

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """Unbiased. Raises ValueError for fewer than two points."""
        return self.scatter / self.freedom


def parts(
    points: Float[np.ndarray, "n d"], origin: Float[np.ndarray, " d"], index: Int[np.ndarray, " k"] | None = None
) -> Iterator[Float[np.ndarray, "_part d"]]:
    """points[index] (None: all of them) less the origin in float64, some at a time: no copy is made of all the features."""
    size, n = max(AT_ONCE, points.shape[1] // 4), len(points) if index is None else len(index)
    for start in range(0, n, size):
        some = slice(start, start + size)
        yield points[some if index is None else index[some]] - origin


def moments(points: Float[np.ndarray, "n d"]) -> Moments:
    """Moments of one point or more."""
    mean = points.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((len(mean), len(mean)))
    for part in parts(points, mean):
        scatter += part.T @ part
    return Moments(len(points), mean, scatter)


def merged(a: Moments, b: Moments) -> Moments:
    """Moments of both sets together (Chan, Golub and LeVeque 1983)."""
    n, gap = a.n + b.n, b.mean - a.mean
    return Moments(n, a.mean + gap * b.n / n, a.scatter + b.scatter + np.outer(gap, gap) * (a.n * b.n / n))


def without(whole: Moments, part: Moments) -> Moments:
    """Moments of a set less some of its points: merged(without(whole, part), part) is whole. Raises ValueError."""
    n, gap = whole.n - part.n, part.mean - whole.mean
    if n < 1:
        raise ValueError(f"part: {part.n} points of {whole.n} leave none")
    scatter = whole.scatter - part.scatter
    scatter -= np.outer(gap * (part.n * whole.n / n), gap)
    return Moments(n, whole.mean - gap * part.n / n, scatter)


def root(scatter: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(scatter)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def factor(of: Moments | Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d r"]:
    """F with F F' the covariance, of the fewest columns at hand: n where there are points and n <= d, else d."""
    if not isinstance(of, Moments):
        if not 1 < len(of) <= of.shape[1]:
            return factor(moments(of))
        half, freedom = (of - of.mean(axis=0, dtype=np.float64)).T, len(of) - 1
    else:
        freedom = of.freedom
        try:
            half = np.linalg.cholesky(of.scatter)
        except np.linalg.LinAlgError:  # singular
            half = root(of.scatter)
    half /= np.sqrt(freedom)
    return half


def nuclear(scatter: Float[np.ndarray, "k k"], n: int) -> float:
    """tr (C_a C_b)^1/2 from F'S_a F or a matrix with its nonzero eigenvalues: sum sqrt(eigenvalues / (n - 1)), none complex."""
    return float(np.sqrt(np.linalg.eigvalsh(scatter).clip(min=0) / (n - 1)).sum())


def gram(points: Float[np.ndarray, "k r"]) -> Float[np.ndarray, "k k"]:
    """Products of all pairs about their mean, which have the scatter's nonzero eigenvalues. `points` is overwritten."""
    points -= points.mean(axis=0)
    return points @ points.T


def frechet(a: Moments, b: Moments) -> float:
    """The distance. Raises ValueError for a set of fewer than two."""
    half = factor(b)
    trace = np.trace(a.covariance) + np.trace(b.covariance)
    return float(np.square(a.mean - b.mean).sum() + trace - 2 * nuclear(half.T @ a.scatter @ half, a.n))


def mapped(
    points: Float[np.ndarray, "n d"],
    origin: Float[np.ndarray, " d"],
    half: Float[np.ndarray, "d r"],
    index: Int[np.ndarray, " k"],
) -> Float[np.ndarray, "k r"]:
    """(points[index] - origin)·half."""
    found, start = np.empty((len(index), half.shape[1])), 0
    for part in parts(points, origin, index):
        found[start : start + len(part)] = part @ half
        start += len(part)
    return found


def crossing(points: Float[np.ndarray, "n d"], origin: Float[np.ndarray, " d"], half: Float[np.ndarray, "d r"]) -> Statistic:
    """tr (C_a C_b)^1/2 of a subset of points, C_b = half·half'. Keeps the mapped points, or half and the mapped moments."""
    n, rank = len(points), half.shape[1]
    if n <= rank:
        pairs = mapped(points, origin, half, np.arange(n))
        return lambda index: nuclear(gram(pairs[index]), len(index))
    mean = (points.mean(axis=0, dtype=np.float64) - origin) @ half
    whole = Moments(n, mean, half.T @ moments(points).scatter @ half)

    def crossed(index: Int[np.ndarray, " k"]) -> float:
        if len(index) <= rank:
            return nuclear(gram(mapped(points, origin, half, index)), len(index))
        left = np.flatnonzero(np.bincount(index, minlength=n) == 0)
        if len(left) + len(index) != n or len(left) >= len(index):  # one is shown twice, or most are left out
            return nuclear(moments(mapped(points, origin, half, index)).scatter, len(index))
        some = without(whole, moments(mapped(points, origin, half, left))) if len(left) else whole
        return nuclear(some.scatter, len(index))

    return crossed


def statistic(points: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "m d"] | Moments) -> Statistic:
    """The distance of a subset of points to all of the reference, for the jackknife; the interval is about the points alone.

    Points are mapped by the reference's factor [d, r]. A subset costs the eigenvalues of its moments there, r x r, those of the
    points left out subtracted from the whole's where they are fewer; or where it has no more than r points, of its Gram matrix:
    with m <= d too that is ||A B'||_* / ((n - 1)(m - 1))^1/2 of the centred points. The 95 % interval covers the distance of
    laws where n >> d, else around the corrected point; down to 0.9 where few dimensions are a few standard errors apart:
    squares are skew. Raises ValueError for fewer than two points in either.
    """
    half = factor(reference)
    trace = float(np.vdot(half, half))
    origin = reference.mean if isinstance(reference, Moments) else reference.mean(axis=0, dtype=np.float64)
    crossed = crossing(points, origin, half)

    def distance(index: Int[np.ndarray, " k"]) -> float:
        k, total, squares = len(index), np.zeros(len(origin)), 0.0
        if k < 2:
            raise ValueError(f"points: {k} have no covariance; at least 2")
        for part in parts(points, origin, index):
            total += part.sum(axis=0)
            squares += float(np.vdot(part, part))
        gap = float(total @ total) / k**2
        return gap + (squares - k * gap) / (k - 1) + trace - 2 * crossed(index)

    return distance


def between(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """The distance of two sets of points, by the smallest of n x n, m x m and d x d. Raises ValueError for fewer than two."""
    few, many = (a, b) if len(a) < len(b) else (b, a)
    return statistic(many, few)(np.arange(len(many)))


@cache
def reference(split: str, side: int) -> Moments:
    """Moments of the split ("train" or "val") of the built-in world at side x side pixels (64 or 32), on the basis."""
    found = weights("fd_effnet")
    n, mean, covariance = (found[f"{split}.{side}.{part}"].numpy().astype(np.float64) for part in ("n", "mean", "covariance"))
    return Moments(int(n), mean, covariance * (n - 1))
