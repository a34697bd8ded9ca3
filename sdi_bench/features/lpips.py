"""LPIPS v0.1 on AlexNet (Zhang et al., arXiv 1801.03924), with its own backbone and linear heads, rounded to float16.

Of pictures in [-1, 1], as the authors' code has it unless told `normalize`, at their own size.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from . import weights

CONVOLUTIONS = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
"""Channels in and out, kernel, stride, padding. A 3 x 3 maximum of stride 2 before the second and the third."""

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
BATCH = 64


class Alex(nn.Module):
    """Pictures in [-1, 1] -> vectors whose squared Euclidean distance is LPIPS.

    LPIPS = sum over layers, mean over places, of w·(f(a) - f(b))², f of unit length over channels: so the vectors are
    sqrt(w / places)·f of all layers, one after another.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(n_in, n_out, size, stride, padding) for n_in, n_out, size, stride, padding in CONVOLUTIONS
        )
        self.heads = nn.ParameterList(torch.zeros(n_out) for _, n_out, *_ in CONVOLUTIONS)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        shift, scale = (torch.tensor(values, device=x.device)[:, None, None] for values in (SHIFT, SCALE))
        x, vectors = (x - shift) / scale, []
        for i, (layer, head) in enumerate(zip(self.layers, self.heads, strict=True)):
            x = functional.relu(layer(functional.max_pool2d(x, 3, 2) if i in (1, 2) else x))
            unit = x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
            vectors.append((unit * (head[:, None, None] / unit[0, 0].numel()).sqrt()).flatten(1))
        return torch.cat(vectors, dim=1)


@cache
def loaded(device: str) -> Alex:
    """The network with the shipped weights."""
    net = Alex()
    net.load_state_dict(weights("lpips"))
    return net.requires_grad_(False).to(device)


def taps(images: Float[np.ndarray, "n 3 h w"], device: str = "cpu") -> Float[np.ndarray, "n d"]:
    """float32 vectors whose squared Euclidean distance is LPIPS; d = 31,872 at 64 x 64. Images are clipped to [-1, 1]."""
    net, parts = loaded(device), []
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for start in range(0, len(images), BATCH):
            batch = torch.as_tensor(images[start : start + BATCH], dtype=torch.float32, device=device)
            parts.append(net(batch.clamp(-1, 1)).cpu().numpy())
    return np.concatenate(parts)


def distance(a: Float[np.ndarray, "n 3 h w"], b: Float[np.ndarray, "n 3 h w"], device: str = "cpu") -> Float[np.ndarray, " n"]:
    """LPIPS of a[i] and b[i]; 0 for equal pictures, about 1 for unlike ones."""
    return np.square(taps(a, device) - taps(b, device)).sum(axis=1, dtype=np.float64)
