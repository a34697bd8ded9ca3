"""Models: exact ones, and any network through one wrapper."""

from .base import Denoiser, ExactModel, HasExactRoot, Prediction
from .gaussian import Gaussian, Normal
from .mixture import Empirical, Mixture
from .network import Network, Reparametrised

__all__ = [
    "Denoiser",
    "Empirical",
    "ExactModel",
    "Gaussian",
    "HasExactRoot",
    "Mixture",
    "Network",
    "Normal",
    "Prediction",
    "Reparametrised",
]
