"""What is measured along a path rather than at its end. A run with a probe keeps its arrays instead of images."""

from .base import Probe
from .kappas import Kappas
from .regenerate import Regenerate
from .root_count import RootCount
from .spread import Spread
from .steepness import Steepness
from .trajectory import Trajectory

__all__ = ["Kappas", "Probe", "Regenerate", "RootCount", "Spread", "Steepness", "Trajectory"]
