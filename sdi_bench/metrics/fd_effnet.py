"""Fréchet distance to the built-in world on features of EfficientNet-Lite0. Not FID: another network, fewer dimensions."""

from dataclasses import dataclass

from ..features.effnet import PREPROCESSING, features, projected
from ..features.frechet import frechet, moments, reference
from ..stats import Statistic
from .base import Context, Metric, UndefinedError
from .rprec import val_captions

FLOOR = 1280
"""Samples below which the bias of the distance drowns what it measures."""


@dataclass(frozen=True)
class FdEffnet(Metric):
    """Fréchet distance to the val images of the same size, on 128 fixed principal directions of pooled features.

    Biased upwards as 1/n: held against real images at equal n (CARD.md has them). Undefined for fewer than FLOOR samples or
    captions of val pictures, unless force.
    """

    force: bool = False
    unit = "feature²"
    ideal = 0.0
    preprocessing = PREPROCESSING

    def statistic(self, context: Context) -> Statistic:
        n, side = len(context.images), context.images.shape[-1]
        context.colour_pictures()
        if n < FLOOR and not self.force:
            raise UndefinedError(f"n below floor ({FLOOR})")
        if not self.force and len(set(context.prompts) & set(val_captions())) < FLOOR:
            raise UndefinedError(f"the prompts are no match for the reference: needs {FLOOR} captions of val pictures")
        points, val = projected(features(context.images)), reference("val", side)
        return lambda index: frechet(moments(points[index]), val)
