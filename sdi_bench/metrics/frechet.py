"""Fréchet distance to the data, through clean-fid."""

import sys
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch

from ..stats import Statistic
from .base import Context, Metric, UndefinedError


@dataclass(frozen=True)
class Frechet(Metric):
    """|m - m'|² + tr(C + C' - 2 (C C')^1/2) of the pixels' means and covariances (Heusel et al., arXiv 1706.08500).

    In pixel space, not on network features: it compares two moments only. Computed by clean-fid (arXiv 2104.11222).
    Undefined for fewer samples than twice the pixels (the covariance is not determined) and without the extra `fid`.
    """

    unit = "pixel²"
    ideal = 0.0

    def statistic(self, context: Context) -> Statistic:
        y = context.law().reshape(len(context.law()), -1)
        x = context.images.reshape(len(context.images), -1)
        if min(len(x), len(y)) < 2 * x.shape[1]:
            raise UndefinedError(f"{len(x)} samples are too few for {x.shape[1]} pixels")
        distance = clean_fid().frechet_distance
        mean, covariance = y.mean(axis=0), np.cov(y, rowvar=False)

        def frechet(index: np.ndarray) -> float:
            some = x[index]
            return float(distance(some.mean(axis=0), np.cov(some, rowvar=False), mean, covariance))

        return frechet


def clean_fid() -> ModuleType:
    """clean-fid's `fid` module, also beside a CPU torch. Raises UndefinedError if it is not installed.

    clean-fid imports torchvision, whose wheels are built for CUDA. Beside a CPU torch two of its compiled operators are
    missing, and the import fails; once they are declared it succeeds. Nothing here calls them.
    """
    try:
        import torchvision  # noqa: F401
    except ImportError as error:
        raise UndefinedError("needs clean-fid: pip install 'sdi-bench[fid]'") from error
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        from cleanfid import fid
    except ImportError as error:
        raise UndefinedError("needs clean-fid: pip install 'sdi-bench[fid]'") from error
    return fid


OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
"""Where the two operators are declared; they live as long as this object."""
