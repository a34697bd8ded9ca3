"""The particles' law in closed form: on Gaussian data it stays Gaussian."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..draws import Draws
from ..guidance import Guidance, Prompt
from ..levels import Level, Step, expand
from ..models import Gaussian
from ..models.base import Denoiser
from ..noise import Fresh
from ..noise.base import Kappa
from ..predictor import Predictor
from .base import Image, Learnt, Student


@dataclass(frozen=True)
class Exact(Student):
    """The score of N(m, C), the law that a step of VSD gives to x0 over all seeds: what infinitely many particles of a prompt
    would teach (ProlificDreamer, arXiv 2305.16213, theorem 1; derived here for full steps).

    With eps = A·x_bar - B the guided prediction on Gaussian data, A_phi = sigma·(C + sigma²)^-1, G = sigma·(A - A_phi):

        eps_phi = A_phi·(x_bar - m)        m' = m - sigma·(A·m - B)        C' = (1 - G)·C·(1 - G)^T + sigma²·G·G^T

    The start is m, C of D(sigma·z), z ~ N(0, I). It asks no network. Needs model=gaussian, guidance=cfg, noise=fresh, and
    linear steps; check raises ValueError otherwise.
    """

    needs_linear: ClassVar[bool] = True

    def check(self, model: Denoiser, guidance: Guidance, noise: Kappa) -> None:
        if not isinstance(model, Gaussian):
            raise ValueError(
                f"student=exact: the law of the particles stays known on Gaussian data only, not on {type(model).__name__}; "
                "use student=lora"
            )
        if type(guidance) is not Guidance:
            raise ValueError(f"student=exact: {type(guidance).__name__} is not linear in the predictions; use guidance=cfg")
        if not isinstance(noise, Fresh) or noise.n_avg != 1:
            raise ValueError(
                f"student=exact: the law follows from kappa ~ N(0, I) drawn at each step, got {noise!r}; use noise=fresh"
            )

    def begin(self, net: Predictor, draws: Draws, level: Level) -> Learnt:
        inverses, means, variances = laws(net, level)
        a, b = expand(level.a, means), expand(level.b, means)
        mean = net.guidance.combine(b.square() * (inverses @ means[..., None])[..., 0])
        slope = net.guidance.combine((a * b)[..., None] * inverses @ variances)
        return {"mean": mean, "cov": slope @ slope.mT}

    @torch.no_grad()
    def eps(self, learnt: Learnt, x: Image, level: Level, net: Predictor, prompts: Sequence[Prompt]) -> Image:
        gap = x - expand(level.a, x) * learnt["mean"]
        return expand(level.b, x) * torch.linalg.solve(noised(learnt["cov"], level), gap[..., None])[..., 0]

    def learn(self, learnt: Learnt, x0: Image, step: Step, net: Predictor, draws: Draws, drop: float = 0.0) -> Learnt:
        mean, cov, level = learnt["mean"], learnt["cov"], step.dst
        inverses, means, _ = laws(net, level)
        a, b, sigma = (expand(value, cov) for value in (level.a, level.b, level.sigma))
        drift = net.guidance.combine(a * b * inverses @ (mean - means)[..., None])[..., 0]
        own = torch.linalg.inv(noised(cov, level))
        gain = sigma * a * b * (net.guidance.combine(inverses) - own)
        rest = torch.eye(cov.shape[-1], dtype=cov.dtype) - gain
        return {"mean": mean - sigma[..., 0] * drift, "cov": rest @ cov @ rest.mT + sigma.square() * gain @ gain.mT}


def noised(cov: Tensor, level: Level) -> Tensor:
    """The covariance [..., dim, dim] of a·x0 + b·eps."""
    return expand(level.a, cov).square() * cov + expand(level.b, cov).square() * torch.eye(cov.shape[-1], dtype=cov.dtype)


def laws(net: Predictor, level: Level) -> tuple[Tensor, Tensor, Tensor]:
    """Of the data of each condition and row: (a²C + b²)^-1, mean and C, [conds, batch, ...]."""
    assert isinstance(net.model, Gaussian)
    found = [[net.model.law(prompt) for prompt in row] for row in net.guidance.conds(net.prompts)]
    means = torch.stack([torch.stack([law.mean for law in row]) for row in found])
    covs = torch.stack([torch.stack([law.basis @ law.variances.diag() @ law.basis.T for law in row]) for row in found])
    return torch.linalg.inv(noised(covs, level)), means, covs
