"""A seam for reward models: any function of pictures and prompts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..features.inception import bytes_of
from ..stats import Statistic, mean_of
from .base import Context, Metric, UndefinedError

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
        if context.images.dtype == object:
            raise UndefinedError("of pictures of one size")
        asked = context.asked()
        assert self.function is not None  # __post_init__ has said so
        given = self.function(bytes_of(context.images), asked)
        try:
            values = torch.as_tensor(given, dtype=torch.float64).detach().cpu().numpy()
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"metric.{self.name}.function={self.function!r}: gave {given!r}, must be numbers") from error
        if values.shape != (len(asked),):
            raise ValueError(f"metric.{self.name}.function={self.function!r}: gave {values.shape}, must be ({len(asked)},)")
        if not np.isfinite(values).all():
            said = f"{(~np.isfinite(values)).sum()} of {len(asked)} values that are not finite"
            raise ValueError(f"metric.{self.name}.function={self.function!r}: gave {said}")
        return mean_of(values)
