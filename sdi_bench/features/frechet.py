"""The Fréchet distance between two sets of EfficientNet-Lite0 features, on a fixed basis of 128 principal directions."""

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from . import weights


class Moments(NamedTuple):
    """What the distance knows of a set."""

    n: int
    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]


def moments(points: Float[np.ndarray, "n d"]) -> Moments:
    """Mean and unbiased covariance."""
    return Moments(len(points), points.mean(axis=0), np.cov(points, rowvar=False))


def root(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def frechet(a: Moments, b: Moments) -> float:
    """|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^1/2), the last as sum sqrt(eig(C_b^1/2 C_a C_b^1/2)): no complex numbers."""
    half = root(b.covariance)
    cross = np.sqrt(np.linalg.eigvalsh(half @ a.covariance @ half).clip(min=0)).sum()
    return float(np.square(a.mean - b.mean).sum() + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross)


@cache
def reference(split: str, side: int) -> Moments:
    """Moments of the split ("train" or "val") of the built-in world at side x side pixels (64 or 32), on the basis."""
    found = weights("fd_effnet")
    n, mean, covariance = (found[f"{split}.{side}.{part}"].numpy().astype(np.float64) for part in ("n", "mean", "covariance"))
    return Moments(int(n), mean, covariance)
