"""Metrics; one file, one yaml each."""

from .base import Context, Metric, UndefinedError
from .contrast import Contrast
from .energy import Energy
from .frechet import Frechet
from .nearest import Modes, Nearest
from .sharpness import Sharpness
from .sliced_w2 import SlicedW2

__all__ = ["Context", "Contrast", "Energy", "Frechet", "Metric", "Modes", "Nearest", "Sharpness", "SlicedW2", "UndefinedError"]
