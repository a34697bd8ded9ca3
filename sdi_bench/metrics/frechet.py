"""Fréchet distance of the pixels to the data's."""

from dataclasses import dataclass

from ..features import frechet
from ..stats import Statistic
from .base import Context, Metric, UndefinedError


@dataclass(frozen=True)
class Frechet(Metric):
    """|m - m'|² + tr(C + C' - 2 (C C')^1/2) of the pixels' means and unbiased covariances (Heusel et al., arXiv 1706.08500).

    Summed over the pixels, of values in about [-1, 1]. In pixel space, not on network features: it compares two moments only.
    Undefined for fewer samples than twice the pixels: the covariance is not determined.
    """

    unit = "pixel²"
    ideal = 0.0

    def statistic(self, context: Context) -> Statistic:
        y = context.law().reshape(len(context.law()), -1)
        x = context.images.reshape(len(context.images), -1)
        if min(len(x), len(y)) < 2 * x.shape[1]:
            raise UndefinedError(f"{len(x)} samples are too few for {x.shape[1]} pixels")
        return frechet.statistic(x, y)
