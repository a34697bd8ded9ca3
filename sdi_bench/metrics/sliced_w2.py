"""Sliced Wasserstein-2 distance to the data's law."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..stats import Statistic
from .base import Context, Metric


@dataclass(frozen=True)
class SlicedW2(Metric):
    """Root mean square over random directions of the 1-D Wasserstein-2 distance (Bonneel et al. 2015), of samples and data.

    For directions of length 1 and values in about [-1, 1]: a shift of every pixel by s is s away on average. Biased upwards for
    few samples: read it against the row of fresh data, which has the same n. n_directions fixed directions, for every run.
    """

    n_directions: int = 128
    unit = "pixel"
    ideal = 0.0

    def statistic(self, context: Context) -> Statistic:
        y = context.law().reshape(len(context.law()), -1)
        x = context.images.reshape(len(context.images), -1)
        directions = np.random.default_rng(0).standard_normal((x.shape[1], self.n_directions))
        directions /= np.linalg.norm(directions, axis=0)
        x, y = x @ directions, np.sort(y @ directions, axis=0)
        return lambda index: float(np.sqrt(squared_w2(np.sort(x[index], axis=0), y).mean()))


def squared_w2(x: Float[np.ndarray, "n k"], y: Float[np.ndarray, "m k"]) -> Float[np.ndarray, " k"]:
    """The integral over (0, 1) of (F⁻¹ - G⁻¹)², F and G the laws of x's and y's columns, each sorted; both are steps."""
    n, m = len(x), len(y)
    ends = np.union1d(m * np.arange(1, n + 1), n * np.arange(1, m + 1))  # of the steps, in units of 1 / (n m)
    return np.diff(ends, prepend=0) @ np.square(x[(ends - 1) // m] - y[(ends - 1) // n]) / (n * m)
