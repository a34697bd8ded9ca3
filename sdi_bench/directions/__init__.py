"""Directions, one file each."""

from .asynchronous import Asynchronous
from .base import At, Direction, Edited
from .bridge import Bridge
from .csd import Csd
from .dds import DeltaDenoising
from .entropic import Entropic
from .interval import Interval
from .mean_shift import MeanShift
from .nfsd import Nfsd
from .pds import PosteriorSampling
from .predicted_minus_added import PredictedMinusAdded
from .sjc import Sjc
from .variational import Variational
from .velocity import Velocity

__all__ = [
    "Asynchronous",
    "At",
    "Bridge",
    "Csd",
    "DeltaDenoising",
    "Direction",
    "Edited",
    "Entropic",
    "Interval",
    "MeanShift",
    "Nfsd",
    "PosteriorSampling",
    "PredictedMinusAdded",
    "Sjc",
    "Variational",
    "Velocity",
]
