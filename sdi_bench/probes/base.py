"""What a probe is, and the paths that probes walk."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..draws import Item, PhiloxDraws
from ..guidance import Prompt
from ..levels import Step
from ..predictor import Cost, Predictor
from ..samplers import State
from ..sampling import Job
from ..scenes import Image


@runtime_checkable
class Probe(Protocol):
    """A measurement along a job's path, for a batch of items."""

    def check(self, job: Job) -> None:
        """Raise ValueError, naming the field, before any network call, if this job cannot be probed so."""

    def measure(self, job: Job, items: Sequence[Item], cost: Cost) -> Mapping[str, np.ndarray]:
        """Named arrays whose first axis is the items. Network rows are added to `cost`."""


class Point(NamedTuple):
    """A place on a path: the step that leaves it, the state there, and the x0 that comes next on this path."""

    step: Step
    state: State
    x0_next: Tensor


def bound(job: Job, items: Sequence[Item], cost: Cost) -> tuple[Predictor, PhiloxDraws]:
    """The job's model and draws for these items, as its sampler has them."""
    prompts: tuple[Prompt, ...] = tuple(item.prompt for item in items)
    if isinstance(job.scene, Image):
        prompts = job.scene.prompts(prompts, None)
    net = Predictor(job.model, job.schedule, job.sampler.guidance, prompts, job.device, cost)
    return net, PhiloxDraws(tuple(items), job.device)


def evenly(n: int, n_kept: int) -> list[int]:
    """At most n_kept of 0 .. n - 1, both ends among them, as evenly as whole numbers go."""
    return sorted({int(i) for i in np.linspace(0, n - 1, min(n, n_kept)).round()})


def points(job: Job, items: Sequence[Item], cost: Cost, n_kept: int) -> list[Point]:
    """n_kept places along the job's path; the last state, which no step leaves, is none."""
    kept = set(evenly(job.sampler.n_states - 1, n_kept))
    found, before = [], None
    for state in job.states(items, cost):
        if before is not None and before.index in kept:
            found.append(Point(Step(before.level, state.level, state.index), before, state.x0))
        before = state
    return found


def rms(x: Float[Tensor, "batch *shape"]) -> Float[Tensor, " batch"]:
    """Root of the mean square over an image."""
    return x.square().flatten(1).mean(dim=1).sqrt()


def cosine(x: Float[Tensor, "batch *shape"], y: Float[Tensor, "batch *shape"]) -> Float[Tensor, " batch"]:
    """The cosine between two images as vectors; NaN where one is 0."""
    return (x * y).flatten(1).sum(dim=1) / (x.flatten(1).norm(dim=1) * y.flatten(1).norm(dim=1))


def stacked(values: Sequence[Tensor]) -> np.ndarray:
    """[batch, ...] of every place -> [batch, places, ...], float64."""
    return torch.stack(list(values), dim=1).cpu().numpy()


def sigmas(found: Sequence[Point], n_items: int) -> np.ndarray:
    """The level each place is at, [items, places]."""
    return stacked([point.step.src.sigma.expand(n_items) for point in found])
