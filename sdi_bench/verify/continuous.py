"""V7: in continuous time dx0/dt = -sigma·dkappa/dt (arXiv 2405.15891, app. F; the last line of eq. 13 lacks the sigma).

Along the ODE dx_bar = kappa·dsigma, kappa = eps(x_bar, sigma) and x0 = x_bar - sigma·kappa, so the product rule gives it
for any eps. What is tested has content: x0 is the posterior mean, an expression of its own, and both derivatives are
total ones, by forward-mode differentiation of the model along (dx_bar/dt, 1), with sigma(t) of a schedule.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp

from ..draws import Purpose
from ..levels import expand
from ..models.base import ExactModel
from ..predictor import Predictor
from ..schedules import Karras, RectifiedFlow, Schedule, cosine
from .cases import GAMMAS, bind, covering, digits, gaussian, largest, mixture
from .rows import Row, Worst

SIGMAS = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)

SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "edm": lambda: Karras(0.001, 1000.0),
    "flow": RectifiedFlow,
    "cosine": cosine,
}
"""Variance exploding, flow and variance preserving; all reach the sigmas above."""


class Setting(NamedTuple):
    """A point x_bar at time t of each trajectory; a point and a time determine the trajectory through it."""

    name: str
    net: Predictor
    x_bar: Tensor
    t: Tensor


def settings(full: bool) -> Iterator[Setting]:
    """Models x schedules x gamma x sigma; x_bar = data + sigma·noise."""
    models: dict[str, ExactModel] = {"gaussian": gaussian(), "mixture": mixture(), "digits": digits()}
    for name, schedule, gamma, sigma in covering(full, list(models), list(SCHEDULES), GAMMAS, SIGMAS):
        net, draws = bind(models[name], SCHEDULES[schedule](), gamma)
        data = models[name].sample(net.prompts, np.random.default_rng(0))
        x_bar = data + sigma * draws.normal(Purpose.INIT, 0, tuple(data.shape[1:]))
        t = net.schedule.at_sigma(sigma).t
        yield Setting(f"{name}, {schedule}, gamma={gamma}, sigma={sigma}", net, x_bar, t)


def compare(at: Setting, worst: Worst) -> None:
    """dx0/dt against -sigma·dkappa/dt; in (|gamma| + |1 - gamma|)·(|dx_bar/dt| + sigma|dkappa/dt|), the row's largest."""

    def sigma_at(t: Tensor) -> Tensor:
        return at.net.schedule.level(t).sigma

    def x0_and_kappa(x_bar: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        level = at.net.schedule.level(t)
        guided = at.net(expand(level.a, x_bar) * x_bar, level)
        return guided.x0, guided.eps

    gamma, one = at.net.guidance.scale, torch.ones_like(at.t)
    _, kappa = x0_and_kappa(at.x_bar, at.t)
    d_x_bar = kappa * expand(jvp(sigma_at, (at.t,), (one,))[1], kappa)
    d_x0, d_kappa = jvp(x0_and_kappa, (at.x_bar, at.t), (d_x_bar, one))[1]
    expected = -expand(sigma_at(at.t), kappa) * d_kappa
    worst.compare(at.name, d_x0, expected, (abs(gamma) + abs(1 - gamma)) * (largest(d_x_bar) + largest(expected)))


def rows(full: bool) -> Iterator[Row]:
    """V7."""
    worst = Worst()
    for at in settings(full):
        compare(at, worst)
    yield worst.row(
        "V7",
        "dx0/dt = -sigma·dkappa/dt on exact trajectories, x0 the posterior mean; in (|gamma| + |1 - gamma|)·"
        "(|dx_bar/dt| + sigma|dkappa/dt|)",
        "2405.15891 eq. 13",
        1e-13,
        "forward-mode derivatives are exact to some tens of roundings; no difference quotient is taken",
    )
