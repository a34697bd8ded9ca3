"""A denoiser of low noise that knows no prompt and is the same everywhere: mixtures of Gaussians over patches, on a pyramid."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..data.shipped import shipped

COARSE = (0.05, 0.1)
"""A coarser scale has its say from the first of these noise levels, as that scale has it, and all of it from the second."""

CHUNK = 1024
"""Patches that are compared at once: what fits a core's cache."""


def ramp(sigma: float, ends: tuple[float, float]) -> float:
    """0 below the first of the ends, 1 above the second, between them linear in log sigma."""
    low, high = ends
    if sigma <= low or sigma >= high:
        return float(sigma >= high)
    return float(np.log(sigma / low) / np.log(high / low))


@dataclass(frozen=True)
class PatchMixture:
    """The law of a patch of d = channels x side x side pixels, its side odd: sum_k weights_k·N(means_k, covariances_k).

    The middle pixel is denoised by its posterior mean given the noisy patch around it (Zoran and Weiss, ICCV 2011; of every
    patch the one pixel that is seen from all sides); beyond the edge a picture goes on as it ends.
    """

    weights: Float[np.ndarray, " k"]
    means: Float[np.ndarray, "k d"]
    covariances: Float[np.ndarray, "k d d"]
    channels: int = 3

    @property
    def side(self) -> int:
        """Of a patch, in pixels."""
        return round((self.means.shape[1] / self.channels) ** 0.5)

    @cached_property
    def _maps(self) -> Callable[[float, float, torch.device, torch.dtype], tuple[Tensor, ...]]:
        spectra, axes = np.linalg.eigh(self.covariances)
        middle = np.arange(self.channels) * self.side**2 + self.side**2 // 2

        @lru_cache(maxsize=512)
        def maps(a: float, b: float, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
            v = a * a * spectra + b * b
            whiten = axes / np.sqrt(v)[:, None]  # whiten·whiten^T is the inverse of a²·covariance + b²
            pull = np.einsum("kde,kce->kdc", whiten, whiten[:, middle])
            shift, offset = (a * np.einsum("kd,kde->ke", self.means, part) for part in (whiten, pull))
            log = np.log(self.weights) - np.log(v).sum(1) / 2
            flat = [part.transpose(0, 2, 1).reshape(-1, v.shape[1]) for part in (whiten, pull)]
            parts = (*flat, *(part.reshape(-1, 1) for part in (-shift, -offset, log)))
            return tuple(torch.from_numpy(np.ascontiguousarray(part)).to(device, dtype) for part in parts)

        return maps

    def eps(self, x: Float[Tensor, "channels height width"], a: float, b: float) -> Float[Tensor, "channels height width"]:
        """The noise in x = a·x0 + b·eps: b times the mean of (a²·covariance + b²)^-1·(x - a·mean) over k, middle pixels."""
        whiten, pull, shift, offset, log = self._maps(a, b, x.device, x.dtype)
        half, k = self.side // 2, len(self.weights)
        padded = functional.pad(x[None], (half, half, half, half), mode="replicate")
        found = []
        for patches in functional.unfold(padded, self.side)[0].split(CHUNK, dim=1):  # [d, pixels], along which a core goes
            distances = torch.addmm(shift, whiten, patches).square_().unflatten(0, (k, -1)).sum(1)
            shares = torch.sub(log, distances, alpha=0.5).softmax(0)
            pulls = torch.addmm(offset, pull, patches).unflatten(0, (k, -1))
            found.append((shares[:, None] * pulls).sum(0))
        return b * torch.cat(found, 1).reshape(x.shape)


@dataclass(frozen=True)
class PatchPyramid:
    """Patch mixtures of a picture and of its means over 2 x 2, 4 x 4, ... pixels; the coarser ones see farther.

    What a coarser scale says of the means replaces what the finer one said of them.

    scales: pixels along a side -> the mixture there.
    """

    scales: Mapping[int, PatchMixture]

    @property
    def fingerprint(self) -> str:
        """A hash of the mixtures."""
        digest = hashlib.sha256()
        for size, law in sorted(self.scales.items()):
            digest.update(b"".join([str(size).encode(), law.weights.tobytes(), law.means.tobytes(), law.covariances.tobytes()]))
        return digest.hexdigest()

    def eps(self, x: Float[Tensor, "channels size size"], a: float, b: float) -> Float[Tensor, "channels size size"]:
        """The noise in x = a·x0 + b·eps."""
        fine, size = self.scales[x.shape[-1]].eps(x, a, b), x.shape[-1] // 2
        share = ramp(b / a / 2, COARSE) if size in self.scales else 0.0
        if share == 0:
            return fine
        seen = functional.avg_pool2d(torch.stack([x, fine]), 2)
        # the mean of 2 x 2 has half the noise: there x is a·x0 + (b/2)·(unit noise of its own)
        better = self.eps(seen[0], a, b / 2) / 2 - seen[1]
        return fine + share * functional.interpolate(better[None], scale_factor=2, mode="bilinear", align_corners=False)[0]


@cache
def shipped_pyramid() -> PatchPyramid:
    """Of the built-in world's training pictures (python -m sdi_bench.data.build.patches)."""
    with np.load(shipped("weights/patch_mixture.npz")) as kept:
        scales = sorted({int(name.split("_")[1]) for name in kept})
        return PatchPyramid({size: unpacked(kept, size) for size in scales})


def unpacked(kept: Mapping[str, np.ndarray], size: int) -> PatchMixture:
    """A scale of the shipped file: covariances as their lower triangles."""
    weights, means, packed = (kept[f"{name}_{size}"].astype(float) for name in ("weights", "means", "covariances"))
    covariances = np.zeros((*means.shape, means.shape[1]))
    rows, columns = np.tril_indices(means.shape[1])
    covariances[:, rows, columns] = covariances[:, columns, rows] = packed
    return PatchMixture(weights, means, covariances)
