"""What the built-in prior does with each picture that a prompt means, compiled for a core of a CPU (Numba): sums of mosaic.py.

In float32 and without gradients. A core compares a few rows with `LANES` pictures at once, block by block of the picture, so
that it finds in its cache what it needs next. What is found for a row does not depend on the rows beside it, to the bit.
"""

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numba import njit

from .mosaic import BLOCKS, LANES

FAINT = np.float32(-25.0)
"""The log of a weight, that of the heaviest being 0, below which all 11,000 together are about a rounding, 1.5e-7."""
C0, C1, C2, C3, C4, C5, C6, C7 = (np.float32(np.log(2) ** k / np.prod(np.arange(1.0, k + 1))) for k in range(8))
"""Of the series of 2^x, to 1e-8 where |x| <= 1/2."""
SLIGHT = np.float32(1e-8)
"""A share below rounding."""
BYTE = np.float32(127.5)
LOG2E, HALF, NOUGHT, LEAST = np.float32(1 / np.log(2)), np.float32(0.5), np.float32(0), np.float32(-100)


def compiled(work: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled when it is first called, and kept on disk where there is a place for it; other threads run beside it."""
    how: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp", "nnan"}}
    bare = unwrap(work)  # of what may check types when it is called
    try:
        return njit(cache=True, **how)(bare)
    except RuntimeError:  # no such place
        return njit(**how)(bare)


@compiled
def weigh(
    own: Float32[np.ndarray, "rows blocks e"],
    cells: Float32[np.ndarray, "groups blocks e lanes"],
    log_weights: Float32[np.ndarray, "groups lanes"],
    radius: int,
    peaks: Float32[np.ndarray, "rows windows"],
    totals: Float32[np.ndarray, "rows windows"],
    means: Float32[np.ndarray, "rows blocks e"],
    which: Int64[np.ndarray, "rows windows"],
    weights: Float32[np.ndarray, "rows windows lanes"],
) -> None:
    """Weigh pictures for each row and window, exp(log weight + sum over the window's blocks of own·cells), e = 4k + 1.

    peaks: the largest log of a weight; -inf to begin with. which: whose it is. totals: the sum of all weights over that
    largest, and means: of these times cells; both 0 to begin with. weights: those over the largest, of a single group; of more
    groups it is left as it is. Windows are of so many blocks on either side, or, where there is one, of all blocks.
    """
    n_rows, windows, last = len(own), peaks.shape[1], own.shape[2] - 1
    lines, sums = np.empty((n_rows, BLOCKS, LANES), np.float32), np.empty((n_rows, BLOCKS * BLOCKS, LANES), np.float32)
    fit, bits = np.empty(LANES, np.float32), np.empty(LANES, np.int32)
    scale, most = bits.view(np.float32), np.empty(LANES // 2, np.float32)
    for g in range(len(cells)):
        for i in range(BLOCKS):  # sums over each block and its neighbours in its line
            for j in range(BLOCKS):  # a block's cells stay in the nearest cache while the rows go by
                q = BLOCKS * i + j
                for r in range(n_rows):
                    o = own[r, q, last]
                    if last == 12:  # of colours: as below, but each sum is written once
                        o0, o1, o2, o3 = own[r, q, 0], own[r, q, 1], own[r, q, 2], own[r, q, 3]
                        o4, o5, o6, o7 = own[r, q, 4], own[r, q, 5], own[r, q, 6], own[r, q, 7]
                        o8, o9, o10, o11 = own[r, q, 8], own[r, q, 9], own[r, q, 10], own[r, q, 11]
                        for w in range(LANES):
                            c = cells[g, q, :, w]
                            lines[r, j, w] = (
                                (o * c[12] + (o0 * c[0] + o1 * c[1] + o2 * c[2] + o3 * c[3]))
                                + (o4 * c[4] + o5 * c[5] + o6 * c[6] + o7 * c[7])
                                + (o8 * c[8] + o9 * c[9] + o10 * c[10] + o11 * c[11])
                            )
                        continue
                    for w in range(LANES):
                        lines[r, j, w] = o * cells[g, q, last, w]
                    for e in range(0, last, 4):
                        o0, o1, o2, o3 = own[r, q, e], own[r, q, e + 1], own[r, q, e + 2], own[r, q, e + 3]
                        for w in range(LANES):
                            lines[r, j, w] += (
                                o0 * cells[g, q, e, w]
                                + o1 * cells[g, q, e + 1, w]
                                + o2 * cells[g, q, e + 2, w]
                                + o3 * cells[g, q, e + 3, w]
                            )
            for r in range(n_rows):
                line = lines[r]
                if windows == 1:
                    if i == 0:
                        sums[r, 0] = NOUGHT
                    for j in range(BLOCKS):
                        for w in range(LANES):
                            sums[r, 0, w] += line[j, w]
                    continue
                for j in range(BLOCKS):
                    q, low, high = BLOCKS * i + j, max(0, j - radius), min(BLOCKS - 1, j + radius)
                    if high - low == 2:  # most often
                        for w in range(LANES):
                            sums[r, q, w] = line[low, w] + line[low + 1, w] + line[low + 2, w]
                    else:
                        for w in range(LANES):
                            sums[r, q, w] = line[low, w]
                        for k in range(low + 1, high + 1):
                            for w in range(LANES):
                                sums[r, q, w] += line[k, w]
        for item in range(n_rows * windows):  # block by block, the rows in turn
            if windows == 1:
                i, r, j, low, high = 0, item, 0, 0, 0
            else:
                i, j, r = item // (BLOCKS * n_rows), item // n_rows % BLOCKS, item % n_rows
                low, high = max(0, i - radius), min(BLOCKS - 1, i + radius)
            window = BLOCKS * i + j
            if high - low == 2:
                q = BLOCKS * low + j
                for w in range(LANES):
                    fit[w] = log_weights[g, w] + sums[r, q, w] + sums[r, q + BLOCKS, w] + sums[r, q + 2 * BLOCKS, w]
            else:
                for w in range(LANES):
                    fit[w] = log_weights[g, w]
                for k in range(low, high + 1):
                    for w in range(LANES):
                        fit[w] += sums[r, BLOCKS * k + j, w]
            n = LANES // 2
            for w in range(n):
                most[w] = max(fit[w], fit[w + n])
            while n > 1:  # halved time and again: a core compares many at once
                n //= 2
                for w in range(n):
                    most[w] = max(most[w], most[w + n])
            top, peak = most[0], peaks[r, window]
            if top < peak + FAINT:
                continue
            first, end = (window, window + 1) if windows > 1 else (0, BLOCKS * BLOCKS)
            if top > peak:
                for w in range(LANES):
                    if fit[w] == top:
                        which[r, window] = g * LANES + w
                        break
                less = np.exp(peak - top)
                totals[r, window] *= less
                for q in range(first, end):
                    for e in range(last):
                        means[r, q, e] *= less
                peaks[r, window] = peak = top
            for w in range(LANES):  # exp(fit - peak), as 2 to a whole number, made of its bits, times 2 to what is left
                power = max((fit[w] - peak) * LOG2E, LEAST)
                whole = np.floor(power + HALF)
                x = power - whole
                bits[w] = (np.int32(whole) + np.int32(127)) << np.int32(23)
                fit[w] = C0 + x * (C1 + x * (C2 + x * (C3 + x * (C4 + x * (C5 + x * (C6 + x * C7))))))
            total = NOUGHT
            for w in range(LANES):
                weight = fit[w] * scale[w]
                fit[w] = weight
                total += weight
            totals[r, window] += total
            if len(cells) == 1:
                for w in range(LANES):
                    weights[r, window, w] = fit[w]
            for q in range(first, end):
                for e in range(0, last, 4):
                    s0, s1, s2, s3 = NOUGHT, NOUGHT, NOUGHT, NOUGHT
                    for w in range(LANES):
                        s0 += fit[w] * cells[g, q, e, w]
                        s1 += fit[w] * cells[g, q, e + 1, w]
                        s2 += fit[w] * cells[g, q, e + 2, w]
                        s3 += fit[w] * cells[g, q, e + 3, w]
                    means[r, q, e] += s0
                    means[r, q, e + 1] += s1
                    means[r, q, e + 2] += s2
                    means[r, q, e + 3] += s3


@compiled
def detail(
    shares: Float32[np.ndarray, "blocks k"],
    which: Int64[np.ndarray, "blocks k"],
    tiles: Shaped[np.ndarray, "squares pixels"],
    around: Float32[np.ndarray, "squares cells"],
    hats: Float32[np.ndarray, "blocks padded"],
    grow: Float32[np.ndarray, "6 pixels"],
    joined: Float32[np.ndarray, "channels padded padded"],
) -> None:
    """What reduced pictures leave out of some in each block, weighed between the blocks; 0 to begin with.

    tiles: by picture, pixels in squares as wide as a block, half a block off. around: by picture, the 2 x 2 cells of blocks and
    of those one beyond the edges, of which `grow` makes pixels, where tiles are bytes that have all of the picture; else empty.
    hats: how much each block along a side counts at a pixel. These and what is found go half a block beyond the edges.
    """
    channels, side, along = len(joined), hats.shape[1] // (BLOCKS + 1), BLOCKS + 1
    mean, low = np.empty((4, channels * side * side), np.float32), np.empty((9, channels * 4), np.float32)
    lines, line = np.empty((6, 2 * side), np.float32), np.empty(2 * side, np.float32)
    for q in range(BLOCKS * BLOCKS):
        i, j = q // BLOCKS, q % BLOCKS
        mean[:] = NOUGHT
        low[:] = NOUGHT
        total, unit = NOUGHT, np.float32(1)
        for k in range(shares.shape[1]):
            share = shares[q, k]
            if share < SLIGHT:
                continue
            for s in range(4):
                tile = (which[q, k] * along + i + s // 2) * along + j + s % 2
                for x in range(mean.shape[1]):
                    mean[s, x] += share * np.float32(tiles[tile, x])
            if len(around):
                total += share
                for s in range(9):
                    square = (which[q, k] * (along + 1) + i + s // 3) * (along + 1) + j + s % 3
                    for x in range(low.shape[1]):
                        low[s, x] += share * around[square, x]
        if len(around):
            unit = 1 / BYTE
        for c in range(channels):
            for k in range(6):  # lines of cells, as wide as pixels
                s, x0 = k // 2 * 3, c * 4 + k % 2 * 2
                l0, l1, l2, l3, l4, l5 = (
                    low[s, x0],
                    low[s, x0 + 1],
                    low[s + 1, x0],
                    low[s + 1, x0 + 1],
                    low[s + 2, x0],
                    low[s + 2, x0 + 1],
                )
                for x in range(2 * side):
                    lines[k, x] = (l0 * grow[0, x] + l1 * grow[1, x] + l2 * grow[2, x]) + (
                        l3 * grow[3, x] + l4 * grow[4, x] + l5 * grow[5, x]
                    )
            for y in range(2 * side):
                g0, g1, g2, g3, g4, g5 = grow[0, y], grow[1, y], grow[2, y], grow[3, y], grow[4, y], grow[5, y]
                for x in range(2 * side):
                    line[x] = (
                        total
                        + (g0 * lines[0, x] + g1 * lines[1, x] + g2 * lines[2, x])
                        + (g3 * lines[3, x] + g4 * lines[4, x] + g5 * lines[5, x])
                    )
                down = hats[i, i * side + y]
                for s in range(2):
                    square, first, at = y // side * 2 + s, (c * side + y % side) * side, (j + s) * side
                    for x in range(side):
                        joined[c, i * side + y, at + x] += (
                            down * hats[j, at + x] * (mean[square, first + x] * unit - line[s * side + x])
                        )
