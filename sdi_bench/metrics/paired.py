"""Distances to the paired reference: its picture of the same item. Items whose reference has diverged are left out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from ..features.lpips import BATCH, distance, taps
from ..sizes import Pictures, by_size
from ..stats import Statistic
from .base import Context, Hits, Metric, UndefinedError

LPIPS = "lpips-alex/0.1/clip"
"""Clipped to [-1, 1]; LPIPS v0.1 on AlexNet at the picture's own size."""

PEAK = 10 * math.log10(12 * 255**2)
"""58.9 dB: the PSNR of a picture and its own rounding to 8 bits. Nearer pictures look the same."""

WINDOW = 11
"""Pixels a side of SSIM's Gaussian window, of standard deviation 1.5."""

SMALLEST = 31
"""Pixels a side below which nothing is left for AlexNet's last layers."""

TIE = 1e-6
"""LPIPS distances that differ by less are equal."""


@dataclass(frozen=True)
class Lpips(Metric):
    """Mean LPIPS to the reference's picture of the same item (arXiv 1801.03924); 0 is the same picture."""

    unit = "LPIPS"
    ideal = 0.0
    preprocessing = LPIPS

    def statistic(self, context: Context) -> Statistic:
        context.rgb()
        if shortest(context) < SMALLEST:
            raise UndefinedError(f"a picture is smaller than the {SMALLEST} pixels that the network needs")
        return mean_gap(context, lpips)


@dataclass(frozen=True)
class Ssim(Metric):
    """Mean structural similarity to the reference's picture of the same item (Wang et al. 2004); 1 is the same picture."""

    unit = "SSIM"
    ideal = 1.0
    preprocessing = "clip"

    def statistic(self, context: Context) -> Statistic:
        context.pictures()
        if shortest(context) < WINDOW:
            raise UndefinedError(f"samples are smaller than SSIM's window of {WINDOW} pixels")
        return mean_gap(context, ssim)


@dataclass(frozen=True)
class Psnr(Metric):
    """Mean over items of the PSNR to the reference's picture of the same item, each PEAK (58.9 dB) at most."""

    unit = "dB"
    ideal = math.inf
    preprocessing = "clip"

    def statistic(self, context: Context) -> Statistic:
        context.pictures()
        return mean_gap(context, psnr)


@dataclass(frozen=True)
class Rms(Metric):
    """Mean root mean square difference to the reference's picture of the same item."""

    unit = "rms pixel"
    ideal = 0.0

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
        if np.isnan(hits).all():
            raise UndefinedError("no prompt has two seeds in the reference")
        return mean_where(hits, ~np.isnan(hits)) if np.isnan(hits).any() else Hits(hits)


def reference_of(context: Context) -> tuple[Pictures, Bool[np.ndarray, " n"]]:
    """The reference's picture of each item, and which of them have not diverged. Raises UndefinedError if there is none."""
    if context.paired is None:
        raise UndefinedError("no paired reference")
    return context.paired, np.array([np.isfinite(picture).all() for picture in context.paired])


def shortest(context: Context) -> int:
    """The shortest side of all samples, in pixels."""
    return min(side for image in context.images for side in image.shape[1:])


def mean_where(values: Float[np.ndarray, " n"], known: Bool[np.ndarray, " n"]) -> Statistic:
    """The mean of the known values as a statistic; NaN where a subset has none."""
    return lambda index: float(values[index[known[index]]].mean()) if known[index].any() else math.nan


def mean_gap(context: Context, gap: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Statistic:
    """Mean of gap(samples, reference) over items whose reference has not diverged. Raises UndefinedError for fewer than two."""
    reference, kept = reference_of(context)
    if kept.sum() < 2:
        raise UndefinedError("fewer than two items to compare")
    values = np.full(len(kept), np.nan)
    values[kept] = by_size(gap, context.images[kept], reference[kept])
    return mean_where(values, kept)


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
    """10 log10(4 / mean squared difference) of each pair of pictures, clipped to [-1, 1], PEAK at most."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    found = peak_signal_noise_ratio(shown(a), shown(b), data_range=2.0, reduction="none", dim=(1, 2, 3))
    return found.clamp(max=PEAK).numpy()


def ssim(a: Float[np.ndarray, "n c h w"], b: Float[np.ndarray, "n c h w"]) -> Float[np.ndarray, " n"]:
    """SSIM of each pair of pictures, clipped to [-1, 1]: mean over channels and over places where the window is inside.

    In float32, where it is ten times as fast: off by 2e-4 at most (windows of one bright colour), else some 1e-6.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    rim, found = WINDOW // 2, []
    for i in range(0, len(a), BATCH):
        pair = shown(a[i : i + BATCH], torch.float32), shown(b[i : i + BATCH], torch.float32)
        _, places = structural_similarity_index_measure(*pair, data_range=2.0, reduction="none", return_full_image=True)
        found.append(places[..., rim:-rim, rim:-rim].double().mean(dim=(1, 2, 3)).numpy())
    return np.concatenate(found)


def shown(images: Float[np.ndarray, "n c h w"], dtype: torch.dtype = torch.float64) -> Float[torch.Tensor, "n c h w"]:
    """Clipped to [-1, 1]."""
    return torch.as_tensor(images, dtype=dtype).clamp(-1, 1)


def retrieved(images: Float[np.ndarray, "n 3 h w"], reference: Float[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, " n"]:
    """1 where picture i is nearer to reference i than to all others by more than TIE, in LPIPS; else 0. n >= 2."""
    a, b = (torch.as_tensor(taps(pictures)).double() for pictures in (images, reference))
    gaps = torch.cdist(a, b).square().numpy()
    own = gaps.diagonal().copy()
    np.fill_diagonal(gaps, np.inf)
    return (own < gaps.min(axis=1) - TIE).astype(np.float64)
