"""Directions, one file each."""

from .base import At, Direction
from .entropic import Entropic
from .interval import Interval
from .mean_shift import MeanShift
from .predicted_minus_added import PredictedMinusAdded
from .variational import Variational

__all__ = ["At", "Direction", "Entropic", "Interval", "MeanShift", "PredictedMinusAdded", "Variational"]
