"""Directions, one file each."""

from .asynchronous import Asynchronous
from .base import At, Direction
from .bridge import Bridge
from .csd import Csd
from .interval import Interval
from .nfsd import Nfsd
from .predicted_minus_added import PredictedMinusAdded
from .sjc import Sjc
from .velocity import Velocity

__all__ = [
    "Asynchronous",
    "At",
    "Bridge",
    "Csd",
    "Direction",
    "Interval",
    "Nfsd",
    "PredictedMinusAdded",
    "Sjc",
    "Velocity",
]
