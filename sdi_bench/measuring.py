"""What sets of samples are measured to be: their metrics with intervals, alone and against each other."""

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped

from .data.world import World
from .draws import Item
from .metrics import Context, Hits, Metric, Sights, UndefinedError
from .metrics.base import used_by
from .metrics.saturation import beyond
from .models.base import Denoiser, ExactModel, HasData
from .sizes import Packed, Pictures, by_size
from .stats import FEWEST, Difference, Statistic, clusters_of, difference_of, mean_of, share, spread

N_TRUTH = 2048
"""Fresh draws of the data that samples are measured against, at least."""

DIVERGED = 100.0
"""An item has diverged if a pixel is not finite or beyond this; images live in [-1, 1]."""

FLAGGED = 0.01
"""Share of diverged items from which a distance between sets is flagged: it is of those that did not diverge."""


def diverged(images: Pictures) -> Bool[np.ndarray, " n"]:
    """Which items have diverged."""
    if isinstance(images, Packed):
        return images.lost
    if images.dtype == object:
        return by_size(diverged, images)
    rows: np.ndarray = images.reshape(len(images), -1)
    with np.errstate(invalid="ignore"):
        return ~(np.abs(rows) <= DIVERGED).all(axis=1)


def levels(images: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The nearest of the 256 levels of a picture file, 0 to 255 for [-1, 1], clipped. NaN stays."""
    return np.round((images.clip(-1, 1) + 1) * 127.5)


def rounded(images: Pictures) -> Pictures:
    """Clipped to [-1, 1] and rounded to 256 levels, as a picture file would be. NaN stays."""
    if isinstance(images, Packed):
        return images if images.values.dtype == np.uint8 else packed(images)
    if images.dtype == object:
        return by_size(rounded, images)
    return levels(images) / 127.5 - 1


def packed(images: Pictures, dtype: type = np.uint8) -> Packed:
    """Pictures as a shard keeps them: in uint8, rounded exactly as `rounded` does, or in float16.

    Of packed ones, what they were before they were first rounded stays known.
    """
    flat = images.reshape(-1, *images.shape[-3:])

    def kept(image: Float[np.ndarray, "c h w"]) -> np.ndarray:
        with np.errstate(over="ignore"):  # what overflows float16 has diverged
            return (levels(np.nan_to_num(image)) if dtype is np.uint8 else image).astype(dtype)

    if isinstance(flat, Packed):
        lost, share = flat.lost, flat.beyond
    else:
        lost, share = (np.array([found(image[None])[0] for image in flat]) for found in (diverged, beyond))
    return Packed(np.stack([kept(image) for image in flat]), lost, share).reshape(*images.shape)


def fresh_data(model: Denoiser, items: Sequence[Item], n_least: int, seed: int) -> np.ndarray | None:
    """Draws of the data for the items' prompts, each item as often as the others; None if the model has none.

    Real images where the model knows some, else draws of its law.
    """
    prompts, rng = [item.prompt for item in items] * -(-n_least // len(items)), np.random.default_rng(seed)
    if isinstance(model, HasData):
        return model.data(prompts, rng).numpy()
    if isinstance(model, ExactModel):
        with torch.no_grad():
            return model.sample(prompts, rng).numpy()
    return None


def has_law(model: Denoiser | None) -> bool:
    """True where the law of the data is known, whatever the prompt."""
    return isinstance(model, ExactModel) and not isinstance(model, HasData)


@cache
def concepts() -> dict[str, str]:
    """caption -> concept, of the built-in world."""
    table = World.open().table
    return dict(zip(table["caption"], table["concept"], strict=True))


class Clusters(NamedTuple):
    """What stands or falls together. labels: of each item; over: what the clusters are."""

    labels: Shaped[np.ndarray, " n"]
    over: str

    def repeat(self, n: int) -> "Clusters":
        """Each item n times, as its views."""
        return Clusters(np.repeat(self.labels, n), self.over)


def clustered(items: Sequence[Item], model: Denoiser | None = None) -> Clusters:
    """The clusters that every interval of these items is over: what was drawn, and could have come out otherwise.

    Prompts are drawn from all that could be asked: a concept, all its prompts, views and seeds, is one cluster (a prompt that
    is no caption of the built-in world is its own). Fewer than FEWEST say nothing of others: then it is about these prompts
    alone, over seeds. So it is where the law of the data is known: its classes were not drawn, and without one it is another
    law. There each seed holds all classes; where seeds are few, each item, for they are drawn independently.
    """
    seeds = np.array([str(item.seed) for item in items])
    if has_law(model):
        few = len(set(seeds)) < FEWEST
        return Clusters(np.arange(len(items)) if few else seeds, "items" if few else "seeds")
    names = [item.prompt and concepts().get(item.prompt, item.prompt) for item in items]
    if len(set(names)) < FEWEST:
        return Clusters(seeds, "seeds" if model is not None else "pictures")
    known = any(item.prompt in concepts() for item in items)
    labels = [f"seed {item.seed}" if name is None else name for item, name in zip(items, names, strict=True)]
    return Clusters(np.array(labels), "concepts" if known else "prompts")


@dataclass(frozen=True)
class Samples:
    """A finished set of samples and what it is held against; see Context for real, samples, paired and truth.

    images: [n, *shape], or of several sizes (sizes.py), the diverged among them. labels, over: as of Clusters. truth: of the
    items as often as there are, in their order (`fresh_data`).
    """

    images: Pictures
    items: Sequence[Item]
    labels: Shaped[np.ndarray, " n"]
    model: Denoiser | None = None
    truth: Pictures | None = None
    same_law: bool = False
    real: Pictures | None = None
    samples: Pictures | None = None
    paired: Pictures | None = None
    raw: Pictures | None = None
    sights: Sights | None = None
    over: str = "clusters"
    truth_prompts: Sequence[str | None] = ()

    @property
    def kept(self) -> Bool[np.ndarray, " n"]:
        """Which items have not diverged; of an object that has in one picture, none."""
        lost = diverged(self.images)
        return ~(lost if self.sights is None else np.isin(self.sights.objects, self.sights.objects[lost]))

    def count(self, some: Shaped[np.ndarray, " m"] | slice = slice(None)) -> int:
        """How many items some of them are, or objects."""
        return len(np.arange(len(self.items))[some] if self.sights is None else np.unique(self.sights.objects[some]))

    def only(self, keep: Bool[np.ndarray, " n"]) -> "Samples":
        """The same with some items alone."""
        items = [item for item, k in zip(self.items, keep, strict=True) if k]
        paired, raw = (None if array is None else array[keep] for array in (self.paired, self.raw))
        sights = self.sights and self.sights.only(keep)
        return replace(
            self, images=self.images[keep], items=items, labels=self.labels[keep], paired=paired, raw=raw, sights=sights
        )

    @property
    def context(self) -> Context:
        """As a metric is shown it."""
        return Context(
            self.images,
            [item.prompt for item in self.items],
            self.model,
            self.truth,
            self.same_law,
            [item.seed for item in self.items],
            self.real,
            self.samples,
            self.paired,
            self.raw,
            self.sights,
            self.truth_prompts,
        )

    def statistic(self, metric: Metric) -> Statistic:
        """The metric's. Raises UndefinedError."""
        return metric.statistic(self.context if metric.streams else self.context.whole())


def samples_of(
    images: Pictures,
    items: Sequence[Item],
    clusters: Clusters,
    model: Denoiser | None = None,
    scale: float | None = None,
    truth: np.ndarray | None = None,
    uint8: bool = True,
    sights: Sights | None = None,
    real: Pictures | None = None,
    samples: Pictures | None = None,
    paired: Pictures | None = None,
) -> Samples:
    """A run as every command measures it, and what it is held against.

    scale: its guidance. uint8: rounded, all but the truth, unless the law of the data is known: such a law does not end at
    [-1, 1].
    """
    uint8 = uint8 and not has_law(model)
    shown = rounded(images) if uint8 else images
    real, samples, paired = (other if other is None or not uint8 else rounded(other) for other in (real, samples, paired))
    same_law = scale == 1 and model is not None and not isinstance(model, HasData)
    told = () if truth is None else [item.prompt for item in items] * (len(truth) // len(items))
    held = (model, truth, same_law, real, samples, paired, images, sights, clusters.over, told)
    return Samples(shown, items, clusters.labels, *held)


def measure(
    given: Samples, metrics: Mapping[str, Metric], left_out: dict[str, list[float]] | None = None
) -> dict[str, dict[str, Any]]:
    """metric -> {point, low, high} or {undefined: why}, and n_used, clusters, n_clusters, unit, ideal, preprocessing, flagged.

    low and high are NaN where there are too few clusters for an interval. n_used, n_clusters: the items that have a say in it,
    and the `clusters` that these are of. Diverged items are left out, and counted elsewhere; but where samples are hits or
    misses, they are misses. flagged: too many diverged for a distance between sets to be one of the sampler. failed: True where
    it is undefined for another reason than the samples, and may not be so next time.
    left_out: is told, metric by metric, the point without each group of clusters in turn (`stats.clusters_of`), of which paired
    intervals of two runs of the same items can be made.
    """
    kept = given.kept
    some = given.only(kept)
    flagged = given.count(kept) < (1 - FLAGGED) * given.count()
    found = {}
    for name, metric in metrics.items():
        about = {"clusters": given.over, "unit": metric.unit, "ideal": metric.ideal, "preprocessing": metric.preprocessing}
        about["flagged"] = bool(metric.of_sets and flagged)
        found[name] = {"n_used": some.count()} | tried(partial(interval, metric, given, some)) | about
        each = found[name].pop("left_out", [])
        if left_out is not None:
            left_out[name] = each
    return found


FAILURES = (ValueError, MemoryError, OSError, torch.OutOfMemoryError, torch.linalg.LinAlgError)
"""What a metric may raise where nothing is wrong with it: bad settings, bad files, numbers nobody can take, no room."""


def tried(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What one metric makes, or why there is none: it must not lose the others. A fault in its code is shown as such."""
    try:
        return make()
    except UndefinedError as why:
        return {"undefined": str(why)}
    except FAILURES as error:
        said = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        return {"undefined": said.partition("\n")[0], "failed": True}
    except Exception as fault:
        traceback.print_exception(fault)
        return {"undefined": f"it failed, see the traceback ({type(fault).__name__}: {fault})", "failed": True}


def interval(metric: Metric, given: Samples, some: Samples) -> dict[str, Any]:
    """point, low, high of the items that have not diverged, with the interval over all clusters; n_used, n_clusters, left_out.

    some: of what is given, what has not diverged. Raises UndefinedError.
    """
    if not len(some.items):
        raise UndefinedError(f"all {given.count()} {'items' if given.sights is None else 'objects'} diverged")
    statistic = some.statistic(metric)
    used = used_by(statistic, len(some.items))
    labels = some.labels[used]
    if isinstance(statistic, Hits):
        hits, labels = np.zeros(len(given.items)), given.labels
        hits[given.kept] = statistic.values
        estimate, found = share(hits, labels), spread(mean_of(hits), clusters_of(labels))
    else:
        found = spread(lambda index: statistic(used[index]), clusters_of(labels))
        estimate = found.interval()
    if not math.isfinite(estimate.point):
        raise UndefinedError(f"its value is {estimate.point}")
    about = {"n_used": some.count(used), "n_clusters": len(np.unique(labels)), "left_out": list(found.left_out)}
    return estimate._asdict() | about


class Compared(NamedTuple):
    """A difference, and the number of clusters that it is over."""

    difference: Difference
    n_clusters: int


def compared(a: Samples, b: Samples, metric: Metric) -> Compared:
    """The metric of a less that of b on the items that diverged in neither, with its interval by clusters.

    a and b: of the same items in the same order. Raises UndefinedError.
    """
    if list(a.items) != list(b.items):
        raise ValueError(f"compared: {len(a.items)} and {len(b.items)} items are not the same")
    both = a.kept & b.kept
    if not both.any():
        raise UndefinedError("every item diverged in one of them")
    first, second = (some.only(both).statistic(metric) for some in (a, b))
    n = int(both.sum())
    used = np.intersect1d(used_by(first, n), used_by(second, n))
    if not len(used):
        raise UndefinedError("no item has a say in both")
    labels = a.labels[both][used]
    found = difference_of(lambda index: first(used[index]), lambda index: second(used[index]), clusters_of(labels))
    if not math.isfinite(found.estimate.point):
        raise UndefinedError(f"its value is {found.estimate.point}")
    return Compared(found, len(np.unique(labels)))
