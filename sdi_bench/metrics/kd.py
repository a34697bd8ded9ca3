"""Kernel distance of the samples to other pictures, on features of a network."""

from dataclasses import dataclass

from ..features import kernel
from ..features.base import Features
from ..sizes import by_size
from ..stats import Statistic
from .base import Context, Metric, UndefinedError
from .fd import held_against, require_against


@dataclass(frozen=True)
class Kd(Metric):
    """Squared MMD, unbiased at any n, of the samples' features and those of real pictures, or of the model's DDIM samples.

    KID only where features is Inception, and then often printed times 1,000. Below 0 half of the time for equal laws. against:
    real or samples. Its interval is about the samples, the pictures held against taken as they are. Undefined for a single
    sample. Raises ValueError.
    """

    features: Features
    against: str = "real"
    unit = "kernel"
    streams = True
    ideal = 0.0
    of_sets = True

    def __post_init__(self) -> None:
        require_against(self.against)

    @property
    def preprocessing(self) -> str:  # type: ignore[override]
        return self.features.preprocessing

    def statistic(self, context: Context) -> Statistic:
        other = held_against(context, self.against)
        if len(context.images) < 2:
            raise UndefinedError("a single sample makes no pair")
        return kernel.statistic(by_size(self.features, context.images), by_size(self.features, other))
