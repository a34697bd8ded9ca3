"""What the recursions tend to on dense grids, and what a full step of SDI leaves of the data's spread."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise, product

import numpy as np
import torch

from ...directions import PredictedMinusAdded
from ...grids import Grid, UniformLogSigma, UniformT
from ...levels import Step
from ...noise import Fresh, Inversion, Kappa, Last, Mixed
from ...samplers import Annealed, Ddim, Ddpm, Distillation, Sampler
from ...samplers.distillation import evaluate
from ...schedules import Karras
from ...update import FullStep, GradientStep, Update
from ..rows import Worst
from .basis import NoDraws
from .gaussians import Case, Law, units

S = 0.5
"""The standard deviation of the class in this file."""


def line(grid: Grid, gamma: float = 1.0, s_u: float = 1.0) -> Case:
    """One dimension: class N(1, S²), marginal N(0, s_u²), sigma as in EDM."""
    cond, marginal = (Law(np.array([mean]), np.array([variance])) for mean, variance in ((1.0, S**2), (0.0, s_u**2)))
    return Case("line", cond, marginal, np.eye(1), Karras(), grid, gamma)


def first_order(worst: Worst, name: str, values: Sequence[float], limit: float, order: float, rest: float) -> None:
    """Values at n, 2n and 4n tend to `limit` as 1/n. Taken in as shares of what is allowed:

    the order log2(error(2n) / error(4n)) is 1 to `order`; 2·v(4n) - v(2n), free of the term in 1/n, is the limit to `rest`.
    """
    errors = [abs(value - limit) for value in values]
    worst.add(name, (math.log2(errors[1] / errors[2]) - 1) / order)
    worst.add(name, (2 * values[2] - values[1] - limit) / limit / rest)


def short_of(bound: float, value: float) -> float:
    """At most 1 where value >= bound; infinite, not an error, for a value of 0."""
    return bound / value if value > 0 else math.inf


def annealed(noise: Kappa, update: Update = FullStep()) -> Callable[[Case], Sampler]:
    """Distillation along the case's grid."""
    return lambda case: Distillation(Annealed(case.grid), noise, case.guidance, update=update)


def last_std(make: Callable[[Case], Sampler], case: Case) -> float:
    """The library's standard deviation of the last x0."""
    return math.sqrt(case.moments(make(case))[0].variance[-1, 0])


def dense_grids(full: bool) -> Worst:
    """The spread left at gamma = 1 on ever denser grids, uniform in log sigma from 80 to 0.002."""
    limits: list[tuple[str, Callable[[Case], Sampler], float]] = [
        ("SDS: s/sqrt(2)", annealed(Fresh()), S / math.sqrt(2)),
        ("mean of 4 draws: s/sqrt(8)", annealed(Fresh(n_avg=4)), S / math.sqrt(8)),
        ("SDS, steps of 0.5: s·sqrt(0.5/2)", annealed(Fresh(), GradientStep(0.5)), S * math.sqrt(0.25)),
        ("rho = 0.5: s·sqrt(1.5/2)", annealed(Mixed(lam=None, rho=0.5)), S * math.sqrt(0.75)),
        ("rho = 0.9: s·sqrt(1.9/2)", annealed(Mixed(lam=None, rho=0.9)), S * math.sqrt(0.95)),
        ("DDIM: s", lambda case: Ddim(case.grid, case.guidance), S),
        ("DDPM: s", lambda case: Ddpm(case.grid, case.guidance), S),
    ]
    worst = Worst()
    for name, make, limit in limits:
        for n in (50, 100) if full else (50,):
            values = [last_std(make, line(UniformLogSigma(k * n))) for k in (1, 2, 4)]
            first_order(worst, f"{name}, n={n}", values, limit, order=0.1, rest=5e-3)
    return worst


def step_factor(case: Case, noise: Inversion, sigma: float, sigma_next: float) -> float:
    """By what one full step of eq. 10 multiplies the difference of two images."""
    step = Step(case.schedule.at_sigma(sigma), case.schedule.at_sigma(sigma_next), 1)
    x0 = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    target = evaluate(x0, step, Last(x0), noise, PredictedMinusAdded(), case.predictor(2), NoDraws()).target
    return float(target[1] - target[0])


def contraction(full: bool) -> Worst:
    """n-step inversion tends to exact inversion, x_bar = K·x0 + ..., K = prod ((s² + sigma²)/(s² + sigma_0²))^(w/2).

    The product is over the class, w = gamma_inv, and the marginal, w = 1 - gamma_inv; inversion starts at sigma_0, the lowest.
    """
    worst, case = Worst(), line(UniformLogSigma(2))
    start = float(case.schedule.lowest.sigma)
    ends = [(3.0, 3.0), (3.0, 2.0), (0.5, 0.5)] + ([(20.0, 20.0), (1.0, 0.7), (0.1, 0.1)] if full else [])
    for gamma_inv, (sigma, sigma_next) in product((1.0, 0.0, -1.0, 7.5), ends):
        grown = [(law.variance[0] + sigma**2) / (law.variance[0] + start**2) for law in (case.cond, case.marginal)]
        K = grown[0] ** (gamma_inv / 2) * grown[1] ** ((1 - gamma_inv) / 2)
        limit = S**2 / (S**2 + sigma_next**2) * (1 + sigma_next / sigma * (K - 1))
        noises = [Inversion(gamma_inv, n, tau=None, entropy=0.0) for n in (100, 200, 400)]
        values = [step_factor(case, noise, sigma, sigma_next) for noise in noises]
        first_order(worst, f"gamma_inv={gamma_inv}, {sigma} -> {sigma_next}", values, limit, order=0.15, rest=0.02)
    return worst


def spread(full: bool) -> Worst:
    """Full steps with inverted noise collapse whatever the inversion's gamma; noise of std h on kappa leaves h·s."""
    worst = Worst()
    collapse(worst)
    order_of_spread(worst)
    kept = [
        last_std(annealed(Inversion(1.0, n, tau=0.0, entropy=0.3)), line(UniformLogSigma(n, 1.0, 0.01))) for n in (25, 50, 100)
    ]
    first_order(worst, "entropy 0.3 leaves 0.3·s", kept, 0.3 * S, order=0.5, rest=0.03)
    literal = annealed(Inversion(1.0, 10, tau=0.0, entropy=0.3, literal_entropy=True))
    few, many = (last_std(literal, line(UniformLogSigma(n, 1.0))) for n in ((100, 200) if full else (50, 100)))
    worst.add("entropy as printed leaves nothing: std falls as 1/sqrt(n)", (math.log2(few / many) - 0.5) / 0.05)
    return worst


def collapse(worst: Worst) -> None:
    """Equal variances: the same collapse for every gamma of the inversion, to different points."""
    case = line(UniformT(40), gamma=7.5, s_u=S)
    found = [case.moments(annealed(Inversion(g, 10, tau=0.0, entropy=0.0))(case)) for g in (7.5, 1.0, 0.0, -7.5)]
    reference, n_rows = found[0]
    unit = units(reference, n_rows)[1]
    for moments, _ in found[1:]:
        share = np.abs(np.sqrt(moments.variance) - np.sqrt(reference.variance)) / unit
        worst.add("equal variances: one collapse", float(share.max()))
    worst.add("equal variances: nothing is left", math.sqrt(reference.variance[-1, 0]) / 1e-12)
    points = sorted(float(moments.mean[-1, 0]) for moments, _ in found)
    worst.add("equal variances: different points", short_of(0.1, min(b - a for a, b in pairwise(points))))


def order_of_spread(worst: Worst) -> None:
    """A class narrower than the marginal: negative gamma collapses faster than 0, positive explodes; wider: the reverse."""
    for s_u, gammas in ((2 * S, (-7.5, 0.0, 7.5)), (S / 2, (7.5, 0.0, -7.5))):
        case = line(UniformT(25), gamma=7.5, s_u=s_u)
        found = [case.moments(annealed(Inversion(g, 10, tau=0.0, entropy=0.0))(case))[0] for g in gammas]
        early = [math.sqrt(moments.variance[5, 0]) for moments in found]
        worst.add(f"s_u={s_u}: each ten times the one before", max(short_of(10 * a, b) for a, b in pairwise(early)))
        worst.add(f"s_u={s_u}: one sign collapses", math.sqrt(found[0].variance[-1, 0]) / 1e-9)
        worst.add(f"s_u={s_u}: the other explodes", short_of(1e9, math.sqrt(found[2].variance[-1, 0])))
