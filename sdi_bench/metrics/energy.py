"""Energy distance to the data's law."""

from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float

from ..stats import Statistic
from .base import Context, Metric, UndefinedError


def cdist(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """Euclidean distances of rows."""
    return scipy.spatial.distance.cdist(x, y)


@dataclass(frozen=True)
class Energy(Metric):
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, X samples, Y data (Szekely and Rizzo 2013), not its root.

    |.| is the root mean square over values in about [-1, 1]; in the source it is Euclidean, sqrt(d) times as much. Unbiased
    (pairs of distinct samples only), so it can be a little below 0 when the laws agree; 0 on average only if they do.
    Undefined for a single sample, which makes no pair.
    """

    unit = "rms pixel"
    ideal = 0.0

    def statistic(self, context: Context) -> Statistic:
        x, y = flat(context.images), flat(context.law())
        if len(x) < 2:
            raise UndefinedError("a single sample makes no pair")
        if len(y) < 2:
            raise UndefinedError("a single draw of the data makes no pair")
        across, within = cdist(x, y).mean(axis=1), cdist(x, x)
        truth = scipy.spatial.distance.pdist(y).mean()

        def energy(index: np.ndarray) -> float:
            n = len(index)
            return float(2 * across[index].mean() - within[np.ix_(index, index)].sum() / (n * (n - 1)) - truth)

        return energy


def flat(images: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n d"]:
    """Images as vectors whose Euclidean distance is the root mean square over pixels."""
    vectors = images.reshape(len(images), -1)
    return vectors / np.sqrt(vectors.shape[1])
