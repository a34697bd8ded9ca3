"""Diversity: LPIPS between samples of the same prompt."""

from dataclasses import dataclass

import numpy as np
import torch

from ..features.lpips import taps
from ..stats import Statistic
from .base import Context, Metric, UndefinedError


@dataclass(frozen=True)
class Diversity(Metric):
    """Mean LPIPS of pairs of samples of the same prompt. No direction: 0 is one picture again and again, noise is far apart.

    Undefined unless some prompt has three samples: an interval leaves some out.
    """

    unit = "LPIPS"

    def statistic(self, context: Context) -> Statistic:
        context.colour_pictures()
        n = len(context.images)
        places: dict[str | None, list[int]] = {}
        for i, prompt in enumerate(context.prompts):
            places.setdefault(prompt, []).append(i)
        if max(map(len, places.values()), default=0) < 3:
            raise UndefinedError("no prompt has three samples")
        mates = [np.array(some) for some in places.values() if len(some) > 1]
        blocks = [(some, pairwise(context.images[some])) for some in mates]

        def diversity(index: np.ndarray) -> float:
            chosen = np.isin(np.arange(n), index)
            kept = [(chosen[some], gaps) for some, gaps in blocks]
            return float(sum(k @ gaps @ k for k, gaps in kept) / sum(k.sum() * (k.sum() - 1) for k, _ in kept))

        return diversity


def pairwise(images: np.ndarray) -> np.ndarray:
    """LPIPS of every picture to every other, [n, n]."""
    vectors = torch.as_tensor(taps(images)).double()
    return torch.cdist(vectors, vectors).square().numpy()
