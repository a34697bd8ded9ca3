"""sb.measure: pictures, in memory or in folders, as `sdi_bench.evaluate` measures them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .draws import Item
from .sizes import Pictures, together
from .texts import near_match

if TYPE_CHECKING:  # slow to import
    import pandas as pd

    from .evaluate import Finished
    from .metrics import Metric

Given = str | Path | torch.Tensor | np.ndarray | Sequence[Any]
"""A folder; or pictures in [-1, 1], [n, channels, height, width], or a list of [channels, height, width] of any sizes."""


def measure(
    images: Given,
    prompts: Sequence[str] | str | Path | None = None,
    real: Given | None = None,
    *,
    metrics: "Sequence[str] | Mapping[str, Metric] | None" = None,
    paired: Given | None = None,
) -> "pd.DataFrame":
    """Pictures as a tidy table: a row a measure, with point, low and high (a 95 % interval), or why it is undefined.

    images: what is measured; a finished run's folder too. prompts: one a picture, in their order, or for a folder a table of
    them as `sdi_bench.evaluate` reads it. real: what their distribution is held against; also a split of the built-in world,
    as "val". paired: the same number of pictures, one for each, or for a folder another with the same file names.
    metrics: names of conf/metric, or metrics by name; None: those of `sdi_bench.evaluate`.
    Raises ValueError, naming the argument, for what cannot be measured.
    """
    from . import evaluate
    from .command_line import options

    run = finished("images", images)
    if isinstance(prompts, str | Path):
        if run.files is None:
            raise ValueError(f"prompts={str(prompts)!r}: a table names files, and images are not in a folder; give a list")
        (run,) = evaluate.told([run], str(prompts))
    elif prompts is not None:
        if len(prompts) != len(run.items) or not all(isinstance(prompt, str) for prompt in prompts):
            raise ValueError(f"prompts: {len(prompts)} for {len(run.items)} images; give one text for each")
        items = tuple(replace(item, prompt=prompt or None) for item, prompt in zip(run.items, prompts, strict=True))
        run = replace(run, items=items, clusters=evaluate.clustered(items, run.model))
    size = evaluate.size_of(run.images)
    held = (
        evaluate.real_pictures(real, size) if isinstance(real, str) else None if real is None else finished("real", real).images
    )
    if held is not None and not evaluate.comparable(held, run.images):
        raise ValueError(f"real: pictures of {held[0].shape}, images are {run.images[0].shape}")
    mates = None if paired is None else mates_of(run, finished("paired", paired))
    if metrics is None:
        metrics = evaluate.usual(real is not None)
    for name in metrics if not isinstance(metrics, Mapping) else ():
        if name not in options("metric"):
            raise ValueError(f"metrics={name!r}: {near_match(name, options('metric'))}")
    found = dict(metrics) if isinstance(metrics, Mapping) else evaluate.chosen(metrics)
    return evaluate.framed(evaluate.records(run, run.given(True, held, None, mates), found, {}))


def finished(field: str, images: Given) -> "Finished":
    """Pictures as a command has them. Raises ValueError, naming the field."""
    from .evaluate import Finished, clustered, open_folder

    if isinstance(images, str | Path):
        return open_folder(Path(images), field)
    each = [np.asarray(one.detach().cpu() if isinstance(one, torch.Tensor) else one) for one in images]
    if not each:
        raise ValueError(f"{field}: there are none")
    for one in each:
        if one.ndim != 3 or one.dtype.kind != "f" or one.shape[0] not in (1, 3):
            raise ValueError(
                f"{field}: {one.dtype} of shape {one.shape}; a picture is floats in [-1, 1], [1 or 3 channels, height, width] "
                "(of 8 bits: pixels / 127.5 - 1)"
            )
    items = tuple(Item(None, i) for i in range(len(each)))
    return Finished(field, items, together([one.astype(float) for one in each]), clustered(items))


def mates_of(run: "Finished", other: "Finished") -> Pictures:
    """The picture that each is paired with: in a folder that of its name, else that of its place. Raises ValueError."""
    from .evaluate import matched

    if run.files is not None and other.files is not None:
        return matched(run, other, "paired")
    shapes = [[image.shape for image in some] for some in (run.images, other.images)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"paired: {len(other.images)} pictures for {len(run.images)} images; one for each, of its size")
    return other.images
