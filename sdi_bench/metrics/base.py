"""What a metric is: a statistic of a set of samples, with its unit and its direction."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ..features import SHAPES
from ..models.base import Denoiser
from ..sizes import Pictures, sizes, whole
from ..stats import Statistic, mean_of


class UndefinedError(Exception):
    """This metric says nothing here; the message says why."""


def finite(pictures: Pictures, what: str) -> Pictures:
    """What samples are held against. Raises UndefinedError if there are none, or not all of them are finite."""
    if not len(pictures):
        raise UndefinedError(f"there are no {what}")
    if not all(np.isfinite(picture).all() for picture in pictures):
        raise UndefinedError(f"the {what} are not finite")
    return pictures


@dataclass(frozen=True)
class Sights:
    """Of pictures around objects: which object each shows, and from which azimuth in degrees.

    surface: points on an object by its number, in the world of data.cameras; None where only pictures are there.
    """

    objects: Int[np.ndarray, " n"]
    azimuths: Float[np.ndarray, " n"]
    surface: Callable[[int], Float[np.ndarray, "points 3"]] | None = None

    def only(self, keep: Bool[np.ndarray, " n"]) -> "Sights":
        """Of some of the pictures."""
        return Sights(self.objects[keep], self.azimuths[keep], self.surface)


@dataclass(frozen=True)
class Context:
    """What is measured.

    images: finite samples [n, *shape] in about [-1, 1]. Pictures of several sizes are an object array [n] (sizes.py), also in
    what they are held against. prompts: of each. model: where they come from.
    truth: fresh draws of the data for the same prompts in the same shares, [m, *shape]; None if there are none. truth_prompts:
    of each of these; empty where it is not known.
    same_law: True if a perfect sampler would reproduce the data's law (gamma = 1, and data drawn from the model itself).
    seeds: of each sample. What sets are held against: real, real pictures [k, *shape]; samples, the model's own by DDIM, same
    prompts and guidance, other seeds [l, *shape]. paired: the reference's picture of each item, [n, *shape], NaN where it has
    diverged. raw: the samples before they were rounded to 8 bits, as far as they were kept. sights: of samples of objects, what
    each shows. Each is None where there is none. Pictures are packed (sizes.py) where that is how they were kept; see `whole`.
    """

    images: Pictures
    prompts: Sequence[str | None]
    model: Denoiser | None
    truth: Pictures | None
    same_law: bool
    seeds: Sequence[int] = ()
    real: Pictures | None = None
    samples: Pictures | None = None
    paired: Pictures | None = None
    raw: Pictures | None = None
    sights: Sights | None = None
    truth_prompts: Sequence[str | None] = ()

    def whole(self) -> "Context":
        """The same, with nothing packed."""
        names = ("images", "truth", "real", "samples", "paired", "raw")
        found: dict[str, Any] = {name: whole(some) for name in names if (some := getattr(self, name)) is not None}
        return replace(self, **found)

    def around(self) -> Sights:
        """What the samples show. Raises UndefinedError unless they are pictures around objects."""
        if self.sights is None:
            raise UndefinedError("the samples are not pictures around objects")
        return self.sights

    def data(self) -> Pictures:
        """The truth, else the real pictures. Raises UndefinedError where there is neither."""
        data = self.real if self.truth is None else self.truth
        if data is None:
            raise UndefinedError("the model's data cannot be drawn, and no real pictures are given")
        return finite(data, "data")

    def expected(self, values: Float[np.ndarray, "m *rest"]) -> Float[np.ndarray, "n *rest"]:
        """What the data would have in each sample's place: the mean of their values over those of its prompt.

        values: of each of data(). Over all of them where their prompts are not known. So a prompt that is left out is left out
        on both sides, and that prompts differ is no error of a ratio to data.
        """
        if not self.truth_prompts:
            return np.broadcast_to(values.mean(axis=0), (len(self.prompts), *values.shape[1:]))
        places: dict[str | None, list[int]] = {}
        for i, prompt in enumerate(self.truth_prompts):
            places.setdefault(prompt, []).append(i)
        means = {prompt: values[some].mean(axis=0) for prompt, some in places.items()}
        return np.stack([means[prompt] for prompt in self.prompts])

    def law(self) -> Pictures:
        """The truth, for measures of the whole law. Raises UndefinedError where a perfect sampler would not give it."""
        if not self.same_law:
            raise UndefinedError(
                "a perfect sampler would give another law than the data's (real images, or guidance other than 1)"
            )
        if self.truth is None:
            raise UndefinedError("the model's data cannot be drawn")
        return finite(self.truth, "data")

    def pictures(self) -> None:
        """Raises UndefinedError unless the samples are pictures, of one size or several."""
        if self.images[0].ndim != 3:
            raise UndefinedError("the samples are not pictures")

    def alike(self) -> Pictures:
        """The data. Raises UndefinedError unless they and the samples are pictures of one size."""
        self.pictures()
        found = sorted({*sizes(self.images), *sizes(self.data())})
        if len(found) > 1:
            least, most = (" x ".join(map(str, size[::-1])) for size in (found[0], found[-1]))
            raise UndefinedError(f"of pictures of one size, and of data of the same; these are {least} to {most}")
        return self.data()

    def rgb(self) -> None:
        """Raises UndefinedError unless the samples are colour pictures, of one size or several."""
        self.pictures()
        if self.images[0].shape[0] != 3:
            raise UndefinedError("the samples are not colour pictures")

    def asked(self) -> list[str]:
        """The prompts. Raises UndefinedError where there is none to hold the sample against."""
        found = [prompt for prompt in self.prompts if prompt is not None]
        if len(found) < len(self.prompts):
            raise UndefinedError("samples without a prompt have nothing to agree with")
        return found

    def colour_pictures(self) -> None:
        """Raises UndefinedError unless the samples are colour pictures of a size that the metric networks know."""
        self.pictures()
        if self.images.shape[1:] not in SHAPES:
            raise UndefinedError("the samples are not colour pictures of 64 or 32 pixels")


class Metric(ABC):
    """A measure of a set of samples.

    unit: of the value. ideal: the value of perfect samples, nearer is better; inf where higher is better; None where no value
    is good or bad in itself. preprocessing: what images go through before they are looked at; None: pixels as they are.
    of_sets: a distance between sets, which says nothing of single samples. streams: takes packed pictures (sizes.py), which are
    read a few at a time (`by_size`); without it all are there as arrays.
    """

    unit: str
    ideal: float | None = None
    preprocessing: str | None = None
    of_sets: bool = False
    streams: bool = False

    @abstractmethod
    def statistic(self, context: Context) -> Statistic:
        """The measure as a function of a subset of the samples. Raises UndefinedError."""


@dataclass(frozen=True, eq=False)
class Hits:
    """The share of hits as a statistic. values: [n], 1.0 for a hit and 0.0 for a miss."""

    values: Float[np.ndarray, " n"]

    def __call__(self, index: Int[np.ndarray, " m"]) -> float:
        """The share among some."""
        return float(self.values[index].mean())


@dataclass(frozen=True, eq=False)
class Part:
    """A statistic that some of the samples have no say in. used: [n], those that have: n and the clusters are theirs."""

    statistic: Statistic
    used: Bool[np.ndarray, " n"]

    def __call__(self, index: Int[np.ndarray, " m"]) -> float:
        """The statistic of those of some that have a say; NaN where none has."""
        some = index[self.used[index]]
        return self.statistic(some) if len(some) else math.nan


def used_by(statistic: Statistic, n: int) -> Int[np.ndarray, " m"]:
    """Which of n samples a statistic is of."""
    return np.flatnonzero(statistic.used) if isinstance(statistic, Part) else np.arange(n)


def mean_known(values: Float[np.ndarray, " n"], why: str) -> Statistic:
    """The mean of the values that are not NaN as a statistic. Raises UndefinedError, saying why, if there are none."""
    known = ~np.isnan(values)
    if not known.any():
        raise UndefinedError(why)
    return mean_of(values) if known.all() else Part(mean_of(values), known)


def blank(images: Float[np.ndarray, "n c h w"]) -> Bool[np.ndarray, " n"]:
    """Which pictures are of one colour, to half an 8-bit step: they show nothing, so they suit no prompt and no side."""
    return np.ptp(images, axis=(2, 3)).max(axis=1) <= 1 / 255


NOTHING = 1e-12
"""Of the data's: what is less is the rounding of nothing. One level of 255 in one pixel at 512² is 1e-10 of a variance."""


def log_ratio(values: Float[np.ndarray, " n"], data: Float[np.ndarray, " n"], what: str) -> Statistic:
    """log(mean over samples / mean over data) of `what`. data: as `Context.expected` has it.

    Raises UndefinedError where either has none of it.
    """
    if not data.mean() > 0:
        raise UndefinedError(f"the data have no {what} to compare with")
    if not values.mean() > NOTHING * data.mean():
        raise UndefinedError(f"the samples have no {what}: the log ratio to data is minus infinity")

    def ratio(index: Int[np.ndarray, " m"]) -> float:
        own, theirs = values[index].mean(), data[index].mean()
        if not theirs > 0:
            return math.nan
        return math.log(own / theirs) if own > NOTHING * theirs else -math.inf

    return ratio
