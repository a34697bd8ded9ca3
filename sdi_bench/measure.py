"""What sets of samples are measured to be: their metrics with intervals, alone and against each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped

from .draws import Item
from .metrics import Context, Hits, Metric, Sights, UndefinedError
from .models.base import Denoiser, ExactModel, HasData
from .sizes import Pictures, by_size
from .stats import Difference, Estimate, clusters_of, difference_of, groups_of, jackknife, share

N_TRUTH = 2048
"""Fresh draws of the data that samples are measured against, at least."""

DIVERGED = 100.0
"""An item has diverged if a pixel is not finite or beyond this; images live in [-1, 1]."""

FLAGGED = 0.01
"""Share of diverged items from which a distance between sets is flagged: it is of those that did not diverge."""


def diverged(images: Pictures) -> Bool[np.ndarray, " n"]:
    """Which items have diverged."""
    if images.dtype == object:
        return by_size(diverged, images)
    rows: np.ndarray = images.reshape(len(images), -1)
    with np.errstate(invalid="ignore"):
        return ~(np.abs(rows) <= DIVERGED).all(axis=1)


def rounded(images: Pictures) -> Pictures:
    """Clipped to [-1, 1] and rounded to 256 levels, as a picture file would be. NaN stays."""
    if images.dtype == object:
        return by_size(rounded, images)
    return np.round((images.clip(-1, 1) + 1) * 127.5) / 127.5 - 1


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


@dataclass(frozen=True)
class Samples:
    """A finished set of samples and what it is held against; see Context for real, samples, paired and truth.

    images: [n, *shape], or of several sizes (sizes.py), the diverged among them. labels: of each item's cluster: items of one
    label stand or fall together.
    """

    images: Pictures
    items: Sequence[Item]
    labels: Shaped[np.ndarray, " n"]
    model: Denoiser | None = None
    truth: np.ndarray | None = None
    same_law: bool = False
    real: np.ndarray | None = None
    samples: np.ndarray | None = None
    paired: np.ndarray | None = None
    raw: np.ndarray | None = None
    sights: Sights | None = None

    @property
    def kept(self) -> Bool[np.ndarray, " n"]:
        """Which items have not diverged."""
        return ~diverged(self.images)

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
        )


def samples_of(
    images: Float[np.ndarray, "n *shape"], items: Sequence[Item], model: Denoiser, scale: float, truth: np.ndarray | None
) -> Samples:
    """What the main job measures: items grouped by seed, and a law that is the data's where guidance is 1."""
    labels = groups_of(np.array([item.seed for item in items], dtype=np.int64))
    return Samples(images, items, labels, model, truth, same_law=scale == 1 and not isinstance(model, HasData))


def measure(given: Samples, metrics: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
    """metric -> {point, low, high} or {undefined: why}, and n_used, unit, ideal, preprocessing, flagged.

    Diverged items are left out, and counted elsewhere; but where samples are hits or misses, they are misses. flagged: too many
    diverged for a distance between sets to be one of the sampler.
    """
    kept = given.kept
    found: dict[str, dict[str, Any]] = {}
    context = given.only(kept).context
    for name, metric in metrics.items():
        about: dict[str, Any] = {"n_used": int(kept.sum()), "unit": metric.unit, "ideal": metric.ideal}
        about |= {"preprocessing": metric.preprocessing, "flagged": bool(metric.of_sets and kept.mean() < 1 - FLAGGED)}
        try:
            if len(given.items) < 2:
                raise UndefinedError("a single item has no interval")
            if kept.sum() < 2:
                raise UndefinedError(f"{int(kept.sum())} of {len(given.items)} items did not diverge")
            estimate = interval(metric, context, given, kept)
            if not np.isfinite(estimate).all():
                raise UndefinedError("too few items")
            found[name] = estimate._asdict() | about
        except UndefinedError as why:
            found[name] = {"undefined": str(why)} | about
    return found


def interval(metric: Metric, context: Context, given: Samples, kept: Bool[np.ndarray, " n"]) -> Estimate:
    """The metric of what is kept, with its interval over all clusters. Raises UndefinedError."""
    statistic = metric.statistic(context)
    if isinstance(statistic, Hits):
        hits = np.zeros(len(kept))
        hits[kept] = statistic.values
        return share(hits, given.labels)
    return jackknife(statistic, clusters_of(given.labels[kept]))


def compared(a: Samples, b: Samples, metric: Metric) -> Difference:
    """The metric of a less that of b on the items that diverged in neither, with its interval by clusters.

    a and b: of the same items in the same order. Raises UndefinedError.
    """
    if list(a.items) != list(b.items):
        raise ValueError(f"compared: {len(a.items)} and {len(b.items)} items are not the same")
    both = a.kept & b.kept
    if both.sum() < 2:
        raise UndefinedError("fewer than two items to compare")
    first, second = (metric.statistic(some.only(both).context) for some in (a, b))
    return difference_of(first, second, clusters_of(a.labels[both]))
