"""A text-to-image prior in closed form that takes guidance: with and without a prompt it is of the same pictures.

Where there is much noise, each block of the picture is the mean of pictures weighed by how well they fit around it: of those
that the prompt means or, with no prompt, of all. So guidance amplifies what a prompt changes, and not the error of a sample
of pictures. Where there is little noise, patches are denoised without regard to the prompt (patch_mixture.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from .. import require
from ..guidance import Prompt
from ..levels import Level, expand
from .base import Conds, Prediction
from .local import Prior, by_row, check_windows, window_at
from .patch_mixture import PatchPyramid, ramp

BLOCKS = 8
"""Along a side of the picture."""

CELLS = 16
"""Along a side of a reduced picture, at most: two in a block."""


@lru_cache(maxsize=BLOCKS)
def neighbours(radius: int) -> Tensor:
    """[blocks, blocks]: 1 where one is among the other's neighbours, so many blocks away at most."""
    place = torch.arange(BLOCKS)
    band = ((place[:, None] - place).abs() <= radius).to(torch.float64)
    return torch.kron(band, band)


class Seen(NamedTuple):
    """A set of reduced pictures, and what they weigh.

    images: which of the model's, [n]. cells: by block, [blocks, channels·cells of a block, n]. norms: squared, by
    block, [blocks, n]. log_weights: [n], the weights sum to 1.
    """

    images: Tensor
    cells: Tensor
    norms: Tensor
    log_weights: Tensor


@dataclass(frozen=True)
class Mosaic(Prior):
    """The posterior mean, block by block, of "a picture that the prompt means", given a window of its reduced picture.

    seen(x), the reduced picture, has 16 x 16 cells (8 x 8 at size 8), each the mean over a square of n pixels. It is cut into
    8 x 8 blocks. Block q weighs picture x_i by how well a window of the reduced picture around it fits:

        w_i(q) = softmax_i(log weight_i - n·|seen(x) - a·seen(x_i)|²_window(q) / 2v),   v = b² + a²·width²

    The mean has two parts. The coarse one is sum_i w_i·seen(x_i), each cell with the weights of its own block, interpolated to
    the pixels. The detail is sum_i w_i·(x_i - seen(x_i) interpolated), with weights interpolated between the blocks; only the
    `n_detail` pictures that weigh most in a block give it detail. With no prompt all pictures of the model weigh the same.

    windows: pairs (sigma, blocks on either side), rising: the half-width of the square window from this sigma up.
    patches: denoise alone below the first sigma of `join`, with a share that falls to 0 (in log sigma) at the second.
    join: two sigmas > 0, rising. n_detail >= 1. Raises ValueError, naming the field, otherwise.
    """

    windows: tuple[tuple[float, int], ...] = ((0.0, 1), (2.3, 2), (6.5, 8))
    patches: PatchPyramid | None = None
    join: tuple[float, float] = (0.3, 0.6)
    n_detail: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        height, width = self.shape[1:]
        if height != width or height % BLOCKS:
            raise ValueError(f"model.size: pictures of {height} x {width} pixels; must be square, a multiple of {BLOCKS}")
        check_windows(self.windows, "blocks")
        if not 0 < self.join[0] < self.join[1]:
            raise ValueError(f"model.join={self.join!r}: must be two sigmas > 0, rising")
        require.count("model.n_detail", self.n_detail)

    @cached_property
    def fingerprint(self) -> str:
        return super().fingerprint if self.patches is None else f"{super().fingerprint}-{self.patches.fingerprint}"

    @property
    def cell(self) -> int:
        """Pixels along a side of a cell."""
        return max(1, self.shape[1] // CELLS)

    def radius(self, sigma: float) -> int:
        """Of the square window at this level, in blocks on either side."""
        return window_at(self.windows, sigma)

    @cached_property
    def _small(self) -> Tensor:
        """All images reduced, [n, channels, cells, cells]."""
        shrink = self.shrink * self.cell
        n, channels, height, width = self.images.shape
        tiles = self.images.reshape(n, channels, height // shrink, shrink, width // shrink, shrink)
        return torch.from_numpy(tiles.mean((3, 5), dtype=np.float64) / 127.5 - 1)

    @cached_property
    def _tiles(self) -> Tensor:
        """The pixels of each block and half a block around it, [n, channels, blocks, blocks, 2B, 2B]: a view."""
        images = torch.from_numpy(self.images)
        if self.shrink > 1:
            images = torch.cat([self.seen(some.numpy()).to(self.dtype) for some in images.split(512)])
        block = self.shape[1] // BLOCKS
        padded = functional.pad(images, (block // 2,) * 4)
        return padded.unfold(2, 2 * block, block).unfold(3, 2 * block, block)

    @cached_property
    def _around(self) -> Tensor:
        """The cells of each block and two on either side, [n, channels, blocks, blocks, w, w]: a view."""
        per = self._small.shape[-1] // BLOCKS
        padded = functional.pad(self._small.to(self.dtype), (2,) * 4, mode="replicate")
        return padded.unfold(2, per + 4, per).unfold(3, per + 4, per)

    @cached_property
    def _supports(self) -> Callable[[Prompt, torch.device], Seen]:
        @lru_cache(maxsize=128)
        def support(prompt: Prompt, device: torch.device) -> Seen:
            index, log_weights = self.words.weigh(prompt)
            small, n = self._small[index], len(index)
            per = small.shape[-1] // BLOCKS
            by_block = small.unflatten(3, (BLOCKS, per)).unflatten(2, (BLOCKS, per)).permute(2, 4, 1, 3, 5, 0)
            cells = by_block.reshape(BLOCKS**2, -1, n).to(device, self.dtype).contiguous()
            weights = torch.from_numpy(log_weights).to(device, self.dtype)
            return Seen(torch.from_numpy(index), cells, cells.square().sum(1), weights)

        return support

    @cached_property
    def _maps(self) -> Callable[[torch.device], tuple[Tensor, Tensor]]:
        """(how much each block's weights count at the pixels of its tile, cells around a block brought up to these pixels)."""

        @lru_cache(maxsize=2)
        def maps(device: torch.device) -> tuple[Tensor, Tensor]:
            block, cells = self.shape[1] // BLOCKS, self.shape[1] // BLOCKS // self.cell + 4

            def stretched(n: int, factor: int) -> Tensor:
                unit = torch.eye(n, dtype=torch.float64)[None]
                return functional.interpolate(unit, scale_factor=factor, mode="linear", align_corners=False)[0]

            along = functional.pad(stretched(BLOCKS, block), (block // 2,) * 2)
            along = torch.stack([along[q, q * block : (q + 2) * block] for q in range(BLOCKS)])
            hats = torch.einsum("qy,rx->qryx", along, along).flatten(0, 1)
            first = 2 * self.cell - block // 2
            grown = stretched(cells, self.cell)[:, first : first + 2 * block].T
            return hats.to(device, self.dtype), grown.to(device, self.dtype)

        return maps

    def posterior_mean(self, x: Float[Tensor, "c h w"], a: float, b: float, prompt: Prompt) -> Float[Tensor, "c h w"]:
        support = self._supports(prompt, x.device)
        size, block = self.shape[1], self.shape[1] // BLOCKS
        radius, v = self.radius(b / a if a > 0 else np.inf), b * b + (a * self.width) ** 2
        small = functional.avg_pool2d(x[None], self.cell)[0] if self.cell > 1 else x
        per = small.shape[-1] // BLOCKS
        own = small.unflatten(2, (BLOCKS, per)).unflatten(1, (BLOCKS, per)).permute(1, 3, 0, 2, 4).reshape(BLOCKS**2, 1, -1)
        far = a * a * support.norms - 2 * a * torch.bmm(own, support.cells)[:, 0]
        whole = radius >= BLOCKS - 1
        fit = far.sum(0, keepdim=True) if whole else neighbours(radius).to(far) @ far
        weights = (support.log_weights - self.cell**2 / (2 * v) * fit).softmax(1)
        every = weights.expand(BLOCKS**2, -1)
        coarse = torch.bmm(every[:, None], support.cells.transpose(1, 2))[:, 0]
        coarse = coarse.reshape(BLOCKS, BLOCKS, -1, per, per).permute(2, 0, 3, 1, 4).reshape(small.shape)
        if self.cell == 1:
            return coarse
        low = functional.interpolate(coarse[None], scale_factor=self.cell, mode="bilinear", align_corners=False)[0]
        hats, grown = self._maps(x.device)
        best = weights.topk(min(self.n_detail, weights.shape[1]), 1)
        shares, which = best.values.expand(BLOCKS**2, -1), best.indices.expand(BLOCKS**2, -1)
        blocks = torch.arange(BLOCKS**2, device=x.device)[:, None]
        place = (support.images[which.cpu()], slice(None), blocks.cpu() // BLOCKS, blocks.cpu() % BLOCKS)
        pixels = self._tiles[place].to(x.device, self.dtype)
        if self._tiles.dtype == torch.uint8:
            pixels = pixels / 127.5 - 1
        drawn = torch.einsum("qm,qmcyx->qcyx", shares, pixels)
        around = torch.einsum("qm,qmcyx->qcyx", shares, self._around[place].to(x.device))
        detail = (drawn - grown @ around @ grown.T) * hats[:, None]
        columns = detail.flatten(1).T[None]
        return low + functional.fold(columns, (size, size), 2 * block, stride=block, padding=block // 2)[0]

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        """Of the pictures, of the patches, or of both in shares that go over into one another as sigma does."""
        shares = [ramp(sigma, self.join) if self.patches else 1.0 for sigma in (level.b / level.a).expand(len(x)).tolist()]
        if min(shares) == 1:
            return super().predict(x, level, conds)
        patches, x = self.patches, x.to(torch.float64)
        assert patches is not None
        signal, noise = level.a.expand(len(x)).tolist(), level.b.expand(len(x)).tolist()

        def fine(row: int) -> Tensor:
            asked = x[row].to(self.dtype)
            return patches.eps(asked, signal[row], noise[row]) if shares[row] < 1 else torch.zeros_like(asked)

        eps = torch.stack(by_row(fine, [(row,) for row in range(len(x))], x.device)).to(torch.float64)
        eps = eps.expand(len(conds), *x.shape)
        a = expand(level.a, x)
        x0 = (x - expand(level.b, x) * eps) / torch.where(a > 0, a, 1.0)  # where a is 0 it counts for nothing
        if max(shares) == 0:
            return Prediction(x0, eps)
        drawn = super().predict(x, level, conds)
        share = expand(torch.tensor(shares, dtype=x.dtype, device=x.device), x)
        return Prediction(share * drawn.x0 + (1 - share) * x0, share * drawn.eps + (1 - share) * eps)
