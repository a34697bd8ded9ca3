"""Sharpness: the share of an image's power at high spatial frequencies."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..sizes import by_size, once_each
from ..stats import Statistic
from .base import Context, Metric, log_ratio

ROUNDING = 1e-20
"""Of the mean's power: what is less is the rounding of a flat picture. One level of 255 in one pixel at 4096² is 1e-12."""


@dataclass(frozen=True)
class Sharpness(Metric):
    """log of (share of the power spectrum above half the Nyquist frequency) over the data's; below 0 is over-smoothed.

    A natural logarithm, the same for any range of values.
    """

    unit = "log ratio to data"
    ideal = 0.0
    streams = True

    def statistic(self, context: Context) -> Statistic:
        data = context.expected(once_each(high_frequency_share, context.alike()))
        return log_ratio(by_size(high_frequency_share, context.images), data, "detail")


def high_frequency_share(images: Float[np.ndarray, "n c h w"]) -> Float[np.ndarray, " n"]:
    """Power at |frequency| > 1/4 cycle a pixel over all power but the mean's; in [0, 1], 0 for an image of one colour."""
    height, width = images.shape[-2:]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    power = (np.abs(np.fft.rfft2(images)) ** 2).sum(axis=1)
    power[..., 1 : (width + 1) // 2] *= 2  # these columns stand for those of negative frequency, too
    least = ROUNDING * power[:, 0, 0]
    power *= radius > 0
    high, whole = (power * (radius > 0.25)).sum(axis=(1, 2)), power.sum(axis=(1, 2))
    return np.divide(high, whole, out=np.zeros_like(whole), where=whole > least)
