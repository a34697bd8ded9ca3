"""What may be said of differences: adjusted p-values, equivalence, a verdict."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr

from .paired import Difference

LEVEL = 0.05

UNTOLD = "not enough items"
"""The verdict on a difference that has no interval."""


class Equivalence(NamedTuple):
    """p: that the difference is as large as the margin, NaN where no test could be made; equal: p < 0.05."""

    p: float
    equal: bool


def holm(p_values: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """p-values of k tests, adjusted so that any false one among them has its level (Holm 1979). Raises ValueError."""
    if not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"p_values: {p_values} must be in [0, 1]; leave out tests that could not be made")
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)).clip(max=1)
    adjusted = np.empty(len(order))
    adjusted[order] = stepped
    return adjusted


def equivalent(difference: Difference, margin: float) -> Equivalence:
    """Two one-sided t tests that the difference is inside ±margin (Schuirmann 1987); equal where both say so at 0.05.

    That is where the 90 % interval is inside. margin: in the difference's unit, fixed before the data are seen; ValueError
    unless above 0.
    """
    if not margin > 0:
        raise ValueError(f"margin: {margin} must be above 0")
    point, error, df = difference.estimate.point, difference.error, difference.df
    if np.isnan(error):
        return Equivalence(np.nan, False)
    if error == 0:
        return Equivalence(float(abs(point) >= margin), abs(point) < margin)
    p = float(stdtr(df, -(margin - abs(point)) / error))
    return Equivalence(p, p < LEVEL)


def verdict(difference: Difference, margin: float | None, p_adjusted: float) -> str:
    """What the data say of a - b: "equal within m", "differs, by less than m", "higher", "lower" or "not distinguishable";
    UNTOLD where it has no interval.

    margin: as in equivalent, m is printed by it; None where none was fixed, and then nothing is called equal.
    p_adjusted: of the difference, by holm over all that is claimed together; below 0.05 it differs.
    """
    if np.isnan(difference.error):
        return UNTOLD
    p_equal = np.nan if margin is None else equivalent(difference, margin).p
    return in_words(difference.estimate.point, p_adjusted, margin, p_equal)


def in_words(point: float, p_adjusted: float, margin: float | None, p_equal: float) -> str:
    """The verdict from the numbers of a table. p_equal: of equivalent, NaN where no margin was fixed."""
    differs = p_adjusted < LEVEL
    if p_equal < LEVEL:
        return f"differs, by less than {margin:g}" if differs else f"equal within {margin:g}"
    return ("higher" if point > 0 else "lower") if differs else "not distinguishable"
