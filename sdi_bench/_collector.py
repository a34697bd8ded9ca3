"""Python's collector of cycles, which looks through all that a program has imported again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def still() -> Iterator[None]:
    """It does not look meanwhile: what is imported stays, and looking through it is a tenth of the time that takes."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()
