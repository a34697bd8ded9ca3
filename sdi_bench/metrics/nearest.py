"""Distance to the nearest training image, and how many of them are met."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import scipy

from ..models import Empirical, Mixture
from ..stats import Statistic, mean_of
from .base import Context, Metric, UndefinedError
from .energy import flat


def distances(context: Context) -> np.ndarray:
    """Root mean square distance from every sample to every centre of the model, [n, centres]. Raises UndefinedError."""
    if not isinstance(context.model, Empirical | Mixture):
        raise UndefinedError("for models of labelled images or mixtures only")
    return scipy.spatial.distance.cdist(flat(context.images), flat(context.model.centres.numpy()))


@dataclass(frozen=True)
class Nearest(Metric):
    """Root mean square distance to the nearest training image. No direction: 0 is a copy, good here, bad elsewhere."""

    unit = "rms pixel"

    def statistic(self, context: Context) -> Statistic:
        return mean_of(distances(context).min(axis=1))


@dataclass(frozen=True)
class Modes(Metric):
    """Distinct nearest training images over the number that as many draws of the data would meet; below 1 modes are lost."""

    unit = "ratio to data"
    ideal = 1.0

    def statistic(self, context: Context) -> Statistic:
        context.law()
        modes = distances(context).argmin(axis=1)
        model = context.model
        assert isinstance(model, Empirical | Mixture)  # distances() has said so
        sizes = {prompt: int(log_prior.isfinite().sum()) for prompt, log_prior in model.log_priors.items()}
        prompts = list(context.prompts)

        def occupied(index: np.ndarray) -> float:
            counts = Counter(prompts[i] for i in index)
            expected = sum(sizes[p] * (1 - (1 - 1 / sizes[p]) ** n) for p, n in counts.items())
            met = {(prompts[i], int(modes[i])) for i in index}
            return len(met) / expected

        return occupied
