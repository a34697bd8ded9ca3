"""Statistics: arrays in, (point, low, high) out."""

from .extrapolation import extrapolated
from .groups import clusters_of, groups_of
from .intervals import Estimate, Statistic, jackknife, mean_of
from .paired import Difference, difference, difference_of
from .shares import share
from .tests import Equivalence, equivalent, holm, verdict

__all__ = [
    "Difference",
    "Equivalence",
    "Estimate",
    "Statistic",
    "clusters_of",
    "difference",
    "difference_of",
    "equivalent",
    "extrapolated",
    "groups_of",
    "holm",
    "jackknife",
    "mean_of",
    "share",
    "verdict",
]
