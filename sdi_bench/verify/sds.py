"""V4: score distillation sampling is DDIM with all of its noise drawn anew; between the two, DDIM at every eta.

The other side of these identities is DDIM in x (arXiv 2010.02502, eq. 12), s being the standard deviation of its new noise:

    x' = a'·x0 + sqrt(b'² - s²)·eps + s·z         s = eta·b'·sqrt(1 - sigma'²/sigma²)  (eq. 16);  SDS: s = b'
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf

import torch
from torch import Tensor

from ..draws import Draws, PhiloxDraws, Purpose
from ..grids import Grid, Leading, Trailing, UniformT, steps_of
from ..levels import Step, expand
from ..models.base import Denoiser
from ..noise import Fresh, Mixed
from ..predictor import Predictor
from ..samplers import Annealed, Ddpm, Distillation, RandomT, State
from ..schedules import Schedule
from ..update import FullStep, GradientStep
from .cases import GAMMAS, SCHEDULES, Shadow, bind, coordinates_of, covering, digits, gaussian, mixture, shadow
from .diffusers_schedulers import fresh_at, pipeline, settings
from .rows import Row, U, Worst

N_LEVELS = (10, 40)
TIMES = (UniformT(10), UniformT(40), RandomT(40))
ROUNDINGS = 200
WHY = "some tens of roundings per denoising, amplified as measured on the same path with the same draws (cases.shadow)"

Shares = Callable[[Step], tuple[Tensor, Tensor]]
"""How much of the old noise and of the new one is in x', (sqrt(b'² - s²), s)."""


def all_fresh(step: Step) -> tuple[Tensor, Tensor]:
    """SDS: s = b'. Given directly: eta = (1 - sigma'²/sigma²)^(-1/2) would leave sqrt(u) of the old noise."""
    return 0 * step.dst.b, step.dst.b


def keeping(rho: float, step: Step) -> tuple[Tensor, Tensor]:
    """A constant share rho of the noise is the old one: s = b'·sqrt(1 - rho²)."""
    return rho * step.dst.b, (1 - rho**2) ** 0.5 * step.dst.b


def at_eta(eta: Callable[[Tensor], Tensor], step: Step) -> tuple[Tensor, Tensor]:
    """s = eta·b'·sqrt(1 - r²), eta given as a function of r = sigma'/sigma."""
    r = step.dst.sigma / step.src.sigma
    s = eta(r) * step.dst.b * (1 - r.square()).sqrt()
    return (step.dst.b.square() - s.square()).clamp(min=0).sqrt(), s


def eta_keeping(rho: float, r: float) -> float:
    """DDIM's eta for a constant rho, at r = sigma'/sigma; above 1 where rho < r."""
    return ((1 - rho**2) / (1 - r**2)) ** 0.5


MIXED: dict[str, tuple[Mixed, Shares]] = {
    "lam=0": (Mixed(lam=0.0), partial(at_eta, torch.zeros_like)),
    "lam=0.5": (Mixed(lam=0.5), partial(at_eta, lambda r: (1 + r).rsqrt())),
    "lam=1": (Mixed(lam=1.0), partial(at_eta, torch.ones_like)),
    "lam=inf": (Mixed(lam=inf), all_fresh),
    **{f"rho={rho}": (Mixed(lam=None, rho=rho), partial(keeping, rho)) for rho in (0.0, 0.3, 0.5, 1.0)},
}
"""Our share of the previous prediction, and what DDIM has of both noises then: rho = r^lam, rho² = 1 - eta²·(1 - r²)."""


def renoised(x0: Tensor, eps: Tensor, step: Step, shares: Shares, draws: Draws) -> Tensor:
    """DDIM's x'."""
    kept, s = shares(step)
    z = draws.normal(Purpose.KAPPA, step.index, tuple(x0.shape[1:]))
    return expand(step.dst.a, x0) * x0 + expand(kept, x0) * eps + expand(s, x0) * z


def annealed(net: Predictor, draws: Draws, grid: Grid, shares: Shares) -> Shadow:
    """DDIM in x along a grid."""
    levels = grid.levels(net.schedule)
    steps = steps_of(levels)
    noise = draws.normal(Purpose.INIT, 0, net.model.shape)
    x = expand(levels[0].b, noise) * noise
    return shadow(net, levels, x, lambda k, x0, eps: renoised(x0, eps, steps[k], shares, draws))


def at_random_times(net: Predictor, draws: Draws, timeline: RandomT) -> Shadow:
    """DDIM in x from level to level in any order, others in each row, all noise drawn anew; starts from pure noise."""
    steps = list(timeline.steps(net, draws))
    image = draws.normal(Purpose.INIT, 0, net.model.shape)
    x = renoised(image, 0 * image, steps[0], all_fresh, draws)
    levels = [step.dst for step in steps]
    return shadow(net, levels, x, lambda k, x0, eps: renoised(x0, eps, steps[k + 1], all_fresh, draws))


def compare(worst: Worst, case: str, ours: Sequence[State], theirs: Sequence[State], bounds: Sequence[Tensor]) -> None:
    """x0, sigma·eps and x_bar at every level, in u times the amplification."""
    for got, expected, bound in zip(ours, theirs, bounds, strict=True):
        for one, other in zip(coordinates_of(got), coordinates_of(expected), strict=True):
            worst.compare(case, one, other, bound * U)


def cases(full: bool, *axes: Sequence) -> Iterator[tuple]:
    """(name, predictor, draws, *axes) for models x schedules x gamma x the axes."""
    models: dict[str, Denoiser] = {"gaussian": gaussian(), "mixture": mixture(), "digits": digits()}
    for schedule, gamma, model, *rest in covering(full, list(SCHEDULES), GAMMAS, list(models), *axes):
        net, draws = bind(models[model], SCHEDULES[schedule](), gamma)
        yield f"{model}, {schedule}, gamma={gamma}, {rest}", net, draws, *rest


def finite(n_levels: int, schedule: Schedule) -> UniformT:
    """n levels from the top, or from t = 0.98 where sigma is infinite there."""
    return UniformT(n_levels, t_max=1.0 if bool(schedule.highest.sigma.isfinite()) else 0.98)


def sampled_gradient(net: Predictor, draws: PhiloxDraws, x0: Tensor, state: State) -> tuple[Tensor, Tensor]:
    """Eq. 4 for one draw, w = sigma, by the usual surrogate loss: the sum over pixels, without the network's Jacobian.

    Returns (g, sigma·(|gamma|·|eps_c| + |1 - gamma|·|eps_u| + |kappa|)).
    """
    gamma, level = net.guidance.scale, state.level
    x0 = x0.clone().requires_grad_()
    kappa = draws.normal(Purpose.KAPPA, state.index, tuple(x0.shape[1:]))
    with torch.no_grad():
        x = expand(level.a, x0) * x0 + expand(level.b, x0) * kappa
        eps_u, eps_c = net.model.predict(x, level, [[None] * len(x), net.prompts]).eps
    sigma = expand(level.sigma, x0)
    loss = (sigma * (eps_u + gamma * (eps_c - eps_u) - kappa) * x0).sum()
    (g,) = torch.autograd.grad(loss, x0)
    return g, sigma * (abs(gamma) * eps_c.abs() + abs(1 - gamma) * eps_u.abs() + kappa.abs())


def row_gradient(full: bool) -> Row:
    """V4a."""
    worst = Worst()
    for name, net, draws, levels, update in cases(full, TIMES, (FullStep(), GradientStep(size=1.0))):
        timeline = levels if isinstance(levels, RandomT) else Annealed(levels)
        states = list(Distillation(timeline, Fresh(), net.guidance, update=update).sample(net, draws))
        for before, after in zip(states, states[1:], strict=False):
            g, size = sampled_gradient(net, draws, before.x0, after)
            worst.compare(name, after.x0, before.x0 - g, U * (before.x0.abs() + size))
    return worst.row(
        "V4a",
        "a full SDS step = a step of size 1 against the sampled gradient g of eq. 4 with w = sigma; in u·(|x0| + terms of g)",
        "2405.15891 eq. 4, eq. 10",
        16,
        "a handful of roundings of terms of that size",
    )


def row_sds(full: bool) -> Row:
    """V4b."""
    worst = Worst()
    for name, net, draws, levels in cases(full, TIMES):
        if isinstance(levels, RandomT):
            ours = list(Distillation(levels, Fresh(), net.guidance).sample(net, draws))[1:]  # without the pure noise
            reference = at_random_times(net, draws, levels)
        else:
            ours = list(Distillation(Annealed(levels), Fresh(), net.guidance).sample(net, draws))
            reference = annealed(net, draws, levels, all_fresh)
        compare(worst, name, ours, *reference)
    return worst.row(
        "V4b",
        "SDS = DDIM with all noise drawn anew, path by path, annealed and at random t; in u·(measured amplification)",
        "2405.15891 eq. 10 = 2010.02502 eq. 12",
        ROUNDINGS,
        WHY,
    )


def row_mixed(full: bool) -> Row:
    """V4c."""
    worst = Worst()
    for name, net, draws, n_levels, which in cases(full, N_LEVELS, list(MIXED)):
        noise, shares = MIXED[which]
        grid = UniformT(n_levels)
        ours = list(Distillation(Annealed(grid), noise, net.guidance).sample(net, draws))
        compare(worst, name, ours, *annealed(net, draws, grid, shares))
    return worst.row(
        "V4c",
        "noise.Mixed = DDIM at the matching eta, path by path; in u·(measured amplification)",
        "2010.02502 eq. 12, eq. 16",
        ROUNDINGS,
        WHY,
    )


def row_ddpm(full: bool) -> Row:
    """V4d."""
    worst = Worst()
    for name, net, draws, n_levels in cases(full, (*N_LEVELS, 200) if full else N_LEVELS):
        grid = finite(n_levels, net.schedule)
        noise, shares = MIXED["lam=1"]
        mixed = list(Distillation(Annealed(grid), noise, net.guidance).sample(net, draws))
        ddpm = list(Ddpm(grid, net.guidance).sample(net, draws))
        _, bounds = annealed(net, draws, grid, shares)
        compare(worst, name, ddpm, mixed, bounds)
    return worst.row(
        "V4d",
        "Ddpm (2006.11239, posterior variance) = noise.Mixed(lam=1), path by path; in u·(measured amplification)",
        "2006.11239 eq. 7; 2010.02502 eq. 16",
        ROUNDINGS,
        WHY,
    )


def row_diffusers(full: bool) -> Row:
    """V4e."""
    from diffusers import DDIMScheduler

    worst = Worst()
    for setting in settings(full, DDIMScheduler, ["epsilon"], [{}], (Leading(20, offset=1), Trailing(40))):
        net, draws = setting.net, setting.draws
        for rho in (0.1, 0.5):
            x0s, _ = pipeline(setting, fresh_at(partial(eta_keeping, rho), draws))
            ours = list(Distillation(Annealed(setting.grid), Mixed(lam=None, rho=rho), net.guidance).sample(net, draws))
            _, bounds = annealed(net, draws, setting.grid, partial(keeping, rho))
            for x0, state, bound in zip(x0s, ours, bounds, strict=True):
                worst.compare(f"{setting.name}, rho={rho}", x0, state.x0, bound * U / rho**2)
    return worst.row(
        "V4e",
        "noise.Mixed(rho) = diffusers' DDIMScheduler at its eta > 1; in u·(measured amplification)/rho²",
        "2010.02502 eq. 16",
        ROUNDINGS,
        WHY + "; their sqrt(1 - alpha_bar' - s²) loses 1/rho² (at rho = 0 it is the root of a rounding error, or NaN)",
    )


def rows(full: bool) -> Iterator[Row]:
    """V4a to V4e."""
    yield row_gradient(full)
    yield row_sds(full)
    yield row_mixed(full)
    yield row_ddpm(full)
    yield row_diffusers(full)
