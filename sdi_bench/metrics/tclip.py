"""Agreement of picture and prompt as a cosine, after CLIPScore (Hessel et al., arXiv 2104.08718) but with our own scorer."""

import math
from dataclasses import dataclass

import numpy as np

from ..features import towers
from ..features.effnet import PREPROCESSING, features
from ..stats import Statistic, mean_of
from .base import Context, Metric, blank


@dataclass(frozen=True)
class Tclip(Metric):
    """Mean of 100·max(cos, 0) of each sample and its prompt. Higher is better up to what real images get (CARD.md).

    40 times the paper's 2.5·max(cos, 0), as torchmetrics has CLIPScore. A picture of one colour gets 0.
    """

    unit = "100 cos"
    ideal = math.inf
    preprocessing = PREPROCESSING

    def statistic(self, context: Context) -> Statistic:
        context.colour_pictures()
        asked = context.asked()
        cosine = (towers.pictures(features(context.images)) * towers.texts(asked)).sum(axis=1, dtype=np.float64)
        return mean_of(np.where(blank(context.images), 0.0, 100 * cosine.clip(min=0)))
