"""A seam for reward models: any function of pictures and prompts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..features.clip import bytes_of
from ..stats import Statistic, mean_of
from .base import Context, Metric

Rewards = Callable[[np.ndarray, Sequence[str]], Any]
"""(pictures [n, h, w, 3] uint8, prompts) -> n numbers, higher is better."""


@dataclass(frozen=True)
class Reward(Metric):
    """Mean reward of pictures for their prompts (ImageReward, HPS, an aesthetic score, ...). function: a dotted path in a yaml,
    or an object that is called. Raises ValueError if it does not give one finite number a picture.
    """

    function: Rewards | None
    name: str = "reward"
    unit = "reward"
    ideal = math.inf

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ValueError(
                f"metric.{self.name}.function={self.function!r}: must be a function of (uint8 [n, h, w, 3], prompts); "
                "in a yaml {_target_: hydra.utils.get_method, path: package.module.function}"
            )

    def statistic(self, context: Context) -> Statistic:
        context.rgb()
        asked = context.asked()
        assert self.function is not None  # __post_init__ has said so
        values = np.asarray(self.function(bytes_of(context.images), asked), dtype=np.float64)
        if values.shape != (len(asked),) or not np.isfinite(values).all():
            raise ValueError(
                f"metric.{self.name}: gave {values.shape} for {len(asked)} pictures, or a value that is not finite"
            )
        return mean_of(values)
