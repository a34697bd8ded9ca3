"""Directions, one file each."""

from .base import At, Direction
from .interval import Interval
from .predicted_minus_added import PredictedMinusAdded

__all__ = ["At", "Direction", "Interval", "PredictedMinusAdded"]
