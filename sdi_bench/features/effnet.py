"""EfficientNet-Lite0 (arXiv 1905.11946, without squeeze-and-excitation and swish), ImageNet-1k, up to its pooled features."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..data.shipped import sums
from . import weights
from .cache import cached

PREPROCESSING = "effnet-lite0/128/bicubic"
"""Clipped to [-1, 1], resized to 128 x 128 by antialiased bicubic interpolation, (x·255 - 127) / 128 with x in [0, 1]."""

SIDE, WIDTH, BATCH = 128, 1280, 32

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, kernel, stride, expansion, channels."""

KEPT_BYTES = 2**27
"""Features remembered, at most (and those of the last images always): several metrics look at the same samples."""


class Same(nn.Conv2d):
    """A convolution with TensorFlow's padding: ceil(size / stride) outputs, an odd pixel of padding goes right and below."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        gaps = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in (x.shape[3], x.shape[2])]
        return super().forward(functional.pad(x, [side for gap in gaps for side in (gap // 2, gap - gap // 2)]))


class Block(nn.Module):
    """Expand, filter each channel, project; added to its input where shapes agree. Batch norms are folded into the weights."""

    def __init__(self, kernel: int, stride: int, expansion: int, n_in: int, n_out: int) -> None:
        super().__init__()
        wide = n_in * expansion
        first = [Same(n_in, wide, 1), nn.ReLU6()] if expansion > 1 else []
        self.layers = nn.Sequential(*first, Same(wide, wide, kernel, stride, groups=wide), nn.ReLU6(), Same(wide, n_out, 1))
        self.add = stride == 1 and n_in == n_out

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        return x + self.layers(x) if self.add else self.layers(x)


def blocks() -> Iterator[Block]:
    """All blocks in order."""
    n_in = 32
    for n, kernel, stride, expansion, n_out in STAGES:
        for i in range(n):
            yield Block(kernel, stride if i == 0 else 1, expansion, n_in, n_out)
            n_in = n_out


def trunk() -> nn.Sequential:
    """The network without weights: pictures in its own scale -> [n, 1280, h / 32, w / 32]."""
    return nn.Sequential(Same(3, 32, 3, 2), nn.ReLU6(), *blocks(), Same(320, WIDTH, 1), nn.ReLU6())


@cache
def loaded(device: str) -> nn.Sequential:
    """The network with the shipped weights."""
    net = trunk()
    net.load_state_dict(weights("effnet"))
    return net.requires_grad_(False).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def preprocessed(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 128 128"]:
    """What PREPROCESSING says; images in [-1, 1]."""
    sized = functional.interpolate(images.clamp(-1, 1), (SIDE, SIDE), mode="bicubic", antialias=True).clamp(-1, 1)
    return (sized * 127.5 + 0.5) / 128


def pooled(images: Float[np.ndarray, "n 3 h w"], device: str = "cpu") -> Float[np.ndarray, "n 1280"]:
    """float32 features of pictures in [-1, 1], averaged over places. The same bits for the same images on the same device."""
    net, parts = loaded(device), [np.empty((0, WIDTH), np.float32)]
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for start in range(0, len(images), BATCH):
            batch = torch.as_tensor(images[start : start + BATCH], dtype=torch.float32, device=device)
            parts.append(net(preprocessed(batch)).mean(dim=(2, 3)).cpu().numpy())
    return np.concatenate(parts)


def features(images: Float[np.ndarray, "n 3 h w"], device: str = "cpu") -> Float[np.ndarray, "n 1280"]:
    """pooled(), read-only; in memory while the same images are asked for again, and each picture's on disk (cache.py)."""
    single = np.ascontiguousarray(images, dtype=np.float32)
    key = f"{device} {single.shape} {hashlib.blake2b(single.tobytes()).hexdigest()}"
    if key in KEPT:
        found = KEPT.pop(key)
    else:
        name = f"{PREPROCESSING}/{device}/{sums()['weights/effnet.safetensors']}"
        found = cached(name, single, lambda missing: pooled(missing, device))
    found.setflags(write=False)
    KEPT[key] = found
    while len(KEPT) > 1 and sum(array.nbytes for array in KEPT.values()) > KEPT_BYTES:
        del KEPT[next(iter(KEPT))]
    return found


KEPT: dict[str, np.ndarray] = {}
"""Features by the hash of the images, oldest first."""


def onto(
    features: Float[np.ndarray, "n 1280"], mean: Float[np.ndarray, " 1280"], basis: Float[np.ndarray, "1280 d"]
) -> Float[np.ndarray, "n d"]:
    """(features - mean)·basis in float64."""
    return (features.astype(np.float64) - mean) @ basis.astype(np.float64)


def projected(features: Float[np.ndarray, "n 1280"]) -> Float[np.ndarray, "n 128"]:
    """Features on the shipped basis: principal directions of the features of the built-in world's train images."""
    found = weights("fd_effnet")
    return onto(features, found["mean"].numpy(), found["basis"].numpy())


@dataclass(frozen=True)
class Effnet:
    """EfficientNet-Lite0's pooled features: all 1,280, or on the 128 principal directions of the world's train images."""

    principal: bool = False

    @property
    def preprocessing(self) -> str:
        return f"{PREPROCESSING}/pca128" if self.principal else PREPROCESSING

    @property
    def floor(self) -> int:
        return 1280 if self.principal else 2048

    def __call__(self, images: Float[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n d"]:
        found = features(images)
        return projected(found) if self.principal else found
