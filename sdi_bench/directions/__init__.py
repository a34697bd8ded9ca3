"""Directions, one file each."""

from .base import At, Direction
from .interval import Interval
from .mean_shift import MeanShift
from .predicted_minus_added import PredictedMinusAdded

__all__ = ["At", "Direction", "Interval", "MeanShift", "PredictedMinusAdded"]
