"""Retrieval precision: is a sample's own prompt the one among many that suits it best? After R-precision (arXiv 1711.10485)."""

import math
from dataclasses import dataclass
from functools import cache

from ..data.world import World
from ..features import towers
from ..features.effnet import PREPROCESSING, features
from ..stats import Statistic
from .base import Context, Hits, Metric


@dataclass(frozen=True)
class Rprec(Metric):
    """Share of samples that score higher with their own prompt than with 99 other val captions (R@1 of 100). Chance is 1 %.

    The others are the same for every sample of a prompt. Higher is better up to what real images get (CARD.md).
    """

    unit = "share"
    ideal = math.inf
    preprocessing = PREPROCESSING

    def statistic(self, context: Context) -> Statistic:
        context.colour_pictures()
        asked = context.asked()
        return Hits(towers.retrieved(towers.pictures(features(context.images)), asked, val_captions()))


@cache
def val_captions() -> tuple[str, ...]:
    """The different captions of the built-in world's val images, sorted."""
    return tuple(sorted(set(World.open().where(split="val").table["caption"])))
