"""Whole paths of many items: x0, eps and kappa at some levels, step lengths and turning angles at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .. import require
from ..draws import Item
from ..predictor import Cost
from ..sampling import Job
from .base import cosine, evenly, rms, stacked


@dataclass(frozen=True)
class Trajectory:
    """The states of a path, for measures over seeds.

    n_kept >= 2: of so many states, evenly spaced, x0, eps, kappa (NaN at the start and in samplers without one) and the change
    of x0 in the step that led there are kept, float32 [items, kept, *shape], with their sigma [items, kept].
    Of all states: `length` [items, states - 1], rms of the change of x0; `turn` [items, states - 2], the cosine between
    successive changes; `contrast` [items, states], the standard deviation of x0 over an image.
    """

    n_kept: int = 12

    def __post_init__(self) -> None:
        require.count("probe.n_kept", self.n_kept, least=2)

    def check(self, job: Job) -> None:
        require.count("grid.n_levels", job.sampler.n_states, least=3)

    def measure(self, job: Job, items: Sequence[Item], cost: Cost) -> Mapping[str, np.ndarray]:
        kept = set(evenly(job.sampler.n_states, self.n_kept))
        rows: dict[str, list[torch.Tensor]] = {name: [] for name in ("x0", "eps", "kappa", "update", "sigma")}
        lengths, turns, contrasts = [], [], []
        before: torch.Tensor | None = None
        change: torch.Tensor | None = None
        for state in job.states(items, cost):
            step = None if before is None else state.x0 - before
            if step is not None:
                lengths.append(rms(step))
                if change is not None:
                    turns.append(cosine(step, change))
            contrasts.append(state.x0.flatten(1).std(dim=1))
            if state.index in kept:
                missing = torch.full_like(state.x0, torch.nan)
                values = {"x0": state.x0, "eps": state.eps, "kappa": state.kappa, "update": step}
                for name, value in values.items():
                    rows[name].append((missing if value is None else value).float())
                rows["sigma"].append(state.level.sigma.expand(len(items)))
            before, change = state.x0, step
        found = {name: stacked(values) for name, values in rows.items()}
        return found | {"length": stacked(lengths), "turn": stacked(turns), "contrast": stacked(contrasts)}
