"""Cases of a test, some of them in every run and all with -m "slow or not slow"."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import pytest


def some(every: int, cases: Iterable[Any]) -> list[Any]:
    """The first of `every` cases in a row stays in every run; the others are slow."""
    return [case if k % every == 0 else slow(case) for k, case in enumerate(cases)]


def crossed(*axes: Sequence[Any]) -> list[Any]:
    """All combinations; in every run are as many as the longest axis has values, with each value of each axis among them."""
    found, most = [], max(map(len, axes))
    for places in product(*(range(len(axis)) for axis in axes)):
        case = tuple(axis[k] for axis, k in zip(axes, places, strict=True))
        kept = any(places == tuple(k % len(axis) for axis in axes) for k in range(most))
        found.append(pytest.param(*case) if kept else slow(case))
    return found


def slow(case: Any) -> Any:
    """The case, marked."""
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
