"""How far one update scatters over the draws of its noise: Var[update | x0] along a path."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from .. import require
from ..directions import Edited
from ..draws import Item, PhiloxDraws
from ..noise import Last
from ..predictor import Cost
from ..samplers import Distillation
from ..samplers.distillation import evaluate
from ..sampling import Job
from ..scenes import Image
from .base import bound, points, sigmas, stacked

ANEW = 1_000_003
"""Added to a seed for each further draw: far from the seeds that runs use."""


@dataclass(frozen=True)
class Spread:
    """Of the full-step update target - x0 (arXiv 2405.15891, eq. 10) on the job's own path, over n_draws of its noise:

    `variance` [items, places]: its variance, the mean over pixels, unbiased. `signal`: the mean over pixels of its squared
    expectation, unbiased (so it can come out below 0). `sigma`: the level, where kappa is sought.

    n_draws >= 2, n_levels >= 1 places. Raises ValueError for a sampler that is no distillation, and for a noise that is held
    for each camera.
    """

    n_draws: int = 16
    n_levels: int = 12

    def __post_init__(self) -> None:
        require.count("probe.n_draws", self.n_draws, least=2)
        require.count("probe.n_levels", self.n_levels)

    def check(self, job: Job) -> None:
        if not isinstance(job.sampler, Distillation):
            raise ValueError("probe=spread: needs a sampler that adds noise to x0 (sds, sdi, ism)")
        if job.sampler.noise.holds and job.scene.n_cameras != 0:
            raise ValueError(
                f"probe=spread: noise={type(job.sampler.noise).__name__} is kept for each camera, and a place of the path is "
                "looked at from none; use scene=image, or noise@sampler.noise=inversion"
            )

    def measure(self, job: Job, items: Sequence[Item], cost: Cost) -> Mapping[str, np.ndarray]:
        sampler = cast(Distillation, job.sampler)
        net, own = bound(job, items, cost)
        source = None if sampler.source is None else Edited(sampler.source.x0(net, own), sampler.source.prompt)
        scene, noise, direction = sampler.scene, sampler.noise, sampler.direction
        again = [
            PhiloxDraws(tuple(Item(i.prompt, i.seed + (k + 1) * ANEW) for i in items), job.device) for k in range(self.n_draws)
        ]
        found = points(job, items, cost, self.n_levels)
        variances, signals = [], []
        for step, state, _ in found:
            total = square = torch.zeros_like(state.x0)
            with torch.no_grad():
                for draws in again:
                    x0 = scene.projected(state.x0, job.model, draws, step.index) if isinstance(scene, Image) else state.x0
                    made = evaluate(x0, step, Last(state.eps, state.kappa), noise, direction, net, draws, state.learnt, source)
                    total, square = total + (made.target - state.x0), square + (made.target - state.x0).square()
            mean = total / self.n_draws
            variance = (square - self.n_draws * mean.square()) / (self.n_draws - 1)
            variances.append(variance.flatten(1).mean(dim=1))
            signals.append((mean.square() - variance / self.n_draws).flatten(1).mean(dim=1))
        return {"variance": stacked(variances), "signal": stacked(signals), "sigma": sigmas(found, len(items))}
