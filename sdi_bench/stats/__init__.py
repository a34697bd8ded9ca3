"""Statistics: arrays in, (point, low, high) out."""

from .extrapolation import extrapolated
from .groups import clusters_of
from .intervals import FEWEST, Estimate, Statistic, jackknife, mean_of, spread, spread_of
from .paired import Difference, difference, difference_of
from .shares import share
from .tests import UNTOLD, Equivalence, equivalent, holm, in_words, verdict

__all__ = [
    "FEWEST",
    "UNTOLD",
    "Difference",
    "Equivalence",
    "Estimate",
    "Statistic",
    "clusters_of",
    "difference",
    "difference_of",
    "equivalent",
    "extrapolated",
    "holm",
    "in_words",
    "jackknife",
    "mean_of",
    "share",
    "spread",
    "spread_of",
    "verdict",
]
