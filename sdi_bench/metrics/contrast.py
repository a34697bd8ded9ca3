"""Contrast: too low when samples are washed out, too high when they are over-saturated."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..sizes import by_size, once_each
from ..stats import Statistic
from .base import Context, Metric, blank, log_ratio


@dataclass(frozen=True)
class Contrast(Metric):
    """log of (standard deviation of the pixels within an image, averaged over images) over the data's; 0 is as the data.

    Over all values of all channels, divided by their number (no n - 1); a natural logarithm, the same for any range of values.
    """

    unit = "log ratio to data"
    ideal = 0.0
    streams = True

    def statistic(self, context: Context) -> Statistic:
        context.pictures()
        data = context.expected(once_each(contrast, context.data()))
        return log_ratio(by_size(contrast, context.images), data, "contrast")


def contrast(images: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, " n"]:
    """Standard deviation of the pixels of each image; 0 for one of one colour."""
    return np.where(blank(images), 0.0, images.reshape(len(images), -1).std(axis=1))
