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
from jaxtyping import Float, Float32, Int, Shaped
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

LANES = 128
"""Pictures that are compared at once by what is compiled."""

CELLS = 16
"""Along a side of a reduced picture, at most: two in a block."""

FEW = 8
"""Rows of one prompt that go through the pictures together."""

SPANS = 32
"""Pictures lie in rows of so many, which a core compares at once."""

COLUMNS = 16
"""Matrix products of a few rows are fastest where they have a multiple of so many columns."""

KEPT = 64
"""A prompt that means no more pictures than this has the details of all of them, 50 kB each at 64 pixels if kept."""


def squares(images: Shaped[Tensor, "n c rows columns"], height: int, width: int) -> Shaped[Tensor, "squares pixels"]:
    """Cut into squares, picture by picture and row by row, [n·(rows/height)·(columns/width), c·height·width]."""
    cut = images.unfold(2, height, height).unfold(3, width, width)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2).contiguous()


def near(fit: Float[Tensor, "batch windows *rest"], radius: int) -> Float[Tensor, "batch windows *rest"]:
    """Sums over each block and those at most so many away: along columns, then along rows."""
    fit = fit.unflatten(1, (BLOCKS, BLOCKS))
    for axis in (1, 2):
        one, fit = fit, fit.clone()
        for away in range(1, radius + 1):
            n = BLOCKS - away
            fit.narrow(axis, away, n).add_(one.narrow(axis, 0, n))
            fit.narrow(axis, 0, n).add_(one.narrow(axis, away, n))
    return fit.flatten(1, 2)


def heaviest(fit: Float[Tensor, "*rest n"]) -> Int[Tensor, "*rest 1"]:
    """Which of n, a multiple of `SPANS`, is largest: argmax, but first of columns, of which a core compares many at once."""
    spans = fit.detach().unflatten(-1, (-1, SPANS))
    best = spans.amax(-2).argmax(-1, keepdim=True)
    those = torch.take_along_dim(spans, best.unsqueeze(-2), -1).squeeze(-1)
    return those.argmax(-1, keepdim=True) * SPANS + best


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the pictures that a prompt means, reduced; n is a multiple of `SPANS`, some of no weight make it up.

    images: which of the model's, [n]. cells: less the mean of all pictures, by block, and their square, [blocks, d + 1, n],
    d = channels·cells of a block. log_weights: [n]; the weights of all parts sum to 1.
    """

    images: Tensor
    cells: Tensor
    log_weights: Tensor

    @cached_property
    def turned(self) -> Float[Tensor, "blocks n columns"]:
        """The cells as products of matrices read them, with blank columns."""
        d = self.cells.shape[1] - 1
        return functional.pad(self.cells[:, :d].transpose(1, 2), (0, -d % COLUMNS)).contiguous()

    @cached_property
    def packed(self) -> tuple[Float32[np.ndarray, "groups blocks e lanes"], Float32[np.ndarray, "groups lanes"]]:
        """Cells and log weights as compiled.py reads them: blanks before the square, and pictures of no weight at the end."""
        more = -len(self.images) % LANES
        *cells, square = functional.pad(self.cells, (0, more)).split([self.cells.shape[1] - 1, 1], 1)
        cells = torch.cat([functional.pad(cells[0], (0, 0, 0, -cells[0].shape[1] % 4)), square], 1)
        log_weights = functional.pad(self.log_weights, (0, more), value=-np.inf)
        grouped = cells.unflatten(2, (-1, LANES)).permute(2, 0, 1, 3).contiguous()
        return grouped.numpy(), log_weights.unflatten(0, (-1, LANES)).numpy()


class Sums(NamedTuple):
    """Of each part, for rows and windows: the log of all weights, mean cells, the share of the heaviest, and which that is."""

    logs: Float[Tensor, "parts windows rows"]
    cells: Float[Tensor, "parts blocks rows d"]
    tops: Float[Tensor, "parts windows rows"]
    which: Int[Tensor, "parts windows rows"]


def can_be_compiled(x: Tensor) -> bool:
    """Is this what compiled.py is for: float32, on a CPU, and no gradient asked for?"""
    return x.device.type == "cpu" and x.dtype == torch.float32 and not (torch.is_grad_enabled() and x.requires_grad)


def packed(own: Float[Tensor, "blocks rows e"]) -> Float32[Tensor, "rows blocks padded"]:
    """What rows are multiplied with, as compiled.py reads it: blank numbers before the last."""
    *first, last = own.transpose(0, 1).split([own.shape[2] - 1, 1], 2)
    return torch.cat([functional.pad(first[0], (0, -first[0].shape[2] % 4)), last], 2).contiguous()


class Found(NamedTuple):
    """What compiled.py finds of some rows in a part of the pictures."""

    peaks: Float32[Tensor, "rows windows"]
    totals: Float32[Tensor, "rows windows"]
    cells: Float32[Tensor, "rows blocks e"]
    which: Int[Tensor, "rows windows"]
    weights: Float32[Tensor, "rows windows lanes"]

    @staticmethod
    def of(own: Float32[Tensor, "rows blocks e"], part: Part, radius: int) -> "Found":
        """Mean cells, the largest log weight and whose it is, all weights over that; the weights of a few pictures."""
        n, windows = len(own), 1 if radius >= BLOCKS - 1 else BLOCKS**2
        peaks, totals, cells = own.new_full((n, windows), -np.inf), own.new_zeros(n, windows), torch.zeros_like(own)
        kept = own.new_empty(n, windows, LANES if len(part.packed[0]) == 1 else 0)
        found = Found(peaks, totals, cells, torch.zeros(n, windows, dtype=torch.int64), kept)
        from .compiled import weigh  # which takes a third of a second to import

        weigh(own.numpy(), *part.packed, radius, *(of.numpy() for of in found))
        cells /= totals[..., None]
        return found


def compiled_sums(own: Float[Tensor, "blocks rows e"], parts: Sequence[Part], radius: int) -> Sums:
    """As Mosaic._sums."""
    d, rows = own.shape[2] - 1, packed(own).split(FEW)
    found = []
    for part in parts:
        these = [Found.of(few, part, radius) for few in rows]
        peaks, totals, cells, which = (torch.cat(of) for of in list(zip(*these, strict=True))[:4])
        found.append(((peaks + totals.log()).T, cells[..., :d].transpose(0, 1), totals.reciprocal().T, part.images[which].T))
    return Sums(*(torch.stack(of) for of in zip(*found, strict=True)))


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
        sums = np.zeros((n, channels, height // shrink, width // shrink), np.uint32)  # of bytes: exact
        for k in range(0, n, 256):  # what fits a core's cache
            tiles, here = self.images[k : k + 256].reshape(-1, channels, height // shrink, shrink, width), sums[k : k + 256]
            rows = tiles[:, :, :, 0].astype(np.uint16)
            for j in range(1, shrink):
                rows += tiles[:, :, :, j]
            for j in range(shrink):
                here += rows[..., j::shrink]
        return torch.from_numpy(sums / shrink**2 / 127.5 - 1)

    @cached_property
    def _tiles(self) -> Tensor:
        """Pixels in squares as wide as a block, half a block off, by picture, [n·9·9, B·B·channels]: bytes, or at a smaller
        size than the images' what the reduced picture leaves out.
        """
        side = self.shape[1] // BLOCKS
        found: list[Tensor] = []
        for some in torch.from_numpy(self.images).split(512):
            if self.shrink > 1:
                small = self._small[len(found) * 512 :][: len(some)]
                some = (self.seen(some.numpy()) - self._grown(small)).to(self.dtype)
            padded = functional.pad(some, (side // 2,) * 4)
            if padded.dtype == torch.uint8 and side == 8:
                found.append(squares(padded.view(torch.int64), side, 1).view(torch.uint8))  # eight bytes are copied at once
            else:
                found.append(squares(padded, side, side))
        return torch.cat(found)

    @cached_property
    def _around(self) -> Tensor:
        """The cells of blocks, and of one more around all, by picture, [n·10·10, channels·cells of a block]."""
        per = self._small.shape[-1] // BLOCKS
        return squares(functional.pad(self._small.to(self.dtype), (per,) * 4, mode="replicate"), per, per)

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
            n = 1 if len(index) <= KEPT else min(self.n_detail, len(index))
            return [part(index[k::n], log_weights[k::n], device) for k in range(n)]

        def part(index: np.ndarray, log_weights: np.ndarray, device: torch.device) -> Part:
            more = -len(index) % SPANS
            index, log_weights = np.pad(index, (0, more), "edge"), np.pad(log_weights, (0, more), constant_values=-np.inf)
            cells = (self._blocks(self._small[index]) - self._middle(torch.device("cpu"))).transpose(1, 2)
            cells = torch.cat([cells, cells.square().sum(1, keepdim=True)], 1).to(device, self.dtype).contiguous()
            weights = torch.from_numpy(log_weights).to(device, self.dtype)
            return Part(torch.from_numpy(index).to(device), cells, weights)

        return parts

    @cached_property
    def _details(self) -> Callable[[Prompt, torch.device], Float[Tensor, "height n channels_width"]]:
        @lru_cache(maxsize=128)
        def details(prompt: Prompt, device: torch.device) -> Tensor:
            """What reduced pictures leave out of the few that a prompt means."""
            index = self._parts(prompt, device)[0].images.cpu().numpy()
            left = self.seen(self.images[index]) - self._grown(self._small[index])
            return left.permute(2, 0, 1, 3).flatten(2).to(device, self.dtype).contiguous()

        return details

    @cached_property
    def _hats(self) -> Callable[[torch.device], Float[Tensor, "blocks size"]]:
        """How much each block along a side counts at a pixel: linear from the middle of one to that of the next."""
        unit = torch.eye(BLOCKS, dtype=torch.float64)[None]
        hats = functional.interpolate(unit, self.shape[1], mode="linear", align_corners=False)[0]
        return lru_cache(maxsize=2)(lambda device: hats.to(device, self.dtype))

    @cached_property
    def _grow(self) -> Callable[[torch.device], Float[Tensor, "pixels cells"]]:
        """What makes pixels of a block, and of half a one on either side, of the cells of three."""
        cells = 3 * (self.shape[1] // BLOCKS // self.cell)
        unit = torch.eye(cells, dtype=torch.float64)[None]
        grown = functional.interpolate(unit, scale_factor=self.cell, mode="linear", align_corners=False)[0]
        side = self.shape[1] // BLOCKS
        return lru_cache(maxsize=2)(
            lambda device: grown[:, side // 2 : side // 2 + 2 * side].T.to(device, self.dtype).contiguous()
        )

    def posterior_means(
        self, x: Float[Tensor, "batch *shape"], a: Sequence[float], b: Sequence[float], rows: Sequence[tuple[int, Prompt]]
    ) -> Float[Tensor, "rows *shape"]:
        """`FEW` rows at a time of prompts that mean few pictures; as many as there are of another one, for each thread."""
        alike: dict[tuple[int, int, Prompt], list[int]] = {}
        for place, (row, prompt) in enumerate(rows):
            parts = self._parts(prompt, x.device)
            n = len(parts[0].images)
            few = len(parts) == 1 and n <= KEPT
            radius = self.radius(b[row] / a[row] if a[row] > 0 else np.inf)
            self._ready(parts, few, x)
            alike.setdefault((radius, n if few else 0, None if few else prompt), []).append(place)
        work: list[tuple[int, bool, list[int]]] = []
        for (radius, n_few, _), places in alike.items():
            size = FEW if n_few else -(-len(places) // (FEW * torch.get_num_threads())) * FEW
            work += [(radius, n_few > 0, places[k : k + size]) for k in range(0, len(places), size)]

        def some(radius: int, few: bool, places: Sequence[int]) -> Tensor:
            here, prompts = [rows[place][0] for place in places], [rows[place][1] for place in places]
            signal, noise = (torch.tensor([of[row] for row in here], dtype=x.dtype, device=x.device) for of in (a, b))
            return (self._of_few if few else self._of_many)(x[here], signal, noise, prompts, radius)

        found = torch.cat(by_row(some, work, x.device))
        return found[torch.argsort(torch.tensor([place for *_, places in work for place in places], device=x.device))]

    def _ready(self, parts: Sequence[Part], few: bool, x: Tensor) -> None:
        """Make what these pictures are asked for, here and not in several threads at once."""
        compiled = can_be_compiled(x)
        if compiled:
            for part in parts:
                _ = part.packed
        if self.cell > 1 and (compiled or not few):
            _ = self._tiles, self.shrink > 1 or self._around

    def _asked(
        self, x: Float[Tensor, "rows *shape"], a: Float[Tensor, " rows"], b: Float[Tensor, " rows"]
    ) -> Float[Tensor, "blocks rows e"]:
        """What a part's cells are multiplied with, for n·(2a·seen(x)·c - a²·|c|²)/2v; both less the mean of all pictures."""
        a, b = a[:, None], b[:, None]
        small = functional.avg_pool2d(x, self.cell) if self.cell > 1 else x
        scale = self.cell**2 / (2 * (b.square() + (a * self.width).square()))
        own = 2 * scale * a * (self._blocks(small) - a * self._middle(x.device))
        return torch.cat([own, (-scale * a.square()).expand(len(own), -1, -1)], 2)

    @staticmethod
    def _weighed(
        own: Float[Tensor, "batch blocks all_rows e"],
        cells: Float[Tensor, "batch blocks e n"],
        turned: Float[Tensor, "batch blocks n columns"],
        log_weights: Float[Tensor, "batch n"],
        radius: int,
        blank: int = 0,
    ) -> tuple[
        Float[Tensor, "batch windows rows n"], Float[Tensor, "batch windows rows n"], Float[Tensor, "batch blocks rows d"]
    ]:
        """Log weights of the pictures, up to a number; weights; mean cells. One window where it has all blocks.

        blank: so many rows at the end are only there for the products.
        """
        rows = own.shape[2] - blank
        whole = radius >= BLOCKS - 1
        if whole:
            own, cells = own.transpose(1, 2).flatten(2)[:, None], cells.flatten(1, 2)[:, None]
        fit = (own @ cells)[:, :, :rows]
        if not whole:
            fit = near(fit, radius)
        fit += log_weights[:, None, None]
        weights = fit.clamp(min=fit.detach().amax(3, keepdim=True) + LEAST).softmax(3)
        asked = functional.pad(weights, (0, 0, 0, blank)) if blank else weights
        if whole:
            means = (asked @ cells.transpose(2, 3))[:, 0].unflatten(2, (BLOCKS**2, -1)).transpose(1, 2)[..., :-1]
        else:
            means = (asked @ turned)[..., : cells.shape[2] - 1]
        return fit, weights, means[:, :, :rows]

    def _low(self, cells: Float[Tensor, "blocks rows d"], device: torch.device) -> Float[Tensor, "rows *shape"]:
        """The coarse part, of mean cells."""
        per = min(CELLS, self.shape[1]) // BLOCKS
        mean = (cells + self._middle(device)).transpose(0, 1).reshape(-1, BLOCKS, BLOCKS, self.shape[0], per, per)
        return self._grown(mean.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3))

    def _of_few(
        self, x: Float[Tensor, "rows *shape"], a: Tensor, b: Tensor, prompts: Sequence[Prompt], radius: int
    ) -> Float[Tensor, "rows *shape"]:
        """m(x) where each row's prompt means few pictures, as many as the others'. Each is worked out by itself."""
        parts = [self._parts(prompt, x.device)[0] for prompt in prompts]
        own = self._asked(x, a, b)
        if can_be_compiled(x):
            found = [Found.of(one, part, radius) for one, part in zip(packed(own).split(1), parts, strict=True)]
            low = self._low(torch.cat([each.cells[..., : own.shape[2] - 1] for each in found]).transpose(0, 1), x.device)
            if self.cell == 1:
                return low
            n = len(parts[0].images)
            shares = torch.cat([each.weights[..., :n] / each.totals[..., None] for each in found]).expand(-1, BLOCKS**2, -1)
            return low + self._detail_of(shares, torch.stack([part.images for part in parts])[:, None].expand_as(shares))
        own = own.transpose(0, 1).unsqueeze(2)
        cells, turned, logs = (torch.stack(of) for of in zip(*[(p.cells, p.turned, p.log_weights) for p in parts], strict=True))
        _, weights, means = self._weighed(own, cells, turned, logs, radius)
        low = self._low(means[:, :, 0].transpose(0, 1), x.device)
        if self.cell == 1:
            return low
        hats = self._hats(x.device)
        shares = weights[:, :, 0].expand(-1, BLOCKS**2, -1).unflatten(1, (BLOCKS, BLOCKS))  # [rows, blocks, blocks, n]
        shares = (hats.T @ shares.flatten(2)).unflatten(2, (BLOCKS, -1))  # at each pixel's height
        details = []
        for share, prompt in zip(shares, prompts, strict=True):
            of_blocks = torch.bmm(share, self._details(prompt, x.device)).unflatten(2, (self.shape[0], -1))
            details.append((of_blocks * hats[:, None]).sum(1).transpose(0, 1))
        return low + torch.stack(details)

    def _of_many(
        self, x: Float[Tensor, "rows *shape"], a: Tensor, b: Tensor, prompts: Sequence[Prompt], radius: int
    ) -> Float[Tensor, "rows *shape"]:
        """m(x) of rows of one prompt, a part of the pictures at a time."""
        sums = (compiled_sums if can_be_compiled(x) else self._sums)(
            self._asked(x, a, b), self._parts(prompts[0], x.device), radius
        )
        odds = sums.logs.movedim(0, -1).softmax(-1).movedim(-1, 0)  # over what lies together: the same bits in any batch
        low = self._low((odds[..., None] * sums.cells).sum(0), x.device)
        if self.cell == 1:
            return low
        shares, them = (of.permute(2, 1, 0).expand(-1, BLOCKS**2, -1).split(FEW) for of in (odds * sums.tops, sums.which))
        return low + torch.cat([self._detail_of(*few) for few in zip(shares, them, strict=True)])

    def _sums(self, own: Float[Tensor, "blocks rows e"], parts: Sequence[Part], radius: int) -> Sums:
        """The products are of `FEW` rows, some of them blank, so that on a CPU a row has the same bits in any batch."""
        blank = -own.shape[1] % FEW
        rows = functional.pad(own, (0, 0, 0, blank))[None].split(FEW, dim=2)
        found = []
        for part in parts:
            of_rows = []
            for few, left in zip(rows, [0] * (len(rows) - 1) + [blank], strict=True):  # a part's cells stay in a core's cache
                fit, weights, means = self._weighed(
                    few, part.cells[None], part.turned[None], part.log_weights[None], radius, left
                )
                best = heaviest(fit)
                top = weights.gather(3, best)
                of_rows.append(
                    ((fit.gather(3, best) - top.log())[0, ..., 0], means[0], top[0, ..., 0], part.images[best[0, ..., 0]])
                )
            found.append([torch.cat(of, 1) for of in zip(*of_rows, strict=True)])
        return Sums(*(torch.stack(of) for of in zip(*found, strict=True)))

    def _detail_of(
        self, shares: Float[Tensor, "rows blocks k"], which: Int[Tensor, "rows blocks k"]
    ) -> Float[Tensor, "rows *shape"]:
        """Details of a few pictures in each block, interpolated between the blocks."""
        rows, (channels, size), k = len(shares), self.shape[:2], shares.shape[2]
        side, hats, grow = size // BLOCKS, self._hats(shares.device), self._grow(shares.device)
        inside = slice(side // 2, side // 2 + size)
        if can_be_compiled(shares):
            from .compiled import detail

            joined = shares.new_zeros(rows, channels, size + side, size + side)
            around = self._around.numpy() if self.shrink == 1 else np.empty((0, 0), np.float32)
            wide, grown = functional.pad(hats, (side // 2, side // 2)).numpy(), grow.T.contiguous().numpy()
            for share, them, of in zip(shares.contiguous().numpy(), which.contiguous().numpy(), joined.numpy(), strict=True):
                detail(share, them, self._tiles.numpy(), around, wide, grown, of)
            return joined[:, :, inside, inside]
        which = which.flatten(0, 1).cpu()
        place = torch.arange(BLOCKS**2).repeat(rows)[:, None]

        def weighed(of_all: Tensor, n: int) -> Float[Tensor, "n n rows_blocks pixels"]:
            """The mean of each of n x n squares around a block."""
            along = BLOCKS + n - 1
            first = which * along**2 + place // BLOCKS * along + place % BLOCKS
            places = first + (torch.arange(n)[:, None] * along + torch.arange(n)).reshape(-1, 1, 1)
            these = of_all.index_select(0, places.flatten()).to(shares.device, self.dtype)
            mean = torch.bmm(shares.reshape(-1, 1, k).repeat(n * n, 1, 1), these.unflatten(0, (-1, k)))
            return mean.reshape(n, n, rows * BLOCKS**2, -1)

        quarters = weighed(self._tiles, 2).reshape(2, 2, rows, BLOCKS, BLOCKS, channels, side, side)
        if self.shrink == 1:
            per = side // self.cell
            cells = weighed(self._around, 3).reshape(3, 3, -1, channels, per, per).permute(2, 3, 0, 4, 1, 5)
            low = grow @ cells.reshape(-1, 3 * per, 3 * per) @ grow.T
            low = low.reshape(rows, BLOCKS, BLOCKS, channels, 2, side, 2, side).permute(4, 6, 0, 1, 2, 3, 5, 7)
            quarters = quarters / 127.5 - low - shares.sum(2).reshape(rows, BLOCKS, BLOCKS, 1, 1, 1)
        halves = functional.pad(hats, (side // 2, side // 2)).unfold(1, side, side)  # of a block, at the squares around it
        halves = torch.stack([halves.diagonal(half).T[:BLOCKS] for half in (0, 1)])  # [2, blocks, side]
        quarters = quarters * (halves[:, None, :, None, :, None] * halves[None, :, None, :, None, :])[:, :, None, :, :, None]
        joined = quarters.new_zeros(rows, channels, BLOCKS + 1, side, BLOCKS + 1, side)
        for down in (0, 1):
            for right in (0, 1):
                here = joined[:, :, down : down + BLOCKS, :, right : right + BLOCKS]
                here += quarters[down, right].permute(0, 3, 1, 4, 2, 5)
        return joined.flatten(4).flatten(2, 3)[:, :, inside, inside]

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
