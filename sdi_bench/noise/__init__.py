"""The noise choices; one file, one yaml, one oracle each."""

from .base import Kappa, Proposal
from .exact_root import ExactRoot
from .fixed import Fixed
from .fixed_point import FixedPoint
from .fresh import Fresh
from .gradient import Gradient
from .inversion import Inversion
from .mixed import Mixed
from .previous import Previous
from .released import ReleasedInversion
from .zero import Zero

__all__ = [
    "ExactRoot",
    "Fixed",
    "FixedPoint",
    "Fresh",
    "Gradient",
    "Inversion",
    "Kappa",
    "Mixed",
    "Previous",
    "Proposal",
    "ReleasedInversion",
    "Zero",
]
