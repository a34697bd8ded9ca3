"""Metrics; one file, one yaml each."""

from .base import Context, Hits, Metric, Sights, UndefinedError
from .clip_iqa import ClipIqa
from .clip_score import ClipScore
from .contrast import Contrast
from .diversity import Diversity
from .energy import Energy
from .fd import Fd
from .frechet import Frechet
from .kd import Kd
from .known import Chamfer, Floaters, Janus, Mixed, Parted, ShapeLpips, Silhouette, ToBlend, ToShape
from .nearest import Modes, Nearest
from .novelty import Novelty
from .paired import Lpips, Psnr, Rms, SameContent, Ssim
from .prdc import Coverage, Density, Precision, Recall
from .reward import Reward
from .rprec import Named, Rprec
from .saturation import Clipped, Saturation
from .sharpness import Sharpness
from .sliced_w2 import SlicedW2
from .spectrum import Laplacian, Spectrum
from .tclip import Tclip
from .vendi import Vendi
from .view import View

MEASURES_VERSION = 2
"""Raised when a measure's definition changes: values kept with finished runs are then measured anew."""

__all__ = [
    "MEASURES_VERSION",
    "Chamfer",
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
    "Floaters",
    "Frechet",
    "Hits",
    "Janus",
    "Kd",
    "Laplacian",
    "Lpips",
    "Metric",
    "Mixed",
    "Modes",
    "Named",
    "Nearest",
    "Novelty",
    "Parted",
    "Precision",
    "Psnr",
    "Recall",
    "Reward",
    "Rms",
    "Rprec",
    "SameContent",
    "Saturation",
    "ShapeLpips",
    "Sharpness",
    "Sights",
    "Silhouette",
    "SlicedW2",
    "Spectrum",
    "Ssim",
    "Tclip",
    "ToBlend",
    "ToShape",
    "UndefinedError",
    "Vendi",
    "View",
]
