"""A text-to-image prior in closed form that takes guidance: with and without a prompt it is of the same pictures.

Where there is much noise, each block of the picture is the mean of pictures weighed by how well they fit around it: of those
that the prompt means or, with no prompt, of all. So guidance amplifies what a prompt changes, and not the error of a sample
of pictures. Where there is little noise, patches are denoised without regard to the prompt (patch_mixture.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from .. import require
from ..guidance import Prompt
from ..levels import Level, expand
from .base import NO_RULES, Conds, Prediction, Rules
from .local import LEAST, Prior, by_row, check_windows, window_at
from .patch_mixture import PatchPyramid, ramp

BLOCKS = 8
"""Along a side of the picture."""

CELLS = 16
"""Along a side of a reduced picture, at most: two in a block."""

FEW = 8
"""Rows of one prompt that go through the pictures together."""

KEPT = 64
"""A prompt that means no more pictures than this has their details kept: 50 kB each at 64 pixels."""


@lru_cache(maxsize=4 * BLOCKS)
def neighbours(radius: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[blocks, blocks]: 1 where one is among the other's neighbours, so many blocks away at most."""
    place = torch.arange(BLOCKS)
    band = ((place[:, None] - place).abs() <= radius).to(dtype)
    return torch.kron(band, band).to(device)


class Part(NamedTuple):
    """Some of the pictures that a prompt means, reduced.

    images: which of the model's, [n]. cells: less the mean of all pictures, by block, [blocks, d, n], d = channels·cells of a
    block. norms: their squares, [blocks, n]. log_weights: [n]; the weights of all parts sum to 1. details: what a reduced
    picture leaves out of each, [n, channels, height, width]; None where it is only asked of the one that weighs most.
    """

    images: Tensor
    cells: Tensor
    norms: Tensor
    log_weights: Tensor
    details: Tensor | None


@dataclass(frozen=True)
class Mosaic(Prior):
    """The posterior mean, block by block, of "a picture that the prompt means", given a window of its reduced picture.

    seen(x), the reduced picture, has 16 x 16 cells (8 x 8 at size 8), each the mean over a square of n pixels. It is cut into
    8 x 8 blocks. Block q weighs picture x_i by how well a window of the reduced picture around it fits:

        w_i(q) = softmax_i(log weight_i - n·|seen(x) - a·seen(x_i)|²_window(q) / 2v),   v = b² + a²·width²

    The mean has two parts. The coarse one is sum_i w_i·seen(x_i), each cell with the weights of its own block, interpolated to
    the pixels. The detail is sum_i w_i·(x_i - seen(x_i) interpolated), with weights interpolated between the blocks. With no
    prompt all pictures of the model weigh the same. Sums over more than `KEPT` pictures are exact in their weights and their
    coarse part; detail comes from `n_detail` pictures in each block, of every n_detail-th one that which weighs most. D jumps
    where a window widens and, with such sums, a little where another picture comes to weigh most.

    windows: pairs (sigma, blocks on either side), rising: the half-width of the square window from this sigma up.
    patches: denoise alone below the first sigma of `join`, with a share that falls to 0 (in log sigma) at the second.
    join: two sigmas > 0, rising. n_detail >= 1. clip: a guided x0 is cut off at -1 and 1 and eps found anew: pixels
    need it (Saharia et al., arXiv 2205.11487, sec. 2.3). Raises ValueError, naming the field, otherwise.
    """

    windows: tuple[tuple[float, int], ...] = ((0.0, 1), (4.0, 2), (9.0, 8))
    patches: PatchPyramid | None = None
    join: tuple[float, float] = (0.05, 0.12)
    n_detail: int = 8
    clip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        height, width = self.shape[1:]
        if height != width or (height != BLOCKS and height % CELLS):
            raise ValueError(f"model.size: pictures of {height} x {width} pixels; must be square, 8 or a multiple of 16")
        check_windows(self.windows, "blocks")
        if not isinstance(self.join, Sequence) or len(self.join) != 2:
            raise ValueError(f"model.join={self.join!r}: must be two sigmas")
        for sigma in self.join:
            require.number("model.join", sigma, above=0)
        if not self.join[0] < self.join[1]:
            raise ValueError(f"model.join={self.join!r}: must be two sigmas > 0, rising")
        if not isinstance(self.clip, bool):
            raise ValueError(f"model.clip={self.clip!r}: must be true or false")
        require.count("model.n_detail", self.n_detail)

    @property
    def rules(self) -> Rules:
        return Rules(bound=lambda x0: x0.clamp(-1, 1), keeps_eps=False) if self.clip else NO_RULES

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
        """The pixels of each block and half a block around it, [n, blocks, blocks, 2B, 2B·channels]: a view; bytes by four."""
        images = torch.from_numpy(self.images)
        if self.shrink > 1:
            images = torch.cat([self.seen(some.numpy()).to(self.dtype) for some in images.split(512)])
        block = self.shape[1] // BLOCKS
        padded = functional.pad(images, (block // 2,) * 4).permute(0, 2, 3, 1).flatten(2).contiguous()
        if padded.dtype == torch.uint8 and block * self.shape[0] % 4 == 0:
            padded = padded.view(torch.int32)  # an index finds words sooner than bytes
        step = padded.shape[2] // (BLOCKS + 1)
        return padded.unfold(1, 2 * block, block).unfold(2, 2 * step, step)

    @cached_property
    def _around(self) -> Tensor:
        """The cells of each block and two on either side, [n, blocks, blocks, w, w·channels]: a view."""
        channels, per = self.shape[0], self._small.shape[-1] // BLOCKS
        padded = functional.pad(self._small.to(self.dtype), (2,) * 4, mode="replicate").permute(0, 2, 3, 1).flatten(2)
        return padded.contiguous().unfold(1, per + 4, per).unfold(2, (per + 4) * channels, per * channels)

    def _blocks(self, small: Float[Tensor, "n c cells cells"]) -> Float[Tensor, "blocks n d"]:
        """Reduced pictures cut into blocks, d = channels·cells of a block."""
        per = small.shape[-1] // BLOCKS
        by_block = small.unflatten(3, (BLOCKS, per)).unflatten(2, (BLOCKS, per)).permute(2, 4, 0, 1, 3, 5)
        return by_block.reshape(BLOCKS**2, len(small), -1)

    def _grown(self, small: Float[Tensor, "n c cells cells"]) -> Float[Tensor, "n *shape"]:
        """Reduced pictures interpolated to pixels."""
        if self.cell == 1:
            return small
        return functional.interpolate(small, scale_factor=self.cell, mode="bilinear", align_corners=False)

    @cached_property
    def _middle(self) -> Callable[[torch.device], Float[Tensor, "blocks 1 d"]]:
        """The mean of all reduced pictures: squares of what is less it round off less."""
        return lru_cache(maxsize=2)(lambda device: self._blocks(self._small.mean(0, keepdim=True)).to(device, self.dtype))

    @cached_property
    def _parts(self) -> Callable[[Prompt, torch.device], list[Part]]:
        @lru_cache(maxsize=128)
        def parts(prompt: Prompt, device: torch.device) -> list[Part]:
            index, log_weights = self.words.weigh(prompt)
            few = len(index) <= KEPT
            n = 1 if few else min(self.n_detail, len(index))
            return [part(index[k::n], log_weights[k::n], few, device) for k in range(n)]

        def part(index: np.ndarray, log_weights: np.ndarray, detailed: bool, device: torch.device) -> Part:
            small, details = self._small[index], None
            if detailed and self.cell > 1:
                details = (self.seen(self.images[index]) - self._grown(small)).to(device, self.dtype)
            cells = (
                (self._blocks(small) - self._middle(torch.device("cpu"))).transpose(1, 2).to(device, self.dtype).contiguous()
            )
            weights = torch.from_numpy(log_weights).to(device, self.dtype)
            return Part(torch.from_numpy(index).to(device), cells, cells.square().sum(1), weights, details)

        return parts

    @cached_property
    def _norms(self) -> Callable[[Prompt, torch.device, int], list[Tensor]]:
        """norms of the parts, summed over windows of this radius; over all blocks at once where a window has them all."""

        @lru_cache(maxsize=128)
        def norms(prompt: Prompt, device: torch.device, radius: int) -> list[Tensor]:
            parts = self._parts(prompt, device)
            if radius >= BLOCKS - 1:
                return [part.norms.sum(0, keepdim=True) for part in parts]
            return [neighbours(radius, device, self.dtype) @ part.norms for part in parts]

        return norms

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

    def posterior_means(
        self, x: Float[Tensor, "batch *shape"], a: Sequence[float], b: Sequence[float], rows: Sequence[tuple[int, Prompt]]
    ) -> Float[Tensor, "rows *shape"]:
        """A few rows of one prompt at a time, so that all pictures are gone through once for them."""
        alike: dict[tuple[Prompt, int], list[int]] = {}
        for place, (row, prompt) in enumerate(rows):
            alike.setdefault((prompt, self.radius(b[row] / a[row] if a[row] > 0 else np.inf)), []).append(place)
        for prompt, radius in alike:  # here, and not in several threads at once
            self._norms(prompt, x.device, radius)
        if self.cell > 1 and any(self._parts(prompt, x.device)[0].details is None for prompt, _ in alike):
            _ = self._tiles, self._around, self._maps(x.device)
        few = [(key, places[k : k + FEW]) for key, places in alike.items() for k in range(0, len(places), FEW)]

        def some(key: tuple[Prompt, int], places: Sequence[int]) -> Tensor:
            here = [rows[place][0] for place in places]
            return self.means(x[here], [a[row] for row in here], [b[row] for row in here], *key)

        found = torch.cat(by_row(some, few, x.device))
        return found[torch.argsort(torch.tensor([place for _, places in few for place in places], device=x.device))]

    def means(
        self, x: Float[Tensor, "rows *shape"], a: Sequence[float], b: Sequence[float], prompt: Prompt, radius: int
    ) -> Float[Tensor, "rows *shape"]:
        """m(x) for at most `FEW` rows of one prompt and windows of one radius, a part of the pictures at a time.

        The products are of `FEW` rows, some of them blank, so that on a CPU a row has the same bits in any batch.
        """
        parts, norms, n = self._parts(prompt, x.device), self._norms(prompt, x.device, radius), len(x)
        small = functional.avg_pool2d(x, self.cell) if self.cell > 1 else x
        middle, near = self._middle(x.device), neighbours(radius, x.device, x.dtype)
        signal, noise = (torch.tensor(values, dtype=x.dtype, device=x.device)[:, None] for values in (a, b))
        scale = self.cell**2 / (2 * (noise.square() + (signal * self.width).square()))
        own = functional.pad(2 * scale * signal * (self._blocks(small) - signal * middle), (0, 0, 0, FEW - n))
        whole = len(norms[0]) == 1
        if whole:
            own = own.transpose(0, 1).reshape(1, FEW, -1)
        logs, coarse, heaviest, which = [], [], [], []
        for part, squares in zip(parts, norms, strict=True):
            cells = part.cells.reshape(1, -1, len(part.images)) if whole else part.cells
            agree = torch.bmm(own, cells).transpose(0, 1)[:n]
            if not whole:
                agree = torch.bmm(near.expand(n, -1, -1), agree)
            # in place, for memory that is new takes as long as the sums: [rows, windows, pictures]
            fit = agree.sub_((scale * signal.square())[:, :, None] * squares - part.log_weights)
            most, best = fit.max(2, keepdim=True)
            weights = fit.sub_(most).clamp_(min=LEAST).exp_()
            total = weights.sum(2, keepdim=True)
            by_window = functional.pad(weights.transpose(0, 1), (0, 0, 0, FEW - n)).contiguous()
            means = torch.bmm(by_window, cells.transpose(1, 2))
            if whole:
                means = means.reshape(FEW, BLOCKS**2, -1).transpose(0, 1)
            logs.append(most + total.log())
            coarse.append(means[:, :n].transpose(0, 1) / total)
            heaviest.append(1 / total[..., 0])
            which.append(part.images[best[..., 0]])
        odds = torch.stack(logs).softmax(0)  # [parts, rows, windows, 1]
        mean = (odds * torch.stack(coarse)).sum(0) + middle.transpose(0, 1)
        per = small.shape[-1] // BLOCKS
        low = self._grown(mean.reshape(n, BLOCKS, BLOCKS, -1, per, per).permute(0, 3, 1, 4, 2, 5).reshape(small.shape))
        if self.cell == 1:
            return low
        if parts[0].details is not None:
            return low + torch.stack([self._detail(row, parts[0].details) for row in weights / total])
        shares, them = odds[..., 0] * torch.stack(heaviest), torch.stack(which)
        return low + torch.stack([self._detail_of(shares[:, row].T, them[:, row].T) for row in range(n)])

    def _detail(self, weights: Float[Tensor, "windows n"], details: Float[Tensor, "n *shape"]) -> Float[Tensor, "*shape"]:
        """Details of pictures, weighed. weights: by block, interpolated; or one row for all."""
        if len(weights) == 1:
            return torch.tensordot(weights[0], details, 1)
        shares = weights.T.reshape(-1, 1, BLOCKS, BLOCKS)
        return (functional.interpolate(shares, details.shape[2:], mode="bilinear", align_corners=False) * details).sum(0)

    def _detail_of(self, shares: Float[Tensor, "windows k"], which: Int[Tensor, "windows k"]) -> Float[Tensor, "*shape"]:
        """The same of a few pictures in each block."""
        size, block, place = self.shape[1], self.shape[1] // BLOCKS, torch.arange(BLOCKS**2)[:, None]
        hats, grown = self._maps(shares.device)
        shares = shares.expand(BLOCKS**2, -1)
        tile = (which.expand(BLOCKS**2, -1).cpu(), place // BLOCKS, place % BLOCKS)

        def weighed(of_all: Tensor) -> Tensor:
            these = of_all[tile]
            these = these.view(torch.uint8) if these.dtype == torch.int32 else these
            mean = torch.bmm(shares[:, None], these.flatten(2).to(shares.device).to(self.dtype))
            return mean.reshape(len(shares), these.shape[2], -1, self.shape[0]).permute(0, 3, 1, 2)

        pixels = weighed(self._tiles)
        if self.shrink == 1:
            pixels = pixels / 127.5 - shares.sum(1)[:, None, None, None]
        columns = ((pixels - grown @ weighed(self._around) @ grown.T) * hats[:, None]).flatten(1).T[None]
        return functional.fold(columns, (size, size), 2 * block, stride=block, padding=block // 2)[0]

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        """Of the pictures, of the patches, or of both in shares that go over into one another as sigma does."""
        host = level.host
        shares = [ramp(sigma, self.join) if self.patches else 1.0 for sigma in (host.b / host.a).expand(len(x)).tolist()]
        if min(shares) == 1:
            return super().predict(x, level, conds)
        patches, x = self.patches, x.to(torch.float64)
        assert patches is not None
        signal, noise = host.a.expand(len(x)).tolist(), host.b.expand(len(x)).tolist()

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
