"""Sliced Wasserstein-2 distance to the data's law."""

from dataclasses import dataclass

import numpy as np

from ..stats import Statistic
from .base import Context, Metric


@dataclass(frozen=True)
class SlicedW2(Metric):
    """Root mean square over random directions of the 1-D Wasserstein-2 distance (Bonneel et al. 2015), in pixel units.

    Biased upwards for few samples: read it against the row of fresh data, which has the same n.
    n_directions fixed directions, the same for every run.
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

        def sliced(index: np.ndarray) -> float:
            shares = (np.arange(len(index)) + 0.5) / len(index)
            place = shares * len(y) - 0.5
            low = np.clip(np.floor(place).astype(int), 0, len(y) - 2)
            part = np.clip(place - low, 0, 1)[:, None]
            quantiles = y[low] * (1 - part) + y[low + 1] * part
            return float(np.sqrt(np.square(np.sort(x[index], axis=0) - quantiles).mean()))

        return sliced
