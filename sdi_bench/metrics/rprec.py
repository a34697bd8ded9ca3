"""Retrieval precision: is a sample's own prompt the one among many that suits it best? After R-precision (arXiv 1711.10485)."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from .. import require
from ..data.world import World
from ..features import towers
from ..features.effnet import PREPROCESSING, features
from ..stats import Statistic
from .base import Context, Hits, Metric, blank


@dataclass(frozen=True)
class Rprec(Metric):
    """Share of samples whose own prompt is among the `top` that suit them best of 100 val captions (R@top). Chance: top in 100.

    The others are the same for every sample of a prompt. Higher is better up to what real images get (CARD.md).
    top >= 1. Raises ValueError otherwise.
    """

    top: int = 1

    unit = "share"
    ideal = math.inf
    preprocessing = PREPROCESSING

    def __post_init__(self) -> None:
        require.count("metric.rprec.top", self.top)

    def found(self, context: Context) -> Float[np.ndarray, " n"]:
        """1.0 for a hit, 0.0 for a miss; a picture of one colour is one."""
        context.colour_pictures()
        hits = towers.retrieved(towers.pictures(features(context.images)), context.asked(), val_captions(), self.top)
        return np.where(blank(context.images), 0.0, hits)

    def statistic(self, context: Context) -> Statistic:
        return Hits(self.found(context))


@dataclass(frozen=True)
class Named(Rprec):
    """Share of objects whose prompt is among the `top` of 100 in at least half of the pictures around them."""

    unit = "share of objects"

    def statistic(self, context: Context) -> Statistic:
        objects = context.around().objects
        found = self.found(context)
        return Hits(np.array([float(found[objects == k].mean() >= 0.5) for k in objects]))


@cache
def val_captions() -> tuple[str, ...]:
    """The different captions of the built-in world's val images, sorted."""
    return tuple(sorted(set(World.open().where(split="val").table["caption"])))
