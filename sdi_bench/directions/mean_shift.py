"""Towards the mean of the model's law near x0: MSD."""

from dataclasses import dataclass

import torch

from .. import require
from ..coordinates import noisy
from ..draws import Purpose
from ..guidance import Guidance
from ..levels import expand
from ..models.base import Denoiser
from ..noise.base import Kappa
from ..noise.zero import Zero
from ..predictor import Use
from ..schedules import Schedule
from .base import At, Direction, Image


@dataclass(frozen=True)
class MeanShift(Direction):
    """(x0 - mean of y) / lambda, y ~ p(y)·N(y; x0, lambda²) (mean-shift distillation, arXiv 2502.15989), lambda = sigma.

    That product is the law of y given x0 = y + lambda·noise. It is sampled by DDPM from x_bar = x0 at sigma = lambda down to
    the lowest level, the last prediction being y (ours; the paper has a product sampler of its own). Its mean is the
    denoiser D(x0; lambda), whatever n_steps: an n_steps of 1 takes that, which is noise=zero under eq. 10.
    lambda falls along the grid. n_steps >= 1: calls of the network for each y, the first of them shared. n_samples >= 1.
    Needs noise=zero: the kernel's centre is x0 itself; check raises ValueError otherwise, as do values out of range.
    """

    n_steps: int = 10
    n_samples: int = 1

    def __post_init__(self) -> None:
        require.count("direction.n_steps", self.n_steps)
        require.count("direction.n_samples", self.n_samples)

    def check(self, model: Denoiser, schedule: Schedule, guidance: Guidance, noise: Kappa) -> None:
        if not isinstance(noise, Zero):
            raise ValueError(
                f"direction=mean_shift: its kernel is centred at x0 itself (arXiv 2502.15989), needs noise=zero, got "
                f"{type(noise).__name__}"
            )

    def __call__(self, at: At) -> Image:
        top, low = at.step.dst.host.t, float(at.net.schedule.lowest.t)
        shares = torch.linspace(1, 0, self.n_steps, dtype=torch.float64)[1:]
        levels = [at.step.dst, *(at.net.levels([low + share * (top - low) for share in shares]) if len(shares) else ())]
        z = at.draws.normal(Purpose.KAPPA, at.step.index, (self.n_samples, self.n_steps, *at.x0.shape[1:]))
        total = torch.zeros_like(at.x0)
        for sample in range(self.n_samples):
            found = at.guided
            for k, (src, dst) in enumerate(zip(levels, levels[1:], strict=False)):
                kept = expand((dst.sigma / src.sigma).clamp(max=1), at.x0)
                eps = kept * found.eps + (1 - kept.square()).sqrt() * z[:, sample, k]
                found = at.net(noisy(found.x0, eps, dst), dst, use=Use.OTHER)
            total = total + found.x0
        return at.guided.shifted(at.x0 - total / self.n_samples) / expand(at.step.dst.sigma, at.x0)
