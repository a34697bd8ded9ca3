"""sdi_bench: score distillation and DDIM as one update with a different choice of noise (arXiv 2405.15891)."""

import contextlib
import re
import sys

from . import _threads as _threads
from . import _torchvision as _torchvision
from ._collector import still

# What is missing stops everything but the doctor, who says what it is.
ASKED = " ".join(sys.orig_argv)
with (
    still(),
    contextlib.suppress(Exception) if re.search(r"\bsdi_bench(\.exe)?[. ]doctor\b", ASKED) else contextlib.nullcontext(),
):
    from .draws import Item
    from .grids import Leading, Linspace, Own, Trailing, UniformLogSigma, UniformSigma, UniformT
    from .guidance import Guidance
    from .models import Codec, Empirical, Gaussian, Mixture, Network
    from .noise import (
        Consistent,
        Coupled,
        ExactRoot,
        Fixed,
        FixedPoint,
        Fresh,
        Gradient,
        Inversion,
        Mixed,
        Previous,
        Reversed,
        Simulated,
        Zero,
    )
    from .of_pictures import measure
    from .samplers import Annealed, Ddim, Ddpm, Distillation, Heun, RandomT
    from .sampling import sample

__version__ = "0.1.0"

__all__ = [
    "Annealed",
    "Codec",
    "Consistent",
    "Coupled",
    "Ddim",
    "Ddpm",
    "Distillation",
    "Empirical",
    "ExactRoot",
    "Fixed",
    "FixedPoint",
    "Fresh",
    "Gaussian",
    "Gradient",
    "Guidance",
    "Heun",
    "Inversion",
    "Item",
    "Leading",
    "Linspace",
    "Mixed",
    "Mixture",
    "Network",
    "Own",
    "Previous",
    "RandomT",
    "Reversed",
    "Simulated",
    "Trailing",
    "UniformLogSigma",
    "UniformSigma",
    "UniformT",
    "Zero",
    "measure",
    "sample",
]
