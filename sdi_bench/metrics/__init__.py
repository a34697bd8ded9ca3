"""Metrics; one file, one yaml each."""

from .base import Context, Hits, Metric, UndefinedError
from .clip_iqa import ClipIqa
from .clip_score import ClipScore
from .contrast import Contrast
from .diversity import Diversity
from .energy import Energy
from .fd import Fd
from .frechet import Frechet
from .kd import Kd
from .nearest import Modes, Nearest
from .novelty import Novelty
from .paired import Lpips, Psnr, Rms, SameContent, Ssim
from .prdc import Coverage, Density, Precision, Recall
from .reward import Reward
from .rprec import Rprec
from .saturation import Clipped, Saturation
from .sharpness import Sharpness
from .sliced_w2 import SlicedW2
from .spectrum import Laplacian, Spectrum
from .tclip import Tclip
from .vendi import Vendi
from .view import View

__all__ = [
    "ClipIqa",
    "ClipScore",
    "Clipped",
    "Context",
    "Contrast",
    "Coverage",
    "Density",
    "Diversity",
    "Energy",
    "Fd",
    "Frechet",
    "Hits",
    "Kd",
    "Laplacian",
    "Lpips",
    "Metric",
    "Modes",
    "Nearest",
    "Novelty",
    "Precision",
    "Psnr",
    "Recall",
    "Reward",
    "Rms",
    "Rprec",
    "SameContent",
    "Saturation",
    "Sharpness",
    "SlicedW2",
    "Spectrum",
    "Ssim",
    "Tclip",
    "UndefinedError",
    "Vendi",
    "View",
]
