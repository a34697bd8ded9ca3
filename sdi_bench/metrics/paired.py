"""Distances to the paired reference: its picture of the same item. Items whose reference has diverged are left out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from jaxtyping import Bool, Float

from ..features.lpips import BATCH, distance, taps
from ..sizes import Packed, Pictures, by_size, sizes
from ..stats import Statistic
from .base import Context, Hits, Metric, UndefinedError, mean_known

LPIPS = "lpips-alex/0.1/clip"
"""Clipped to [-1, 1]; LPIPS v0.1 on AlexNet at the picture's own size."""

PEAK = 10 * math.log10(12 * 255**2)
"""58.9 dB: the PSNR of a picture and its own rounding to 8 bits. Nearer pictures look the same."""

WINDOW, DEVIATION = 11, 1.5
"""Pixels a side of SSIM's Gaussian window, and its standard deviation."""

C1, C2 = 0.01**2, 0.03**2
"""SSIM's constants, (K L)² with K of .01 and .03, for intensities of the range L = 1."""

SMALLEST = 31
"""Pixels a side below which nothing is left for AlexNet's last layers."""

TIE = 1e-6
"""LPIPS distances that differ by less are equal."""


@dataclass(frozen=True)
class Lpips(Metric):
    """Mean LPIPS to the reference's picture of the same item (arXiv 1801.03924); 0 is the same picture."""

    unit = "LPIPS"
    ideal = 0.0
    streams = True
    preprocessing = LPIPS

    def statistic(self, context: Context) -> Statistic:
        context.rgb()
        if shortest(context) < SMALLEST:
            raise UndefinedError(f"a picture is smaller than the {SMALLEST} pixels that the network needs")
        return mean_gap(context, lpips)


@dataclass(frozen=True)
class Ssim(Metric):
    """Mean structural similarity to the reference's picture of the same item, in [-1, 1]; 1 is the same picture.

    Wang et al. (IEEE TIP 13:600, 2004), with their constants and window, on intensities in [0, 1] at the picture's own size.
    They have it for grey pictures: of colour ones it is the mean over channels.
    """

    unit = "SSIM"
    ideal = 1.0
    streams = True
    preprocessing = "clip"

    def statistic(self, context: Context) -> Statistic:
        context.pictures()
        if shortest(context) < WINDOW:
            raise UndefinedError(f"samples are smaller than SSIM's window of {WINDOW} pixels")
        return mean_gap(context, ssim)


@dataclass(frozen=True)
class Psnr(Metric):
    """Mean over items of the PSNR in dB to the reference's picture of the same item, each PEAK (58.9 dB) at most.

    The peak is the range of intensities, 1; the mean square is over all pixels and channels.
    """

    unit = "dB"
    ideal = math.inf
    streams = True
    preprocessing = "clip"

    def statistic(self, context: Context) -> Statistic:
        context.pictures()
        return mean_gap(context, psnr)


@dataclass(frozen=True)
class Rms(Metric):
    """Mean root mean square difference to the reference's picture of the same item, of values in about [-1, 1], as they are.

    Twice that of intensities in [0, 1], the 127.5th part of that of 8-bit ones.
    """

    unit = "rms pixel"
    ideal = 0.0
    streams = True

    def statistic(self, context: Context) -> Statistic:
        return mean_gap(context, rms)


@dataclass(frozen=True)
class SameContent(Metric):
    """Share of samples whose nearest reference picture (LPIPS), among all seeds of the prompt, is that of their own seed.

    Chance is 1 / seeds of the prompt, 1/16 in the benchmark. A tie with another seed is a miss. The pictures to choose from are
    always all of the context's, also for a subset of the samples. Prompts with one reference picture do not count.
    """

    unit = "share"
    ideal = 1.0
    preprocessing = LPIPS

    def statistic(self, context: Context) -> Statistic:
        context.colour_pictures()
        reference, kept = reference_of(context)
        hits = np.full(len(kept), np.nan)
        for rows in mates(context.prompts, kept):
            hits[rows] = retrieved(context.images[rows], reference[rows])
        found = mean_known(hits, "no prompt has two seeds in the reference")
        return found if np.isnan(hits).any() else Hits(hits)


def reference_of(context: Context) -> tuple[Pictures, Bool[np.ndarray, " n"]]:
    """The reference's picture of each item, and which of them have not diverged. Raises UndefinedError if there is none."""
    if context.paired is None:
        raise UndefinedError("no paired reference")
    if isinstance(context.paired, Packed):
        return context.paired, ~context.paired.lost
    return context.paired, np.array([np.isfinite(picture).all() for picture in context.paired])


def shortest(context: Context) -> int:
    """The shortest side of all samples, in pixels."""
    return min(side for size in sizes(context.images) for side in size)


def mean_gap(context: Context, gap: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Statistic:
    """Mean of gap(samples, reference) over items whose reference has not diverged. Raises UndefinedError if there are none."""
    reference, kept = reference_of(context)
    values = np.full(len(kept), np.nan)
    if kept.any():
        values[kept] = by_size(gap, context.images[kept], reference[kept])
    return mean_known(values, "the reference of every item has diverged")


def mates(prompts: Sequence[str | None], kept: Bool[np.ndarray, " n"]) -> list[np.ndarray]:
    """The places of the kept items of each prompt that has at least two."""
    places: dict[str | None, list[int]] = {}
    for i in np.flatnonzero(kept).tolist():
        places.setdefault(prompts[i], []).append(i)
    return [np.array(some) for some in places.values() if len(some) > 1]


def rms(a: Float[np.ndarray, "n *shape"], b: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, " n"]:
    """Root mean square difference of each pair."""
    return np.sqrt(np.square((a - b).reshape(len(a), -1)).mean(axis=1))


def lpips(a: Float[np.ndarray, "n 3 h w"], b: Float[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, " n"]:
    """LPIPS of each pair, some pairs at a time: the network's vectors are 130 kB a picture of 64 x 64, and grow with it."""
    step = max(1, min(BATCH, BATCH * 64**2 // (a.shape[2] * a.shape[3])))
    return np.concatenate([distance(a[i : i + step], b[i : i + step]) for i in range(0, len(a), step)])


def psnr(a: Float[np.ndarray, "n c h w"], b: Float[np.ndarray, "n c h w"]) -> Float[np.ndarray, " n"]:
    """10 log10(1 / mean squared difference of intensities) of each pair of pictures in [-1, 1], PEAK at most."""
    return -10 * np.log10(np.maximum(np.square(rms(intensities(a), intensities(b))), 10 ** (-PEAK / 10)))


def ssim(a: Float[np.ndarray, "n c h w"], b: Float[np.ndarray, "n c h w"]) -> Float[np.ndarray, " n"]:
    """SSIM of each pair of pictures in [-1, 1]: eq. 13 of Wang et al. (2004) on intensities, in float64.

    Its mean over channels and over the places where the whole window lies in the picture, as in the authors' ssim_index.m.
    """
    return np.array([similarity(intensities(x), intensities(y)) for x, y in zip(a, b, strict=True)])


def similarity(x: Float[np.ndarray, "c h w"], y: Float[np.ndarray, "c h w"]) -> float:
    """SSIM of two pictures of intensities in [0, 1]."""

    def local(values: Float[np.ndarray, "c h w"]) -> Float[np.ndarray, "c i j"]:
        rim = WINDOW // 2
        return scipy.ndimage.gaussian_filter(values, DEVIATION, radius=rim, axes=(1, 2))[:, rim:-rim, rim:-rim]

    p, q = local(x), local(y)
    xx, yy, xy = local(x * x) - p * p, local(y * y) - q * q, local(x * y) - p * q
    return float(((2 * p * q + C1) * (2 * xy + C2) / ((p * p + q * q + C1) * (xx + yy + C2))).mean())


def intensities(images: Float[np.ndarray, "*n c h w"]) -> Float[np.ndarray, "*n c h w"]:
    """Pictures in [-1, 1] as they are shown: clipped, and in [0, 1]."""
    return (np.asarray(images, dtype=np.float64).clip(-1, 1) + 1) / 2


def retrieved(images: Float[np.ndarray, "n 3 h w"], reference: Float[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, " n"]:
    """1 where picture i is nearer to reference i than to all others by more than TIE, in LPIPS; else 0. n >= 2."""
    a, b = (torch.as_tensor(taps(pictures)).double() for pictures in (images, reference))
    gaps = torch.cdist(a, b).square().numpy()
    own = gaps.diagonal().copy()
    np.fill_diagonal(gaps, np.inf)
    return (own < gaps.min(axis=1) - TIE).astype(np.float64)
