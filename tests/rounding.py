"""How far float32 may be off: unit roundoff times the amplification measured on the spot, as V1b of sdi_bench.verify has it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

U32 = 2.0**-24
"""Unit roundoff of float32."""

ROUNDINGS = 40.0
"""Of one layer: a sum of n products is off by some sqrt(n) roundings of its largest, and n is 1,000 or so."""


@contextmanager
def shaken(h: float, seed: int) -> Iterator[None]:
    """Every module's output is moved by ±h of its largest, signs at random."""
    generator = torch.Generator().manual_seed(seed)

    def move(module: nn.Module, given: Any, found: Any) -> Any:
        if not isinstance(found, Tensor) or not found.is_floating_point():
            return found
        return found + h * found.abs().max() * (torch.randint(0, 2, found.shape, generator=generator).to(found) * 2 - 1)

    handle = nn.modules.module.register_module_forward_hook(move)
    try:
        yield
    finally:
        handle.remove()


def rounding(compute: Callable[[], Any], h: float = 2.0**-14) -> float:
    """How far two float32 evaluations of compute() may be apart, by the order of their sums: the largest over its numbers.

    compute() asks networks, and what it keeps is not shaken: it runs undisturbed first.
    ROUNDINGS·u·(how far errors of relative size h in every layer's output lead it astray, over h; the largest of three draws).
    """
    plain, moved = np.asarray(compute(), dtype=np.float64), []
    for seed in range(3):
        with shaken(h, seed):
            moved.append(np.abs(np.asarray(compute(), dtype=np.float64) - plain).max())
    return ROUNDINGS * U32 * float(max(moved)) / h
