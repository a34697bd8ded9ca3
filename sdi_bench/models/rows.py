"""How many rows go through a network at once: what is asked for, and less where memory is too small for it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

OUT = ("out of memory", "can't allocate memory", "not enough memory")
"""What allocators of accelerators and of the host say."""


@dataclass
class Rows:
    """Calls a network on some rows of a batch at a time. Rows go through alone, so cutting changes no more than rounding.

    what: is called, in messages. would_do: where not one row fits. fit: so many did, since more did not; None: all have so far.
    """

    what: str
    would_do: str
    fit: int | None = None

    def __call__(self, n: int, call: Callable[[slice], Tensor], most: int | None = None) -> Tensor:
        """The rows that call gives for slices of n, most at a time; half as many once they are out of memory, from then on.

        Raises ValueError, in one line, if memory is too small for one.
        """
        done, parts = 0, []
        while done < n:
            size = min(n - done, most or n, self.fit or n)
            if (part := self.tried(call, slice(done, done + size), size)) is None:
                continue
            parts.append(part)
            done += size
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def tried(self, call: Callable[[slice], Tensor], rows: slice, size: int) -> Tensor | None:
        """What call gives; None where that many do not fit, and fewer are to be tried."""
        try:
            return call(rows)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise ValueError(f"{self.what}: memory is too small for one row at a time; {self.would_do} would do") from error
        self.fit = size // 2
        warnings.warn(f"{self.what}: out of memory at {size} rows; from now on {self.fit} at a time", stacklevel=3)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return None


def is_out_of_memory(error: RuntimeError) -> bool:
    """Is it an allocator's, of whatever device?"""
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(said in str(error).lower() for said in OUT)
