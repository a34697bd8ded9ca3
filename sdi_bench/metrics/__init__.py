"""Metrics; one file, one yaml each."""

from .base import Context, Metric, UndefinedError
from .contrast import Contrast
from .diversity import Diversity
from .energy import Energy
from .fd_effnet import FdEffnet
from .frechet import Frechet
from .nearest import Modes, Nearest
from .rprec import Rprec
from .saturation import Clipped, Saturation
from .sharpness import Sharpness
from .sliced_w2 import SlicedW2
from .tclip import Tclip
from .view import View

__all__ = [
    "Clipped",
    "Context",
    "Contrast",
    "Diversity",
    "Energy",
    "FdEffnet",
    "Frechet",
    "Metric",
    "Modes",
    "Nearest",
    "Rprec",
    "Saturation",
    "Sharpness",
    "SlicedW2",
    "Tclip",
    "UndefinedError",
    "View",
]
