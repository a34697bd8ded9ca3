"""Pictures of an experiment's runs: where an item stands, and what was made of it."""

from collections.abc import Sequence

import numpy as np

from sdi_bench.draws import Item

from ..runs import Run, Runs


def place_of(items: Sequence[Item], prompt: str, seed: int) -> int:
    """Where an item stands. Raises ValueError if it is not there."""
    if Item(prompt, seed) not in items:
        raise ValueError(
            f"no item {prompt!r} of seed {seed}; there are {', '.join(sorted({str(item.prompt) for item in items}))}"
        )
    return list(items).index(Item(prompt, seed))


def run_of(runs: Runs, tier: str, row: str) -> Run:
    """The first run of a tier with this row. Raises ValueError if there is none."""
    found = {run.row: run for run in reversed(runs.tier(tier))}
    if row not in found:
        raise ValueError(f"tier {tier!r} has no row {row!r}; it has {', '.join(sorted(found))}")
    return found[row]


def picture(run: Run, prompt: str, seed: int) -> np.ndarray:
    """The image a run without a probe made of an item."""
    items, images = run.images
    return np.asarray(images[place_of(items, prompt, seed)])
