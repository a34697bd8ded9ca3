"""The Vendi score: how many different pictures a prompt has."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..features.base import Features
from ..features.effnet import Effnet
from ..sizes import by_size
from ..stats import Statistic
from .base import Context, Metric, Part, UndefinedError
from .diversity import mates_of


@dataclass(frozen=True)
class Vendi(Metric):
    """exp of the entropy of the cosine kernel's eigenvalues (Friedman and Dieng, arXiv 2210.02410), averaged over prompts.

    Between 1, one picture again and again, and the number of samples of a prompt, all orthogonal: compare at equal numbers.
    No direction, as for diversity. Prompts with one sample do not count; undefined unless some prompt has two.
    """

    features: Features = Effnet()
    unit = "pictures"
    streams = True

    @property
    def preprocessing(self) -> str:  # type: ignore[override]
        return self.features.preprocessing

    def statistic(self, context: Context) -> Statistic:
        context.rgb()
        n, mates = len(context.images), mates_of(context.prompts)
        points = by_size(self.features, context.images)
        blocks = [(some, cosines(points[some])) for some in mates]

        def mean(index: np.ndarray) -> float:
            chosen = np.isin(np.arange(n), index)
            kept = [kernel[np.ix_(chosen[some], chosen[some])] for some, kernel in blocks]
            scores = [vendi(kernel) for kernel in kept if len(kernel) > 1]
            return float(np.mean(scores)) if scores else np.nan

        return Part(mean, np.isin(np.arange(n), np.concatenate(mates)))


def cosines(points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n n"]:
    """Cosines of the angles between points. Raises UndefinedError where one is 0, and has no direction."""
    units = points.astype(np.float64)
    lengths = np.linalg.norm(units, axis=1, keepdims=True)
    if not lengths.all():
        raise UndefinedError("a picture has no features")
    units /= lengths
    return units @ units.T


def vendi(kernel: Float[np.ndarray, "n n"]) -> float:
    """exp(-sum λ log λ), λ the eigenvalues of kernel / n, 0 log 0 = 0 (arXiv 2210.02410, definition 1); the diagonal is 1."""
    values = np.linalg.eigvalsh(kernel / len(kernel))
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))
