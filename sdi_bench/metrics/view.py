"""Whether an object is seen from the side that was asked for."""

import re
from dataclasses import dataclass

import numpy as np

from ..features.effnet import features
from ..features.views import VIEWS, views
from ..stats import Statistic
from .base import Context, UndefinedError
from .saturation import colour_pictures

ASKED = re.compile(rf"\b({'|'.join(VIEWS)}) view\b")


@dataclass(frozen=True)
class View:
    """Share of samples seen from the asked side, of those whose prompt asks. Chance is 1/4; for real images see CARD.md."""

    unit: str = "share"
    ideal: float | None = None

    def statistic(self, context: Context) -> Statistic:
        colour_pictures(context)
        found = [ASKED.search(prompt or "") for prompt in context.prompts]
        asked = np.array([VIEWS.index(match[1]) if match else -1 for match in found])
        if (asked < 0).all():
            raise UndefinedError("no prompt asks for a view")
        right = np.where(asked < 0, np.nan, views(features(context.images)) == asked)
        return lambda index: float(np.nanmean(right[index]))
