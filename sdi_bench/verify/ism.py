"""V5: ISM's direction is eq. 10's less what the inversion's last source denoises differently (arXiv 2311.11284, eq. 15).

x_bar_s is reached from x0 by unconditional inversion, x_bar_t = x_bar_s + (sigma_t - sigma_s)·eps_s, and
kappa = (x_bar_t - x0) / sigma_t. With D_0(x_bar_s) = x_bar_s - sigma_s·eps_s, D_0 the unconditional denoiser at sigma_s,

    sigma_t·(eps_s - kappa) = sigma_t·eps_s - x_bar_s - (sigma_t - sigma_s)·eps_s + x0 = x0 - D_0(x_bar_s)
    sigma_t·(eps_y(x_bar_t) - eps_s) = sigma_t·(eps_y(x_bar_t) - kappa) - (x0 - D_0(x_bar_s)) = D_0(x_bar_s) - D_y(x_bar_t)

whatever the start of the inversion and the number of its steps. Multiplied by sigma_t the directions are images.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..directions import Interval, PredictedMinusAdded
from ..draws import PhiloxDraws, Purpose
from ..levels import Step
from ..models.base import ExactModel
from ..noise import Inversion, Last
from ..predictor import Predictor
from ..samplers import ddim
from ..samplers.distillation import evaluate
from ..schedules import Karras, RectifiedFlow, Schedule, linear, scaled_linear
from .cases import bind, covering, digits, gaussian, mixture
from .rows import Row, Worst

SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "linear from 0.01": linear,
    "scaled_linear from 0.03": scaled_linear,
    "edm from 0.002": Karras,
    "edm from 0.1": lambda: Karras(sigma_min=0.1),
    "flow from 0.001": RectifiedFlow,
}
"""Inversion starts at the schedule's lowest sigma."""


class Setting(NamedTuple):
    """Images x0, each with a time of its own."""

    name: str
    net: Predictor
    draws: PhiloxDraws
    noise: Inversion
    x0: Float[Tensor, "batch *shape"]
    t: Float[Tensor, " batch"]


def settings(full: bool) -> Iterator[Setting]:
    """Models x schedules x gamma x intervals x numbers of steps."""
    models: dict[str, ExactModel] = {
        "gaussian": gaussian(),
        "mixture": mixture(),
        "digits": digits(),
        "sharp digits": digits(0.0),
    }
    for name, schedule, gamma, interval, n in covering(
        full, list(models), list(SCHEDULES), (1.0, 7.5, 30.0), (None, 0.02, 0.2), (1, 8, 30)
    ):
        net, draws = bind(models[name], SCHEDULES[schedule](), gamma, n_seeds=2)
        x0 = models[name].sample(net.prompts, np.random.default_rng(0))
        x0 = x0 + 0.1 * draws.normal(Purpose.INIT, 0, tuple(x0.shape[1:]))
        noise = Inversion(guidance_scale=0.0, n_steps=n, tau=0.0, entropy=0.0, interval=interval)
        t = torch.tensor([0.3, 0.5, 0.8, 0.97], dtype=torch.float64)
        yield Setting(f"{name}, {schedule}, gamma={gamma}, interval={interval}, {n} steps", net, draws, noise, x0, t)


def denoised(at: Setting, row: int) -> tuple[Tensor, Tensor, Tensor]:
    """D_0(x_bar_s), D_y(x_bar_t) and 1 + sigma_t·max|eps|, for one row: inversion in DDIM's own variables, posterior means."""
    net = replace(at.net, prompts=(at.net.prompts[row],))
    legs = at.noise.legs(at.t[[row]], float(net.schedule.lowest.t))
    levels = [net.level(source) for source, _, taken in legs if taken.item()] + [net.level(at.t[[row]])]
    x, largest = levels[0].a * at.x0[[row]], torch.zeros(())
    for source, target in zip(levels, levels[1:], strict=False):
        found = net(x, source, scale=0.0)
        largest = torch.maximum(largest, found.eps.abs().max())
        x = ddim.step(x, found.eps, source, target)
    return found.x0, net(x, levels[-1]).x0, 1 + levels[-1].sigma * largest


def compare(at: Setting, gap: Worst, direction: Worst) -> None:
    """Where one step of each sends x0: x0 - sigma_t·direction."""
    level, gamma = at.net.level(at.t), at.net.guidance.scale
    step, last = Step(level, level, 1), Last(torch.full_like(at.x0, torch.nan))
    ism, plain = (evaluate(at.x0, step, last, at.noise, kind, at.net, at.draws) for kind in (Interval(), PredictedMinusAdded()))
    for row in range(len(at.x0)):
        d_s, d_t, unit = denoised(at, row)
        x0 = at.x0[[row]]
        gap.compare(at.name, ism.target[[row]] - plain.target[[row]], x0 - d_s, unit)
        direction.compare(at.name, x0 - ism.target[[row]], d_s - d_t, unit * (abs(gamma) + abs(1 - gamma)))


def rows(full: bool) -> Iterator[Row]:
    """V5a, V5b."""
    gap, direction = Worst(), Worst()
    for at in settings(full):
        compare(at, gap, direction)
    yield gap.row(
        "V5a",
        "sigma_t·(eq. 10's direction - ISM's) = x0 - D_0(x_bar_s), any interval; in 1 + sigma_t·max|eps|",
        "2311.11284 eq. 15, 2405.15891 eq. 10",
        1e-12,
        "both sides start from the same x0; some tens of roundings of sigma_t·eps",
    )
    yield direction.row(
        "V5b",
        "sigma_t·(ISM's direction) = D_0(x_bar_s) - D_y(x_bar_t), posterior means, y guided; in (|gamma| + |1 - gamma|)·"
        "(1 + sigma_t·max|eps|)",
        "2311.11284 eq. 15",
        1e-12,
        "the same; guidance multiplies roundings by the sum of its weights",
    )
