"""V6: DDIM and the dual process are first-order solvers of dx_bar/dsigma = eps(x_bar, sigma) (arXiv 2405.15891, eq. 1, 2)."""

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from ..draws import PhiloxDraws, Purpose, items_of
from ..grids import Grid, UniformLogSigma, UniformSigma, UniformT
from ..guidance import Guidance
from ..levels import Level, expand
from ..models.base import Denoiser
from ..noise import Previous
from ..predictor import Predictor
from ..samplers import Annealed, Ddim, Distillation, Sampler
from ..schedules import Karras, RectifiedFlow, Schedule
from .cases import gaussian, mixture
from .rows import Row, Worst

N_STEPS = (160, 320, 640, 1280)

HIGH, LOW = 10.0, 0.05
"""sigma of the first and the last level, the same for every number of steps."""

LOG_SIGMA = "log sigma"
GRIDS: dict[str, tuple[Schedule, Callable[[int], Grid]]] = {
    LOG_SIGMA: (Karras(LOW, HIGH), lambda n: UniformLogSigma(n + 1)),
    "sigma": (Karras(LOW, HIGH), lambda n: UniformSigma(n + 1)),
    "edm t": (Karras(LOW, HIGH), lambda n: UniformT(n + 1)),
    "flow t": (RectifiedFlow(), lambda n: UniformT(n + 1, t_max=HIGH / (1 + HIGH), t_min=LOW / (1 + LOW))),
}
"""n steps uniform in ..., all between the same ends."""

SAMPLERS: dict[str, Callable[[Grid, Guidance], Sampler]] = {
    "ddim": lambda grid, guidance: Ddim(grid, guidance),
    "dual": lambda grid, guidance: Distillation(Annealed(grid), Previous(), guidance),
}
"""DDIM in its own variables, and eq. 10 with the cached prediction."""

MODELS: dict[str, tuple[Denoiser, str]] = {"gaussian": (gaussian(), "narrow"), "mixture": (mixture(0.5), "a")}
"""With a class of each."""

FEW = (
    ("gaussian", 0.0, "sigma", "ddim"),
    ("gaussian", 1.0, LOG_SIGMA, "dual"),
    ("gaussian", 7.5, "flow t", "ddim"),
    ("mixture", 0.0, "edm t", "dual"),
    ("mixture", 7.5, LOG_SIGMA, "ddim"),
)
"""Model, gamma, grid, sampler."""


class Setting(NamedTuple):
    """Eight seeds of a class at some gamma, a family of grids, a sampler."""

    net: Predictor
    draws: PhiloxDraws
    grid: Callable[[int], Grid]
    sampler: Callable[[Grid, Guidance], Sampler]


def setting(model: str, gamma: float, grid: str, sampler: str) -> Setting:
    """By name."""
    denoiser, prompt = MODELS[model]
    schedule, n_steps = GRIDS[grid]
    items = tuple(items_of([prompt], range(8)))
    net = Predictor(denoiser, schedule, Guidance(gamma), tuple(item.prompt for item in items))
    return Setting(net, PhiloxDraws(items), n_steps, SAMPLERS[sampler])


def end(at: Setting, n_steps: int) -> Tensor:
    """x_bar at the last level, after n steps."""
    for state in at.sampler(at.grid(n_steps), at.net.guidance).sample(at.net, at.draws):
        last = state
    return last.x0 + expand(last.level.sigma, last.x0) * last.eps


def solution(at: Setting) -> Tensor:
    """x_bar at the last level along the ODE, by scipy's Runge-Kutta method of order 8 in log sigma."""
    noise = at.draws.normal(Purpose.INIT, 0, at.net.model.shape)
    one = torch.ones(1, dtype=torch.float64)

    def slope(log_sigma: float, x_bar: np.ndarray) -> np.ndarray:
        sigma = math.exp(log_sigma)
        x = torch.from_numpy(x_bar).reshape(noise.shape)
        return sigma * at.net(x, Level(one, sigma * one, 0 * one)).eps.flatten().numpy()

    span = math.log(HIGH), math.log(LOW)
    found = solve_ivp(slope, span, (HIGH * noise).flatten().numpy(), method="DOP853", rtol=1e-12, atol=1e-12)
    assert found.success, found.message
    return torch.from_numpy(found.y[:, -1]).reshape(noise.shape)


def order(errors: list[Tensor]) -> float:
    """Minus the slope of log(median error over samples) against log(number of steps)."""
    median = torch.stack(errors).flatten(2).abs().amax(2).median(1).values
    return -float(np.polyfit(np.log(N_STEPS), median.log().numpy(), 1)[0])


def rows(full: bool) -> Iterator[Row]:
    """V6a, V6b."""
    first, limit = Worst(), Worst()
    for model, gamma, grid, sampler in product(MODELS, (0.0, 1.0, 7.5), GRIDS, SAMPLERS) if full else FEW:
        case, at = f"{model}, gamma={gamma}, uniform in {grid}, {sampler}", setting(model, gamma, grid, sampler)
        exact = solution(at)
        ends = {n: end(at, n) for n in N_STEPS}
        first.add(case, order([x_bar - exact for x_bar in ends.values()]) - 1)
        if grid == LOG_SIGMA:
            limit.compare(case, 2 * ends[1280] - ends[640], exact, abs(gamma) + abs(1 - gamma))
    yield first.row(
        "V6a",
        "DDIM and the dual process reach the ODE's solution (Runge-Kutta, order 8) with order 1, 160 to 1280 steps; order - 1",
        "2405.15891 eq. 1, 2",
        0.05,
        "what the second-order term of the error does to the slope of its median over samples",
    )
    yield limit.row(
        "V6b",
        "and that is their limit: 2·x_bar(1280 steps) - x_bar(640) = the solution; in |gamma| + |1 - gamma|",
        "2405.15891 eq. 1, 2",
        5e-6,
        "the error's second-order term is at most 2/n² = 2e-6 here; the first-order one, which cancels, is about 2/n = 3e-3",
    )
