"""Directions, one file each."""

from .base import At, Direction, Edited
from .dds import DeltaDenoising
from .entropic import Entropic
from .interval import Interval
from .mean_shift import MeanShift
from .pds import PosteriorSampling
from .predicted_minus_added import PredictedMinusAdded
from .variational import Variational

__all__ = [
    "At",
    "DeltaDenoising",
    "Direction",
    "Edited",
    "Entropic",
    "Interval",
    "MeanShift",
    "PosteriorSampling",
    "PredictedMinusAdded",
    "Variational",
]
