"""Directions, one file each."""

from .base import At, Direction, Edited
from .dds import DeltaDenoising
from .interval import Interval
from .pds import PosteriorSampling
from .predicted_minus_added import PredictedMinusAdded

__all__ = ["At", "DeltaDenoising", "Direction", "Edited", "Interval", "PosteriorSampling", "PredictedMinusAdded"]
