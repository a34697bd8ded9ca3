"""The Fréchet distance between two sets of features (Heusel et al., arXiv 1706.08500), from points or from moments that merge.

|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^1/2), C unbiased. At finite n it is biased upwards, about as 1/n in either set.
Reported is the plain value, to be held against others of the same n, and its interval is about such values. The points'
share of the bias comes off by stats.jackknife(corrected=True) or stats.extrapolated, where n >> d and it does fall as 1/n;
the reference's share stays.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..stats import Statistic
from . import weights


class Moments(NamedTuple):
    """What the distance knows of a set; scatter: the sum of (x - mean)(x - mean)', in float64."""

    n: int
    mean: Float[np.ndarray, " d"]
    scatter: Float[np.ndarray, "d d"]

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """Unbiased. Raises ValueError for fewer than two points."""
        if self.n < 2:
            raise ValueError(f"n: {self.n} points have no covariance; at least 2")
        return self.scatter / (self.n - 1)


def moments(points: Float[np.ndarray, "n d"]) -> Moments:
    """Moments of one point or more."""
    mean = points.mean(axis=0, dtype=np.float64)
    centred = points - mean
    return Moments(len(points), mean, centred.T @ centred)


def merged(a: Moments, b: Moments) -> Moments:
    """Moments of both sets together (Chan, Golub and LeVeque 1983)."""
    n, gap = a.n + b.n, b.mean - a.mean
    return Moments(n, a.mean + gap * b.n / n, a.scatter + b.scatter + np.outer(gap, gap) * (a.n * b.n / n))


def without(whole: Moments, part: Moments) -> Moments:
    """Moments of a set less some of its points: merged(without(whole, part), part) is whole. Raises ValueError."""
    n, gap = whole.n - part.n, part.mean - whole.mean
    if n < 1:
        raise ValueError(f"part: {part.n} points of {whole.n} leave none")
    return Moments(n, whole.mean - gap * part.n / n, whole.scatter - part.scatter - np.outer(gap, gap) * (part.n * whole.n / n))


def subset(points: Float[np.ndarray, "n d"], whole: Moments, index: Int[np.ndarray, " k"]) -> Moments:
    """Moments of points[index], those of the others subtracted from the whole's where they are fewer."""
    left = np.setdiff1d(np.arange(len(points)), index)
    if len(left) + len(index) != len(points) or len(left) >= len(index):
        return moments(points[index])
    return without(whole, moments(points[left])) if len(left) else whole


def root(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def factor(of: Moments | Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d r"]:
    """F with F F' the covariance, of the fewest columns at hand: n where there are points and n < d, else d."""
    if isinstance(of, Moments):
        try:
            return np.linalg.cholesky(of.covariance)
        except np.linalg.LinAlgError:  # singular
            return root(of.covariance)
    if 1 < len(of) < of.shape[1]:
        return (of - of.mean(axis=0, dtype=np.float64)).T / np.sqrt(len(of) - 1)
    return factor(moments(of))


def nuclear(scatter: Float[np.ndarray, "k k"], n: int) -> float:
    """tr (C_a C_b)^1/2 from F'S_a F or a matrix with its nonzero eigenvalues: sum sqrt(eigenvalues / (n - 1)), none complex."""
    return float(np.sqrt(np.linalg.eigvalsh(scatter).clip(min=0) / (n - 1)).sum())


def frechet(a: Moments, b: Moments) -> float:
    """The distance. Raises ValueError for a set of fewer than two."""
    half = factor(b)
    trace = np.trace(a.covariance) + np.trace(b.covariance)
    return float(np.square(a.mean - b.mean).sum() + trace - 2 * nuclear(half.T @ a.scatter @ half, a.n))


def statistic(points: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "m d"] | Moments) -> Statistic:
    """The distance of a subset of points to all of the reference, for the jackknife; the interval is about the points alone.

    Points are mapped by the reference's factor [d, r] once. Then a subset costs the eigenvalues of its moments there, r x r,
    those left out subtracted from the whole's; or where it is smaller than r, of its Gram matrix: with m < d too that is
    ||A B'||_* / ((n - 1)(m - 1))^1/2 of the centred points. The 95 % interval covers the distance of laws where n >> d, else
    around the corrected point; down to 0.9 where few dimensions are a few standard errors apart: squares are skew. Raises
    ValueError for fewer than two points in either.
    """
    half = factor(reference)
    trace = float(np.square(half).sum())
    gaps = points - (reference.mean if isinstance(reference, Moments) else reference.mean(axis=0, dtype=np.float64))
    mapped = gaps @ half
    whole = moments(mapped) if len(points) > half.shape[1] else None

    def distance(index: Int[np.ndarray, " k"]) -> float:
        k, centre = len(index), gaps[index].mean(axis=0)
        if k < 2:
            raise ValueError(f"points: {k} have no covariance; at least 2")
        spread = float(np.square(gaps[index] - centre).sum()) / (k - 1)
        if whole is None or k <= half.shape[1]:
            some = mapped[index] - centre @ half
            cross = nuclear(some @ some.T, k)
        else:
            cross = nuclear(subset(mapped, whole, index).scatter, k)
        return float(np.square(centre).sum() + spread + trace - 2 * cross)

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
