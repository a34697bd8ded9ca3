"""Fréchet distance of the samples to other pictures, on features of a network."""

from dataclasses import dataclass

from ..features import frechet
from ..features.base import Features
from ..sizes import Pictures, by_size
from ..stats import Statistic
from .base import Context, Metric, UndefinedError, finite

AGAINST = {"real": "real pictures", "samples": "DDIM samples of other seeds"}


def require_against(against: str) -> None:
    """Raises ValueError unless Context knows such pictures."""
    if against not in AGAINST:
        raise ValueError(f"metric.against: {against!r} is not one of {', '.join(AGAINST)}")


def held_against(context: Context, against: str) -> Pictures:
    """The pictures to compare with. Raises UndefinedError where there are not two, or the samples are no colour pictures."""
    context.rgb()
    pictures = context.real if against == "real" else context.samples
    if pictures is None:
        raise UndefinedError(f"no {AGAINST[against]} to hold it against")
    if len(pictures) < 2:
        raise UndefinedError(f"needs 2 {AGAINST[against]} to hold it against, has {len(pictures)}")
    return finite(pictures, AGAINST[against])


@dataclass(frozen=True)
class Fd(Metric):
    """Fréchet distance of the samples' features to those of real pictures, or of the model's own DDIM samples.

    FID only where features is FID's network. Biased upwards as 1/n: held against others at equal n. Its interval is about the
    samples, the pictures held against taken as they are. against: real or samples. Undefined below features.floor samples,
    unless force. Raises ValueError.
    """

    features: Features
    against: str = "real"
    force: bool = False
    unit = "feature²"
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
        if len(context.images) < (2 if self.force else self.features.floor):
            raise UndefinedError(f"n below floor ({self.features.floor})")
        return frechet.statistic(by_size(self.features, context.images), by_size(self.features, other))
