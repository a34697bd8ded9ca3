"""Image -> noise -> image: what inversion keeps of an image, for several guidance scales up and down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import require
from ..draws import Item
from ..predictor import Cost
from ..samplers import Ddim
from ..samplers.ddim import round_trip
from ..sampling import Job
from .base import bound, rms, stacked


@dataclass(frozen=True)
class Regenerate:
    """The job's DDIM samples are inverted at one guidance scale and made again at another (arXiv 2405.15891, fig. 18).

    scales: [[gamma_inv, gamma_fwd], ...]. n_levels: of the grid up and down; null is the job's own.
    `error` [items, pairs]: rms pixel difference. `noise_size`: rms of the noise found (white noise: 1).
    pictures: also `source` [items, *shape], `noise` and `back` [items, pairs, *shape], float32.
    Raises ValueError for another sampler than ddim.
    """

    scales: Sequence[Sequence[float]] = ((0.0, 0.0), (1.0, 1.0))
    n_levels: int | None = None
    pictures: bool = False

    def __post_init__(self) -> None:
        for pair in self.scales:
            if len(pair) != 2:
                raise ValueError(f"probe.scales={pair!r}: must be pairs [gamma_inv, gamma_fwd]")
            for scale in pair:
                require.number("probe.scales", scale)
        if self.n_levels is not None:
            require.count("probe.n_levels", self.n_levels, least=2)

    def check(self, job: Job) -> None:
        if not isinstance(job.sampler, Ddim):
            raise ValueError("probe=regenerate: needs sampler=ddim")

    def measure(self, job: Job, items: Sequence[Item], cost: Cost) -> Mapping[str, np.ndarray]:
        assert isinstance(job.sampler, Ddim)
        *_, last = job.states(items, cost)
        grid = job.sampler.grid if self.n_levels is None else replace(job.sampler.grid, n_levels=self.n_levels)  # type: ignore[type-var]
        errors, sizes, noises, backs = [], [], [], []
        for up, down in self.scales:
            net, _ = bound(replace(job, sampler=replace(job.sampler, guidance=job.sampler.guidance.at(down))), items, cost)
            trip = round_trip(net, last.x0, grid.levels(job.schedule), up)
            errors.append(rms(trip.back - trip.source))
            sizes.append(rms(trip.noise))
            noises.append(trip.noise.float())
            backs.append(trip.back.float())
        arrays = {"error": stacked(errors), "noise_size": stacked(sizes)}
        if self.pictures:
            arrays |= {"source": last.x0.float().cpu().numpy(), "noise": stacked(noises), "back": stacked(backs)}
        return arrays
