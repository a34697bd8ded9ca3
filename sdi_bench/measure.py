"""What a run can know alone: its measures with intervals, its cost, how many items diverged."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from .draws import Item
from .guidance import Guidance
from .metrics import Context, Metric, UndefinedError
from .models.base import Denoiser, ExactModel, HasData
from .stats import groups_of, jackknife

N_TRUTH = 2048
"""Fresh draws of the data that samples are measured against, at least."""

DIVERGED = 100.0
"""An item has diverged if a pixel is not finite or beyond this; images live in [-1, 1]."""


def diverged(images: Float[np.ndarray, "n *shape"]) -> Bool[np.ndarray, " n"]:
    """Which items have diverged."""
    rows = images.reshape(len(images), -1)
    with np.errstate(invalid="ignore"):
        return ~(np.abs(rows) <= DIVERGED).all(axis=1)


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


def measure(
    images: Float[np.ndarray, "n *shape"],
    items: Sequence[Item],
    model: Denoiser,
    guidance: Guidance,
    metrics: Mapping[str, Metric],
    truth: np.ndarray | None,
) -> dict[str, dict[str, Any]]:
    """metric -> {point, low, high} or {undefined: why}, and n_used, unit, ideal, preprocessing. The diverged are left out."""
    kept = ~diverged(images)
    context = Context(
        images[kept],
        [item.prompt for item, keep in zip(items, kept, strict=True) if keep],
        model,
        truth,
        same_law=guidance.scale == 1 and not isinstance(model, HasData),
    )
    groups = groups_of(np.array([item.seed for item, keep in zip(items, kept, strict=True) if keep], dtype=np.int64))
    found: dict[str, dict[str, Any]] = {}
    for name, metric in metrics.items():
        about = {"n_used": int(kept.sum()), "unit": metric.unit, "ideal": metric.ideal, "preprocessing": metric.preprocessing}
        try:
            if len(groups) < 2:
                few = (
                    "a single item has no interval"
                    if len(items) == 1
                    else f"{len(groups)} of {len(items)} items did not diverge"
                )
                raise UndefinedError(few)
            point, low, high = jackknife(metric.statistic(context), groups)
            if not np.isfinite([point, low, high]).all():
                raise UndefinedError("too few items")
            found[name] = {"point": point, "low": low, "high": high} | about
        except UndefinedError as why:
            found[name] = {"undefined": str(why)} | about
    return found
