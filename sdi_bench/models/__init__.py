"""Models: exact ones, any network through one wrapper, and any diffusers folder."""

from .base import Denoiser, ExactModel, HasCodec, HasData, HasExactRoot, Prediction
from .checkpoints import DiffusersFolder
from .gaussian import Gaussian, Normal
from .mixture import Empirical, Mixture
from .network import Codec, Network, OwnSchedule, Reparametrised

__all__ = [
    "Codec",
    "Denoiser",
    "DiffusersFolder",
    "Empirical",
    "ExactModel",
    "Gaussian",
    "HasCodec",
    "HasData",
    "HasExactRoot",
    "Mixture",
    "Network",
    "Normal",
    "OwnSchedule",
    "Prediction",
    "Reparametrised",
]
