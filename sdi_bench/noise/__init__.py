"""The noise choices; one file, one yaml, one oracle each."""

from .base import Kappa, Last, Noises, Proposal
from .consistent import Consistent
from .coupled import Coupled
from .exact_root import ExactRoot
from .fixed import Fixed
from .fixed_point import FixedPoint
from .fresh import Fresh
from .gradient import Gradient
from .held import Held
from .inversion import Inversion
from .inversion_ahead import InversionAhead
from .inversion_heun import InversionHeun
from .mixed import Mixed
from .previous import Previous
from .released import ReleasedInversion
from .reversed import Reversed
from .simulated import Simulated
from .surface import Surface
from .unrolled import Unrolled
from .zero import Zero

__all__ = [
    "Consistent",
    "Coupled",
    "ExactRoot",
    "Fixed",
    "FixedPoint",
    "Fresh",
    "Gradient",
    "Held",
    "Inversion",
    "InversionAhead",
    "InversionHeun",
    "Kappa",
    "Last",
    "Mixed",
    "Noises",
    "Previous",
    "Proposal",
    "ReleasedInversion",
    "Reversed",
    "Simulated",
    "Surface",
    "Unrolled",
    "Zero",
]
