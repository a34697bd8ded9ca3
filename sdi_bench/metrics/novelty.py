"""Is it new? LPIPS to the nearest training picture of the built-in world."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from ..data.world import World
from ..features.lpips import distance
from ..stats import Statistic, mean_of
from .base import Context, Metric

N_NEAR = 10


@dataclass(frozen=True)
class Novelty(Metric):
    """Mean LPIPS to the nearest training picture, sought among the ten nearest by rms pixel distance. Copies have 0.

    No direction: real pictures of other objects have some too, and noise has more. What copies, FD and KD reward.
    """

    unit = "LPIPS"

    def statistic(self, context: Context) -> Statistic:
        context.colour_pictures()
        return mean_of(to_nearest(context.images, trained(context.images.shape[-1])))


def to_nearest(images: Float[np.ndarray, "n 3 h w"], known: Float[np.ndarray, "m 3 h w"]) -> Float[np.ndarray, " n"]:
    """LPIPS to the nearest known picture, sought among the ten nearest by rms pixel distance."""
    single = images.astype(np.float32)
    near = nearest(single.reshape(len(single), -1), known.reshape(len(known), -1))
    columns = [distance(single, known[near[:, k]]) for k in range(near.shape[1])]
    return np.min(columns, axis=0).astype(np.float64)


@cache
def trained(size: int) -> Float[np.ndarray, "n 3 {size} {size}"]:
    """The training pictures in [-1, 1]."""
    return World.open().where("train").pixels(size)


def nearest(points: Float[np.ndarray, "n d"], known: Float[np.ndarray, "m d"]) -> np.ndarray:
    """The indices of the ten nearest known points to each point: [n, 10]."""
    far = np.square(known).sum(axis=1) - 2 * points @ known.T  # the point's own square changes no order
    return np.argpartition(far, N_NEAR - 1, axis=1)[:, :N_NEAR]
