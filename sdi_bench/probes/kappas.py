"""Several kappas asked at the same x0: how well each solves eq. 8, how it lies to DDIM's noise, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .. import require
from ..coordinates import noisy
from ..draws import Item
from ..levels import expand
from ..models.base import ExactModel, HasCodec, HasData
from ..noise import Kappa, Last
from ..predictor import Cost, Use
from ..sampling import Job
from .base import bound, cosine, points, rms, sigmas, stacked


@dataclass(frozen=True)
class Kappas:
    """Every kappa is asked for the noise at the source level of the same steps, and scored there, whatever its own size:

    `residual`: sigma·rms(eps(a·x0 + b·kappa) - kappa), the error of eq. 8 of arXiv 2405.15891 in x0 units.
    `size`: rms of kappa; a small residual with a small size is no good noise (kappa = 0 asks for it).
    `to_path`: cosine over pixels with the eps that the path had there; `to_x0`: with x0 less its mean.
    `next`: rms distance between eq. 10's next x0 and the path's.
    `rows`: network rows an image that finding it cost, the mean over a batch.
    All [items, places, kappas] in the order given; `sigma` [items, places]. Whatever is not finite stays so.

    at: "path": x0(t) of the job's own sampler (ddim: DDIM's); "data": images of the model's data, whatever the level: there
      is no `next` and no `to_path` (NaN) then, and a kappa that needs the path is refused.
    pictures: also keep x0 [items, places, *shape], each kappa and its one-step denoised image
      [items, places, kappas, *shape], float32.
    Raises ValueError, naming the field.
    """

    kappas: Mapping[str, Kappa]
    at: str = "path"
    n_levels: int = 10
    pictures: bool = False

    def __post_init__(self) -> None:
        require.count("probe.n_levels", self.n_levels)
        if self.at not in ("path", "data"):
            raise ValueError(f"probe.at={self.at!r}: must be path or data")
        for name, kappa in self.kappas.items():
            if self.at == "data" and (kappa.needs_path or kappa.holds):
                raise ValueError(f"probe.kappas.{name}: needs the path's last prediction, and probe.at=data has none")

    def check(self, job: Job) -> None:
        require.count("grid.n_levels", job.sampler.n_states, least=2)
        if self.at == "data" and not isinstance(job.model, ExactModel | HasData):
            raise ValueError("probe.at='data': this model knows no data")
        for kappa in self.kappas.values():
            kappa.check(job.model, job.sampler.guidance, job.schedule.highest)

    def measure(self, job: Job, items: Sequence[Item], cost: Cost) -> Mapping[str, np.ndarray]:
        net, draws = bound(job, items, cost)
        found = points(job, items, cost, self.n_levels)
        data = data_of(job, items) if self.at == "data" else None
        values: dict[str, list[torch.Tensor]] = {name: [] for name in ("residual", "size", "to_path", "to_x0", "next", "rows")}
        kept: dict[str, list[torch.Tensor]] = {"x0": [], "kappa": [], "denoised": []}
        for step, state, x0_next in found:
            x0 = state.x0 if data is None else data
            nowhere = torch.full((len(items),), torch.nan, dtype=torch.float64)
            shown: dict[str, list[torch.Tensor]] = {"kappa": [], "denoised": []}
            scores: dict[str, list[torch.Tensor]] = {name: [] for name in values}
            for kappa in self.kappas.values():
                spent = sum(cost.rows.values())
                noise = kappa.propose(x0, step, Last(state.eps, state.kappa), net, draws).kappa.detach()
                scores["rows"].append(torch.full_like(nowhere, (sum(cost.rows.values()) - spent) / len(items)))
                with torch.no_grad():
                    there = net(noisy(x0, noise, step.src), step.src, use=Use.OTHER)
                    onward = net(noisy(x0, noise, step.dst), step.dst, use=Use.OTHER)
                scores["residual"].append(rms(expand(step.src.sigma, x0) * (there.eps - noise)))
                scores["size"].append(rms(noise))
                scores["to_path"].append(nowhere if data is not None else cosine(noise, state.eps))
                scores["to_x0"].append(cosine(noise, x0 - x0.flatten(1).mean(dim=1).reshape(-1, *[1] * (x0.ndim - 1))))
                after = onward.shifted(x0 - expand(step.dst.sigma, x0) * (onward.eps - noise))
                scores["next"].append(nowhere if data is not None else rms(after - x0_next))
                shown["kappa"].append(noise.float())
                shown["denoised"].append(there.x0.float())
            for name, row in scores.items():
                values[name].append(torch.stack([value.cpu() for value in row], dim=1))
            if self.pictures:
                kept["x0"].append(x0.float())
                for name, pictures in shown.items():
                    kept[name].append(torch.stack(pictures, dim=1))
        arrays = {name: stacked(rows) for name, rows in values.items()} | {"sigma": sigmas(found, len(items))}
        return arrays | ({name: stacked(rows) for name, rows in kept.items()} if self.pictures else {})


def data_of(job: Job, items: Sequence[Item]) -> torch.Tensor:
    """An image of the data for each item, a function of the item alone; of a model of latents its latent."""
    drawn = []
    for item in items:
        rng = np.random.default_rng([item.key % 2**64, 7])
        if isinstance(job.model, HasData):
            drawn.append(job.model.data([item.prompt], rng))
        else:
            assert isinstance(job.model, ExactModel)
            drawn.append(job.model.sample([item.prompt], rng))
    images = torch.cat([torch.as_tensor(image, dtype=torch.float64) for image in drawn]).to(job.device)
    with torch.no_grad():
        return job.model.encode(images) if isinstance(job.model, HasCodec) else images
