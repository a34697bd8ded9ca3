"""Fréchet distance to the data, through clean-fid."""

from dataclasses import dataclass

import numpy as np

from ..features.inception import clean_fid
from ..stats import Statistic
from .base import Context, Metric, UndefinedError


@dataclass(frozen=True)
class Frechet(Metric):
    """|m - m'|² + tr(C + C' - 2 (C C')^1/2) of the pixels' means and covariances (Heusel et al., arXiv 1706.08500).

    In pixel space, not on network features: it compares two moments only. Computed by clean-fid (arXiv 2104.11222).
    Undefined for fewer samples than twice the pixels (the covariance is not determined) and without the extra `fid`.
    """

    unit = "pixel²"
    ideal = 0.0

    def statistic(self, context: Context) -> Statistic:
        y = context.law().reshape(len(context.law()), -1)
        x = context.images.reshape(len(context.images), -1)
        if min(len(x), len(y)) < 2 * x.shape[1]:
            raise UndefinedError(f"{len(x)} samples are too few for {x.shape[1]} pixels")
        try:
            distance = clean_fid().frechet_distance
        except ValueError as error:
            raise UndefinedError(str(error)) from error
        mean, covariance = y.mean(axis=0), np.cov(y, rowvar=False)

        def frechet(index: np.ndarray) -> float:
            some = x[index]
            return float(distance(some.mean(axis=0), np.cov(some, rowvar=False), mean, covariance))

        return frechet
