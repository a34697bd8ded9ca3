"""Whether an object is seen from the side that was asked for."""

import math
import re
from dataclasses import dataclass

import numpy as np

from ..features.effnet import PREPROCESSING, features
from ..features.views import VIEWS, views
from ..stats import Statistic
from .base import Context, Metric, Part, UndefinedError, blank

ASKED = re.compile(rf"\b({'|'.join(VIEWS)}) view\b")


@dataclass(frozen=True)
class View(Metric):
    """Share of samples seen from the asked side, the mean over the k sides asked for; real images: CARD.md.

    Any constant answer gets 1/k, so that is chance, whatever the shares of the sides.
    A picture of one colour is seen from none.
    """

    unit = "share"
    ideal = math.inf
    preprocessing = PREPROCESSING

    def statistic(self, context: Context) -> Statistic:
        context.colour_pictures()
        found = [ASKED.search(prompt or "") for prompt in context.prompts]
        asked = np.array([VIEWS.index(match[1]) if match else -1 for match in found])
        if (asked < 0).all():
            raise UndefinedError("no prompt asks for a view")
        right = (views(features(context.images)) == asked) & ~blank(context.images)

        def balanced(index: np.ndarray) -> float:
            return float(np.mean([right[index][asked[index] == side].mean() for side in np.unique(asked[index])]))

        return Part(balanced, asked >= 0)
