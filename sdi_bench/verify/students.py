"""V12: VSD and ESD (arXiv 2305.16213, 2401.00909): what a second, perfect score makes of the particles.

With eps_phi the score of the particles' law, x0' = x0 - sigma·(eps - eps_phi) has the data's law as its fixed point, where SDS
(eps_phi = kappa, the score of one particle) halves the variance. What eps_phi knows decides: the teacher itself leaves
(gamma - 1)·(eps_c - eps_u), which is 0 at gamma = 1.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..coordinates import noisy
from ..directions import Direction, Entropic, PredictedMinusAdded, Variational
from ..draws import PhiloxDraws, Purpose
from ..grids import UniformLogSigma, UniformT
from ..guidance import Guidance
from ..levels import Level, Step, expand
from ..models import Gaussian
from ..models.base import Denoiser
from ..noise import Fresh, Last
from ..predictor import Predictor
from ..samplers import Annealed, Distillation, State
from ..samplers.distillation import evaluate
from ..schedules import Karras
from ..students import Exact, Learnt, Lora
from .cases import SCHEDULES, bind, covering, digits, gaussian, largest, mixture
from .oracles.basis import BasisDraws, NoDraws
from .rows import Row, Worst


def states(sampler: Distillation, net: Predictor) -> Iterator[State]:
    """Of basis draws for one prompt: row 0 is the mean, the others less row 0 are a root of the covariance."""
    asked = NoDraws()
    list(sampler.sample(net, asked))
    draws = BasisDraws(asked.shapes)
    return sampler.sample(replace(net, prompts=net.prompts * draws.n_rows, plain=()), draws)


def known(full: bool) -> Worst:
    """What the exact student believes of its particles, against what basis draws say that they are."""
    worst = Worst()
    for schedule, gamma, prompt in covering(full, list(SCHEDULES), (0.0, 1.0, 7.5), ("narrow", "wide")):
        grid = UniformT(12, 0.95, 0.02)
        sampler = Distillation(Annealed(grid), Fresh(), Guidance(gamma), Variational(Exact()))
        net = Predictor(gaussian(), SCHEDULES[schedule](), sampler.guidance, (prompt,))
        for state in states(sampler, net):
            assert state.learnt is not None
            mean, rows = state.x0[0], state.x0[1:] - state.x0[0]
            size = 1 + mean.abs().max() + rows.square().sum(0).max()
            case = f"{schedule}, gamma={gamma}, {prompt}"
            worst.compare(case, state.learnt["mean"][0], mean, size)
            worst.compare(case, state.learnt["cov"][0], rows.T @ rows, size)
    return worst


def settled(full: bool) -> Worst:
    """VSD's law at the end of a dense grid, against the data's."""
    worst = Worst()
    for high, prompt in covering(full, (5.0, 20.0), ("narrow", "wide")):
        sampler = Distillation(Annealed(UniformLogSigma(200)), Fresh(), Guidance(1.0), Variational(Exact()))
        net = Predictor(gaussian(), Karras(0.05, high), sampler.guidance, (prompt,))
        *_, last = states(sampler, net)
        mean, rows = last.x0[0], last.x0[1:] - last.x0[0]
        law = gaussian().law(prompt)
        worst.compare(f"sigma from {high}, {prompt}", mean, law.mean)
        worst.compare(f"sigma from {high}, {prompt}", rows.T @ rows, law.basis @ law.variances.diag() @ law.basis.T)
    return worst


class Setting(NamedTuple):
    """Images at a level."""

    name: str
    net: Predictor
    draws: PhiloxDraws
    x0: Tensor
    step: Step


def settings(full: bool) -> Iterator[Setting]:
    """Models x schedules x gamma x t."""
    models: dict[str, Denoiser] = {"gaussian": gaussian(), "mixture": mixture(), "digits": digits()}
    for name, schedule, gamma, t in covering(full, list(models), list(SCHEDULES), (0.0, 1.0, 7.5), (0.1, 0.5, 0.95)):
        net, draws = bind(models[name], SCHEDULES[schedule](), gamma, n_seeds=2)
        level = net.level(t)
        x0 = draws.normal(Purpose.INIT, 0, net.model.shape)
        yield Setting(f"{name}, {schedule}, gamma={gamma}, t={t}", net, draws, x0, Step(level, level, 1))


def away(at: Setting, direction: Direction, learnt: Learnt | None = None) -> Tensor:
    """sigma·(the direction)."""
    last = Last(torch.full_like(at.x0, torch.nan))
    return at.x0 - evaluate(at.x0, at.step, last, Fresh(), direction, at.net, at.draws, learnt).target


def noised(at: Setting) -> Tensor:
    """x where the networks are asked."""
    return noisy(at.x0, at.draws.normal(Purpose.KAPPA, 1, (1, *at.net.model.shape))[:, 0], at.step.dst)


def teacher(at: Setting, perfect: Worst) -> None:
    """The student is the teacher."""
    student = Lora(n_train=0)
    u, c = (at.net(noised(at), at.step.dst, scale=scale).eps for scale in (0.0, 1.0))
    sigma = expand(at.step.dst.sigma, u)
    got = away(at, Variational(student), student.begin(at.net, at.draws, at.step.src))
    gamma = at.net.guidance.scale
    unit = largest(at.x0) + sigma * (1 + abs(gamma - 1)) * (largest(u) + largest(c))
    perfect.compare(at.name, got, sigma * (gamma - 1) * (c - u), unit)


def points(at: Setting, single: Worst) -> None:
    """The student knows that its particle is where it is."""
    n = at.x0[0].numel()
    if not isinstance(at.net.model, Gaussian):
        return
    learnt = {"mean": at.x0, "cov": torch.zeros(len(at.x0), n, n, dtype=torch.float64)}
    got, plain = away(at, Variational(Exact()), learnt), away(at, PredictedMinusAdded())
    single.compare(at.name, got, plain, largest(at.x0) / at.step.dst.a.square() + largest(plain))


def corrected(at: Setting, level: Level, weights: Tensor, prompts: tuple, rank: int) -> np.ndarray:
    """eps_phi = eps + B·A·(x, a, b) / sqrt(a² + b²), in NumPy; [batch, n]."""
    x, (a, b) = noised(at).flatten(1).numpy(), (float(level.a), float(level.b))
    eps = at.net.model.predict(noised(at), level, [prompts]).eps[0].flatten(1).numpy()
    n, unit = x.shape[1], (a * a + b * b) ** 0.5
    down, up = np.split(weights.numpy(), [rank * (n + 2)], axis=1)
    inputs = np.concatenate([x, np.full((len(x), 1), a), np.full((len(x), 1), b)], axis=1) / unit
    return eps + np.einsum("inr,irm,im->in", up.reshape(-1, n, rank), down.reshape(-1, rank, n + 2), inputs)


def entropy(at: Setting, mixed: Worst) -> None:
    """ESD between the student told the view ("y, c") and not told ("y"): here each class, and the marginal of all."""
    level, student = at.step.dst, Lora(rank=2)
    seen = at._replace(net=replace(at.net, plain=(None,) * len(at.x0)))
    weights = student.begin(at.net, at.draws, level)["weights"]
    weights = at.draws.normal(Purpose.STUDENT, 7, tuple(weights.shape[1:])) / 4
    learnt = {"weights": weights, "first": weights, "second": weights}
    guided = seen.net(noised(at), level).eps.flatten(1)
    with_view, without = (corrected(seen, level, weights, prompts, 2) for prompts in (seen.net.prompts, seen.net.plain))
    for lam in (0.0, 0.3, 1.0):
        got = away(seen, Entropic(student, lam), learnt).flatten(1)
        wanted = guided - torch.from_numpy((1 - lam) * with_view + lam * without)
        size = largest(guided) + largest(torch.from_numpy(with_view)) + largest(torch.from_numpy(without))
        sigma = level.sigma
        mixed.compare(f"{at.name}, lam={lam}", got, sigma * wanted, largest(at.x0.flatten(1)) + sigma * size)
        if lam == 0:
            vsd = away(seen, Variational(student), learnt).flatten(1)
            mixed.compare(f"{at.name}, VSD", got, vsd, largest(at.x0.flatten(1)) + sigma * size)


def rows(full: bool) -> Iterator[Row]:
    """V12a to V12e."""
    yield known(full).row(
        "V12a",
        "VSD on a Gaussian, any gamma: m, C of the exact student are the mean and covariance of its particles at every step; "
        "in 1 + max|m| + max C",
        "2305.16213 eq. 9",
        1e-12,
        "the same recursion in another order: some tens of roundings a step of up to sigma·(2·gamma - 1)",
    )
    yield settled(full).row(
        "V12b",
        "VSD on a Gaussian, gamma = 1: over 200 levels mean and covariance of the particles come to be the data's (SDS: C / 2)",
        "2305.16213 theorem 1",
        1e-6,
        "a step leaves 1 - 2·s²sigma²/(s² + sigma²)² of what is missing, s² an eigenvalue: half at sigma = s",
    )
    perfect, single, mixed = Worst(), Worst(), Worst()
    for at in settings(full):
        teacher(at, perfect)
        points(at, single)
        entropy(at, mixed)
    yield perfect.row(
        "V12c",
        "VSD with a perfect second network, eps_phi = eps: sigma·(gamma - 1)·(eps_c - eps_u), so 0 at gamma = 1; in "
        "max|x0| + sigma·(1 + |gamma - 1|)·(max|eps_u| + max|eps_c|)",
        "2305.16213 eq. 9",
        1e-13,
        "a row is asked alone, where matrix products round otherwise: some hundreds of roundings",
    )
    yield single.row(
        "V12d",
        "VSD whose student knows one particle, C = 0, is SDS: eps_phi = kappa; in max|x0|/a² + its own size",
        "2305.16213 sec. 3.3",
        1e-13,
        "kappa is found again from x - a·x0",
    )
    yield mixed.row(
        "V12e",
        "ESD = eps - (1 - lam)·eps_phi(y, c) - lam·eps_phi(y), at lam = 0 VSD; eps_phi in NumPy; in max|x0| + sigma·max|eps|",
        "2401.00909",
        1e-12,
        "as V12c; the correction's sums over pixels in another order",
    )
