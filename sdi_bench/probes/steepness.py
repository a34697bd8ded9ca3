"""How steep kappa -> eps(a·x0 + b·kappa) is where eq. 8 holds: whether fixed-point iteration can find the root."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .. import require
from ..coordinates import noisy
from ..draws import Item, Purpose
from ..predictor import Cost, Use
from ..sampling import Job
from .base import bound, points, rms, sigmas, stacked


@dataclass(frozen=True)
class Steepness:
    """`radius` [items, places]: the spectral radius of d eps / d kappa at the path's own (x0, eps), by power iteration on
    central differences; Picard's iteration on eq. 8 (arXiv 2405.15891) converges near the root where it is below 1.
    `change`: the relative change of the estimate in its last iteration; large where two eigenvalues are of like size.

    n_iterations >= 2; h > 0, the length (rms) of a difference; n_levels >= 1.
    """

    n_iterations: int = 15
    h: float = 1e-4
    n_levels: int = 10

    def __post_init__(self) -> None:
        require.count("probe.n_iterations", self.n_iterations, least=2)
        require.number("probe.h", self.h, above=0)
        require.count("probe.n_levels", self.n_levels)

    def check(self, job: Job) -> None:
        require.count("grid.n_levels", job.sampler.n_states, least=2)

    def measure(self, job: Job, items: Sequence[Item], cost: Cost) -> Mapping[str, np.ndarray]:
        net, draws = bound(job, items, cost)
        found = points(job, items, cost, self.n_levels)
        radii, changes = [], []
        for step, state, _ in found:
            way = draws.normal(Purpose.KAPPA, step.index, tuple(state.x0.shape[1:]))
            radius = old = torch.ones(len(items), dtype=torch.float64, device=job.device)
            for _ in range(self.n_iterations):
                way = self.h * way / rms(way).reshape(-1, *[1] * (way.ndim - 1))
                with torch.no_grad():
                    up, down = (
                        net(noisy(state.x0, state.eps + sign * way, step.src), step.src, use=Use.OTHER).eps for sign in (1, -1)
                    )
                way = (up - down) / 2
                radius, old = rms(way) / self.h, radius
            radii.append(radius)
            changes.append((radius / old - 1).abs())
        return {"radius": stacked(radii), "change": stacked(changes), "sigma": sigmas(found, len(items))}
