"""Over-sharp or over-smooth: power at each spatial frequency, and the variance of the Laplacian."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ..picture_files import LUMA
from ..sizes import by_size, once_each
from ..stats import Statistic
from .base import Context, Metric, UndefinedError, log_ratio

ROUNDING = (2 / 255) ** 2 / 12
"""The power of what rounding to 8 bits does to a picture in [-1, 1], at each frequency: less cannot be seen."""


@dataclass(frozen=True)
class Spectrum(Metric):
    """Log-spectral distance in dB: root mean square over radial bands of 10 log10(mean power of samples / that of the data).

    Each picture's mean is left out; bands are one cycle a picture wide; power below that of rounding to 8 bits counts as that.
    Biased upwards for few samples: read it against the row of fresh data, which has the same n.
    """

    unit = "dB"
    ideal = 0.0
    streams = True
    of_sets = True

    def statistic(self, context: Context) -> Statistic:
        data = context.expected(once_each(bands, context.alike()))
        power = by_size(bands, context.images)

        def distance(index: Int[np.ndarray, " m"]) -> float:
            gaps = decibel(power[index].mean(axis=0)) - decibel(data[index].mean(axis=0))
            return float(np.sqrt(np.square(gaps).mean()))

        return distance


@dataclass(frozen=True)
class Laplacian(Metric):
    """log of the mean variance of the Laplacian of luma over the data's; above 0 is over-sharp, below over-smooth.

    A natural logarithm, the same for any range of values. Luma is of the display values, as they are in picture files.
    """

    unit = "log ratio to data"
    ideal = 0.0
    streams = True

    def statistic(self, context: Context) -> Statistic:
        data = context.expected(once_each(detail, context.alike()))
        return log_ratio(by_size(detail, context.images), data, "detail")


def bands(images: Float[np.ndarray, "n c h w"]) -> Float[np.ndarray, "n bands"]:
    """Power |F|² / (h·w), averaged over channels and over frequencies that round to 1, 2, ... cycles a shorter side.

    White noise has its variance in every band.
    """
    height, width = images.shape[-2:]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    ring = np.rint(radius * min(height, width)).astype(int).ravel()
    power = (np.abs(np.fft.fft2(images)) ** 2).mean(axis=1) / (height * width)
    return np.stack([np.bincount(ring, rows)[1:] for rows in power.reshape(len(images), -1)]) / np.bincount(ring)[1:]


def decibel(power: Float[np.ndarray, " bands"]) -> Float[np.ndarray, " bands"]:
    """10 log10 of the power, at least ROUNDING."""
    return 10 * np.log10(np.maximum(power, ROUNDING))


def detail(images: Float[np.ndarray, "n c h w"]) -> Float[np.ndarray, " n"]:
    """Variance of the Laplacian of each picture's luma. Raises UndefinedError as `luma` does."""
    return laplacian_variance(luma(images))


def luma(images: Float[np.ndarray, "n c h w"]) -> Float[np.ndarray, "n h w"]:
    """Rec. 601 luma; a single channel is itself. Raises UndefinedError for other numbers of channels."""
    if images.shape[1] not in (1, 3):
        raise UndefinedError(f"pictures of {images.shape[1]} channels have no luma")
    return np.tensordot(images, LUMA, (1, 0)) if images.shape[1] == 3 else images[:, 0]


def laplacian_variance(images: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, " n"]:
    """Variance within each picture of the four neighbours less four times the pixel, where all four are inside."""
    centre = images[:, 1:-1, 1:-1]
    around = images[:, :-2, 1:-1] + images[:, 2:, 1:-1] + images[:, 1:-1, :-2] + images[:, 1:-1, 2:]
    return (around - 4 * centre).reshape(len(images), -1).var(axis=1)
