"""Colour: too pale, too vivid, or clipped."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..sizes import Packed, by_size, once_each
from ..stats import Statistic, mean_of
from .base import Context, Metric, log_ratio


@dataclass(frozen=True)
class Saturation(Metric):
    """log (natural) of the mean chroma of pixels over the data's; 0 is as the data, above is more vivid."""

    unit = "log ratio to data"
    ideal = 0.0
    streams = True

    def statistic(self, context: Context) -> Statistic:
        context.rgb()
        data = context.expected(once_each(chroma, context.data()))
        return log_ratio(by_size(chroma, context.images), data, "colour")


@dataclass(frozen=True)
class Clipped(Metric):
    """Share of values more than half an 8-bit step beyond [-1, 1]. No direction: a prior's own kernel puts some there."""

    unit = "share"
    streams = True

    def statistic(self, context: Context) -> Statistic:
        context.rgb()
        raw = context.images if context.raw is None else context.raw
        return mean_of(raw.beyond if isinstance(raw, Packed) else by_size(beyond, raw))


def beyond(images: Float[np.ndarray, "n c h w"]) -> Float[np.ndarray, " n"]:
    """Share of each picture's values more than half an 8-bit step beyond [-1, 1]."""
    return (np.abs(images) > 1 + 1 / 255).mean(axis=(1, 2, 3))


def chroma(images: Float[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, " n"]:
    """Largest less smallest channel, each clipped to [-1, 1] and halved, averaged over pixels: HSV's chroma, in [0, 1]."""
    return np.ptp(images.clip(-1, 1), axis=1).mean(axis=(1, 2)) / 2
