"""Precision and recall (Kynkäänniemi et al., arXiv 1904.06991), density and coverage (Naeem et al., arXiv 2002.09797).

Each point of a set has a ball up to its k-th nearest other point of the set, closed as in the first paper. (The code beside the
second has open ones: the same but for ties, as of pictures that are copies.)
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .. import require
from ..features.base import Features
from ..features.effnet import Effnet
from ..features.neighbours import inside, radii, squared
from ..sizes import by_size
from ..stats import Statistic, mean_of
from .base import Context, Hits, Metric, UndefinedError
from .fd import held_against, require_against


@dataclass(frozen=True)
class Neighbours(Metric):
    """What the four share. against: "real", real pictures; "samples", the model's own by DDIM, of other seeds.

    They depend on the number of pictures on both sides: compare at equal n and m. Raises ValueError for another k or against.
    """

    features: Features = Effnet()
    k: int = 3
    against: str = "real"
    unit = "share"
    streams = True
    ideal = math.inf

    def __post_init__(self) -> None:
        require.count("k", self.k)
        require_against(self.against)

    @property
    def preprocessing(self) -> str:  # type: ignore[override]
        return self.features.preprocessing

    def points(self, context: Context) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
        """Features of the samples and of what they are held against, more than k each. Raises UndefinedError."""
        others = held_against(context, self.against)
        if min(len(context.images), len(others)) <= self.k:
            raise UndefinedError(f"{len(context.images)} samples against {len(others)} pictures are too few for k = {self.k}")
        return by_size(self.features, context.images), by_size(self.features, others)

    def balls(self, context: Context) -> np.ndarray:
        """[n, m], whether sample i lies in the ball of picture j. Raises UndefinedError."""
        x, y = self.points(context)
        return inside(squared(x, y), radii(squared(y, y), self.k))


@dataclass(frozen=True)
class Precision(Neighbours):
    """Share of samples that lie in some picture's ball (arXiv 1904.06991, eq. 2). Higher is better: samples are realistic.

    Never alone: on Effnet flat colours and white noise get 1, for they lie in the large balls of outliers; recall and coverage
    see them.
    """

    def statistic(self, context: Context) -> Statistic:
        return Hits(np.asarray(self.balls(context).any(axis=1), dtype=np.float64))


@dataclass(frozen=True)
class Recall(Neighbours):
    """Share of pictures that lie in some sample's ball (arXiv 1904.06991, eq. 2). Higher is better: nothing is left out.

    The balls are those of the samples alone: an outlier among them has a large one.
    """

    of_sets = True

    def statistic(self, context: Context) -> Statistic:
        x, y = self.points(context)
        across, within = squared(x, y), squared(x, x)

        def recall(index: np.ndarray) -> float:
            if len(index) <= self.k:
                return np.nan
            some = radii(within[np.ix_(index, index)], self.k)
            return float(inside(across[index].T, some).any(axis=1).mean())

        return recall


@dataclass(frozen=True)
class Density(Neighbours):
    """Pictures' balls that a sample lies in, over k, averaged (arXiv 2002.09797). 1 on average if the laws agree.

    Above 1 samples crowd where pictures are dense, or in the balls of outliers, below 1 they stray.
    """

    k: int = 5
    unit = "ratio"
    ideal = 1.0
    of_sets = True

    def statistic(self, context: Context) -> Statistic:
        return mean_of(np.asarray(self.balls(context).sum(axis=1) / self.k))


@dataclass(frozen=True)
class Coverage(Neighbours):
    """Share of pictures whose ball holds a sample (arXiv 2002.09797). Higher is better: nothing is left out.

    If the laws agree it is 1 - (m - 1)!(n + m - k - 1)! / ((m - k - 1)!(n + m - 1)!) on average, 1 - 2^-k for many.
    """

    k: int = 5
    of_sets = True

    def statistic(self, context: Context) -> Statistic:
        balls = self.balls(context)
        return lambda index: float(balls[index].any(axis=0).mean())
