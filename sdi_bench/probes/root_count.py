"""How many kappas solve eq. 8, on the line, where they can be counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .. import require
from ..coordinates import noisy
from ..draws import Item
from ..predictor import Cost, Predictor, Use
from ..sampling import Job
from .base import points, sigmas


@dataclass(frozen=True)
class RootCount:
    """`roots` [items, places]: sign changes of eps(a·x0 + b·kappa) - kappa over a fine range of kappa around the path's eps,
    which is a root (arXiv 2405.15891, eq. 8): roots closer together than the mesh are missed.

    n_points >= 3 of the mesh; reach > 0: it spans eps +- reach·(1 + |eps|). Raises ValueError for data off the line.
    """

    n_points: int = 4001
    reach: float = 5.0
    n_levels: int = 10

    def __post_init__(self) -> None:
        require.count("probe.n_points", self.n_points, least=3)
        require.number("probe.reach", self.reach, above=0)
        require.count("probe.n_levels", self.n_levels)

    def check(self, job: Job) -> None:
        if job.model.shape != (1,):
            raise ValueError(f"probe=root_count: roots are counted on the line, not for data of shape {job.model.shape}")

    def measure(self, job: Job, items: Sequence[Item], cost: Cost) -> Mapping[str, np.ndarray]:
        found = points(job, items, cost, self.n_levels)
        counts = np.zeros((len(items), len(found)))
        for k, (step, state, _) in enumerate(found):
            for i, item in enumerate(items):
                net = Predictor(job.model, job.schedule, job.sampler.guidance, (item.prompt,) * self.n_points, job.device, cost)
                span = self.reach * (1 + float(state.eps[i].abs()))
                # an even shift keeps the path's own root off the mesh: a zero there would be no sign change
                spaced = torch.linspace(-1, 1 + 1e-3, self.n_points, dtype=torch.float64, device=state.eps.device)
                mesh = state.eps[i] + span * spaced[:, None]
                with torch.no_grad():
                    eps = net(noisy(state.x0[i].expand_as(mesh), mesh, step.src), step.src, use=Use.OTHER).eps
                counts[i, k] = int((torch.diff(torch.sign(eps - mesh).flatten()) != 0).sum())
        return {"roots": counts, "sigma": sigmas(found, len(items))}
