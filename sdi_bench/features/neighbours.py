"""Nearest neighbours among features: the balls that precision, recall, density and coverage are made of."""

import numpy as np
from jaxtyping import Bool, Float

SLACK = 1e-9
"""Of the mean squared distance: by so much a point may lie outside a ball, so that rounding does not decide ties."""


def squared(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """Squared Euclidean distances in float64, as |a|² + |b|² - 2 a·b, never below 0; off by some 1e-15 of |a|² + |b|²."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T).clip(min=0)


def radii(within: Float[np.ndarray, "n n"], k: int) -> Float[np.ndarray, " n"]:
    """Squared distance of each point to its k-th nearest other one, and SLACK; within: of the set to itself, n > k >= 1."""
    return np.partition(within, k, axis=1)[:, k] + SLACK * within.mean()


def inside(gaps: Float[np.ndarray, "n m"], radii: Float[np.ndarray, " m"]) -> Bool[np.ndarray, "n m"]:
    """Whether point i lies in the closed ball j; gaps: squared distances of points to the balls' centres."""
    return gaps <= radii
