"""Diversity: LPIPS between samples of the same prompt."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..features.lpips import taps
from ..stats import Statistic
from .base import Context, Metric, Part, UndefinedError


@dataclass(frozen=True)
class Diversity(Metric):
    """Mean LPIPS of pairs of samples of the same prompt. No direction: 0 is one picture again and again, noise is far apart.

    Prompts with one sample do not count; undefined unless some prompt has two.
    """

    unit = "LPIPS"

    def statistic(self, context: Context) -> Statistic:
        context.colour_pictures()
        n, mates = len(context.images), mates_of(context.prompts)
        blocks = [(some, pairwise(context.images[some])) for some in mates]

        def diversity(index: np.ndarray) -> float:
            chosen = np.isin(np.arange(n), index)
            kept = [(chosen[some], gaps) for some, gaps in blocks]
            n_pairs = sum(k.sum() * (k.sum() - 1) for k, _ in kept)
            return float(sum(k @ gaps @ k for k, gaps in kept) / n_pairs) if n_pairs else math.nan

        return Part(diversity, np.isin(np.arange(n), np.concatenate(mates)))


def mates_of(prompts: Sequence[str | None]) -> list[np.ndarray]:
    """The places of the samples of each prompt that has at least two. Raises UndefinedError if none has."""
    places: dict[str | None, list[int]] = {}
    for i, prompt in enumerate(prompts):
        places.setdefault(prompt, []).append(i)
    found = [np.array(some) for some in places.values() if len(some) > 1]
    if not found:
        raise UndefinedError("no prompt has two samples")
    return found


def pairwise(images: np.ndarray) -> np.ndarray:
    """LPIPS of every picture to every other, [n, n]."""
    vectors = torch.as_tensor(taps(images)).double()
    return torch.cdist(vectors, vectors).square().numpy()
