"""V13: the edits, DDS (arXiv 2304.07464) and PDS (arXiv 2311.13831), against their losses as they are published.

There: alphas_cumprod, integer timesteps, x_t = sqrt(A_t)·x0 + sqrt(1 - A_t)·noise, u + s·(c - u), and a loss whose gradient
autograd takes, the network's Jacobian left out. PDS by its stochastic latents, z = (x_s - mu(x_t, x0_hat)) / sd, mu and sd of
the posterior of x_s, not by psi and chi. A full step of DDS is D(x_bar) - D_src(x_bar_src) + x0_src; for two Gaussians of one
covariance C, whatever the noise,

    x0' - x0_src = d·(x0 - x0_src) + (1 - d)·(mu - mu_src),   d = C·(C + sigma'²)^-1
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..directions import DeltaDenoising, Edited, PosteriorSampling
from ..draws import PhiloxDraws, Purpose
from ..grids import UniformT
from ..guidance import Guidance
from ..levels import Level, Step
from ..models.base import Denoiser
from ..models.gaussian import Gaussian
from ..noise import Fresh, Last
from ..predictor import Predictor
from ..samplers import Annealed, Distillation
from ..samplers.distillation import evaluate
from ..schedules import scaled_linear
from ..sources import Source
from ..update import GradientStep, UnitWeight
from .cases import bind, covering, digits, gaussian, largest, mixture, random_network
from .rows import Row, Worst

TIMESTEPS = (25, 300, 981)
TABLE = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
"""Stable Diffusion's alphas_cumprod."""


class Setting(NamedTuple):
    """Pictures x0 and what they are edits of, at one timestep."""

    name: str
    net: Predictor
    draws: PhiloxDraws
    x0: Float[Tensor, "batch *shape"]
    source: Edited
    timestep: int


def settings(full: bool) -> Iterator[Setting]:
    """Models x gamma x timesteps x prompts of the source."""
    models: dict[str, Denoiser] = {
        "gaussian": gaussian(),
        "mixture": mixture(),
        "digits": digits(),
        "network": random_network(),
    }
    for name, gamma, timestep, prompted in covering(full, list(models), (0.0, 1.0, 7.5), TIMESTEPS, (True, False)):
        net, draws = bind(models[name], scaled_linear(), gamma, n_seeds=2)
        x0, source = (draws.normal(purpose, 0, net.model.shape) for purpose in (Purpose.INIT, Purpose.SCENE))
        edited = Edited(source, net.prompts[0] if prompted else None)
        yield Setting(f"{name}, gamma={gamma}, t={timestep}, {edited.prompt}", net, draws, x0, edited, timestep)


def eps_there(at: Setting, x: Tensor, prompts: tuple[str | None, ...]) -> Tensor:
    """u + s·(c - u) at the timestep."""
    alpha = torch.tensor([TABLE[at.timestep]])
    level = Level(alpha.sqrt(), (1 - alpha).sqrt(), torch.tensor([at.timestep / 1000], dtype=torch.float64))
    u, c = at.net.model.predict(x, level, [(None,) * len(x), prompts]).eps
    return u + at.net.guidance.scale * (c - u)


def of_loss(at: Setting, lag: int | None) -> tuple[Tensor, Tensor]:
    """(the gradient with respect to x0 of the published loss, what its roundings are measured in); lag None: DDS."""
    t = at.timestep
    noise, noise_before = (at.draws.normal(purpose, 1, at.net.model.shape) for purpose in (Purpose.KAPPA, Purpose.ENTROPY))
    x0 = at.x0.clone().requires_grad_()
    latents, sizes = [], []
    for picture, prompts in ((x0, at.net.prompts), (at.source.x0, (at.source.prompt,) * len(x0))):
        x_t = TABLE[t] ** 0.5 * picture + (1 - TABLE[t]) ** 0.5 * noise
        eps = eps_there(at, x_t.detach(), prompts)
        sizes.append(largest(eps))
        if lag is None:
            latents.append(eps)
            continue
        beta = 1 - TABLE[t] / TABLE[t - 1]
        rest, rest_before = 1 - TABLE[t], 1 - TABLE[t - lag]
        clean = (x_t - rest**0.5 * eps) / TABLE[t] ** 0.5
        mu = TABLE[t - lag] ** 0.5 * beta / rest * clean + (1 - beta) ** 0.5 * rest_before / rest * x_t
        x_s = TABLE[t - lag] ** 0.5 * picture + rest_before**0.5 * noise_before
        latents.append((x_s - mu) / (beta * rest_before / rest) ** 0.5)
        sizes.append(largest(x_s.detach()) / (beta * rest_before / rest) ** 0.5)
    target = (x0 - (latents[0] - latents[1])).detach()
    loss = 0.5 * torch.nn.functional.mse_loss(x0, target, reduction="sum")
    return torch.autograd.grad(loss, x0)[0], largest(at.x0) + torch.stack(sizes).sum(0)


def direction_here(at: Setting, direction: DeltaDenoising | PosteriorSampling) -> tuple[Tensor, Tensor]:
    """(what one evaluation moves x0 by over -sigma, the largest |x0| over sigma)."""
    level = at.net.level(at.timestep / 1000)
    step = Step(level, level, 1)
    found = evaluate(at.x0, step, Last(0 * at.x0), Fresh(), direction, at.net, at.draws, source=at.source)
    return (at.x0 - found.target) / level.sigma, largest(at.x0) / level.sigma


def paths(full: bool) -> Iterator[tuple[str, Predictor, PhiloxDraws, Distillation]]:
    """Both edits, whole: prompts equal, the source the model's own data."""
    models: dict[str, Denoiser] = {"gaussian": gaussian(), "mixture": mixture(), "digits": digits()}
    unit = GradientStep(weight=UnitWeight())
    for name, gamma, n in covering(full, list(models), (0.0, 1.0, 7.5), (5, 30)):
        net, draws = bind(models[name], scaled_linear(), gamma, n_seeds=2)
        prompt = net.prompts[0]
        net = replace(net, prompts=(prompt,) * len(net.prompts))
        for direction, update in ((DeltaDenoising(), None), (PosteriorSampling(), unit)):
            sampler = Distillation(Annealed(UniformT(n)), Fresh(), net.guidance, direction, source=Source(prompt))
            case = f"{name}, gamma={gamma}, {n} levels, {type(direction).__name__}"
            yield case, net, draws, sampler if update is None else replace(sampler, update=update)


def moved_means(worst: Worst) -> None:
    """Two Gaussians of one covariance: |x0 - x0_src - (1 - prod d)·(mu - mu_src)| in 1 + the largest sigma·|eps|."""
    cov = np.array([[0.5, 0.2, 0.0], [0.2, 0.4, -0.1], [0.0, -0.1, 0.3]])
    means = {"here": np.array([1.0, -0.5, 0.2]), "there": np.array([-2.0, 0.0, 0.7])}
    laws = {name: (mean.tolist(), cov.tolist()) for name, mean in means.items()}
    model = Gaussian.of(laws, laws["here"])
    for n in (3, 20):
        net, draws = bind(gaussian(), scaled_linear(), 1.0)
        net = replace(net, model=model, prompts=("there",) * len(net.prompts))
        grid = UniformT(n)
        sampler = Distillation(Annealed(grid), Fresh(), Guidance(), DeltaDenoising(), source=Source("here"))
        first, *_, last = sampler.sample(net, draws)
        kept = np.eye(3)
        for level in grid.levels(net.schedule)[1:]:
            kept = cov @ np.linalg.inv(cov + float(level.sigma) ** 2 * np.eye(3)) @ kept
        moved = (np.eye(3) - kept) @ (means["there"] - means["here"])
        top = 1 + 5 * float(grid.levels(net.schedule)[1].sigma)
        worst.compare(f"{n} levels", last.x0 - first.x0, torch.from_numpy(moved).expand_as(last.x0), top)


def rows(full: bool) -> Iterator[Row]:
    """V13a to V13e."""
    dds, pds, still, printed, means = Worst(), Worst(), Worst(), Worst(), Worst()
    for at in settings(full):
        ours, rounding = direction_here(at, DeltaDenoising())
        theirs, size = of_loss(at, None)
        dds.compare(at.name, ours, theirs, size + rounding)
        for lag in (1, 2, 20):
            found, _ = direction_here(at, PosteriorSampling(lag))
            wanted, unit = of_loss(at, lag)
            pds.compare(f"{at.name}, lag={lag}", found, wanted, unit + rounding)
            if lag == 1:
                before, now = TABLE[at.timestep - 1], TABLE[at.timestep]
                chi = ((1 - now / before) * before / now / (1 - before)) ** 0.5
                printed.compare(at.name, found, chi * theirs, unit + rounding)
    for name, net, draws, sampler in paths(full):
        first, *others = sampler.sample(net, draws)
        for state in others:
            still.compare(name, state.x0, first.x0)
    moved_means(means)
    source = "2304.07464 eq. 3"
    yield dds.row(
        "V13a",
        "DDS: one step's direction is the gradient of the published loss; in max|x0|·(1 + 1/sigma) + max|eps| + max|eps_src|",
        source,
        1e-12,
        "both sides ask the same model at levels some roundings apart; eps moves by 1/b of those",
    )
    yield pds.row(
        "V13b",
        "PDS: so it is, of the loss by stochastic latents, for s 1, 2 and 20 timesteps below t; and max|x_s| / sd",
        "2311.13831 sec. 4",
        1e-12,
        "the same; x_s - mu cancels to what sd divides",
    )
    yield still.row(
        "V13c",
        "equal prompts: both edits leave the source as it is, to the last bit",
        source,
        0.0,
        "the same picture, noise and prompt ask the same; rows are alike in a batch of one size",
    )
    yield printed.row(
        "V13d",
        "PDS with s = t - 1, as printed, has no pull towards the source: it is DDS times "
        "sqrt(beta_t·A_s / (A_t·(1 - A_s))); in the unit of V13b",
        "2311.13831 sec. 4",
        1e-12,
        "mu carries the signal of x_t to that of x_s exactly, so that psi is rounding over sd",
    )
    yield means.row(
        "V13e",
        "DDS between two Gaussians of one covariance: x0 - x0_src = (1 - prod d)·(mu - mu_src), whatever the noise; in "
        "1 + 5·sigma, the first step's noise",
        source,
        1e-13,
        "some tens of roundings of sigma·eps, of which the two sides' cancel",
    )
