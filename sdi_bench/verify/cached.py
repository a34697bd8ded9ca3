"""V1: score distillation with kappa = the previous guided prediction is DDIM (arXiv 2405.15891, sec. 4, fig. 1c)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..coordinates import Epsilon, FlowVelocity, Parametrisation, Sample, Score, Velocity, noisy
from ..directions import PredictedMinusAdded
from ..draws import PhiloxDraws, Purpose
from ..grids import UniformT
from ..guidance import Guidance, Prompt
from ..levels import Level, Step, expand
from ..models import Network, Prediction, Reparametrised
from ..models.base import Conds, Denoiser, Rules, rules_of
from ..noise import Last, Previous
from ..predictor import Predictor
from ..samplers import Annealed, Ddim, Distillation, State
from ..samplers.ddim import after
from ..samplers.distillation import evaluate
from ..schedules import Schedule
from .cases import (
    GAMMAS,
    SCHEDULES,
    bind,
    clean_of,
    coordinates_of,
    covering,
    ddim_onward,
    digits,
    gaussian,
    mixture,
    random_network,
    shadow,
)
from .rows import U32, Row, U, Worst

N_LEVELS = (10, 50, 200)
PARAMETRISATIONS: tuple[Parametrisation, ...] = (Epsilon(), Sample(), Velocity(), FlowVelocity(), Score())
ROUNDINGS = 200
"""Roundings per denoising: both forms, guidance and both changes of coordinates have some tens of operations."""


class Setting(NamedTuple):
    """A predictor with its draws and a grid."""

    name: str
    net: Predictor
    draws: PhiloxDraws
    grid: UniformT


def grid_for(schedule: Schedule, parametrisation: Parametrisation, n_levels: int) -> UniformT:
    """n levels from the top; below it where sigma is infinite and the output (eps, score) gives no x0 there."""
    endless = not bool(schedule.highest.sigma.isfinite().all())
    return UniformT(n_levels, t_max=0.98 if endless and parametrisation.needs_signal else 1.0)


def settings(full: bool) -> Iterator[Setting]:
    """Schedules x parametrisations x gamma x levels x exact models."""
    models: dict[str, Denoiser] = {"gaussian": gaussian(), "mixture": mixture(), "digits": digits()}
    for name, output, gamma, n, model in covering(full, list(SCHEDULES), PARAMETRISATIONS, GAMMAS, N_LEVELS, list(models)):
        schedule = SCHEDULES[name]()
        net, draws = bind(Reparametrised(models[model], output), schedule, gamma)
        case = f"{model}, {name}, {type(output).__name__}, gamma={gamma}, {n} levels"
        yield Setting(case, net, draws, grid_for(schedule, output, n))


def float32_settings(full: bool) -> Iterator[Setting]:
    """Schedules x gamma x levels x a float32 network of eps or v."""
    for name, gamma, n, output in covering(full, list(SCHEDULES), GAMMAS, N_LEVELS, (Epsilon(), Velocity())):
        schedule = SCHEDULES[name]()
        net, draws = bind(replace(random_network(), parametrisation=output), schedule, gamma)
        case = f"random MLP, {name}, {type(output).__name__}, gamma={gamma}, {n} levels"
        yield Setting(case, net, draws, grid_for(schedule, output, n))


def paths(net: Predictor, draws: PhiloxDraws, grid: UniformT) -> tuple[list[State], list[State]]:
    """All states of DDIM and of distillation with the cached prediction."""
    ddim = Ddim(grid, net.guidance)
    dual = Distillation(Annealed(grid), noise=Previous(), guidance=net.guidance)
    return list(ddim.sample(net, draws)), list(dual.sample(net, draws))


def amplification(setting: Setting, h: float = 2.0**-42) -> list[Tensor]:
    """The amplification of rounding along DDIM's path."""
    levels = setting.grid.levels(setting.net.schedule)
    noise = setting.draws.normal(Purpose.INIT, 0, setting.net.model.shape)
    return shadow(setting.net, levels, expand(levels[0].b, noise) * noise, ddim_onward(levels), h).bounds


def local(setting: Setting, src: State, dst: State, worst: Worst) -> None:
    """One step of both formulas from the same (x, eps), with the same prediction at its end, entry by entry."""
    asked: list[Tensor] = []

    def answer(x: Tensor, t: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        asked.append(x)
        return dst.eps

    told = Network(answer, setting.net.model.shape, dtype=torch.float64)
    net = replace(setting.net, model=told, guidance=Guidance(1.0))
    x0, eps, step = src.x0, src.eps, Step(src.level, dst.level, dst.index)
    x = noisy(x0, eps, src.level)
    x_next = after(x, x0, eps, src.level, dst.level)
    x0_next = clean_of(x_next, x0, dst.eps, dst.level)
    x0 = clean_of(x, x0, eps, src.level)
    found = evaluate(x0, step, Last(eps), Previous(), PredictedMinusAdded(), net, setting.draws)
    # From sigma = infinity the step starts with the pair (x0, eps): there is no x_bar, only the one it arrives at.
    sigma = torch.where(src.level.sigma.isfinite(), src.level.sigma, dst.level.sigma)
    added, added_next = expand(sigma, x) * eps, expand(dst.level.sigma, x) * dst.eps
    unit = U * ((x0 + added).abs() + x0.abs() + added.abs() + added_next.abs())
    worst.compare(setting.name, found.target, x0_next, unit)
    worst.compare(setting.name, asked[0], x_next, expand(dst.level.a, x) * unit)


def rows_float64(full: bool) -> Iterator[Row]:
    """V1a and V1b."""
    step_by_step, whole = Worst(), Worst()
    for setting in settings(full):
        states, dual = paths(setting.net, setting.draws, setting.grid)
        for src, dst in zip(states, states[1:], strict=False):
            local(setting, src, dst, step_by_step)
        for ours, theirs, bound in zip(dual, states, amplification(setting), strict=True):
            for got, expected in zip(coordinates_of(ours), coordinates_of(theirs), strict=True):
                whole.compare(setting.name, got, expected, bound * U)
    yield step_by_step.row(
        "V1a",
        "cached kappa = DDIM, one step from the same state; entry by entry in u·(|x_bar| + |x0| + sigma|eps| + sigma'|eps'|)",
        "2405.15891 eq. 10 = eq. 2",
        16,
        "each side is a handful of roundings of terms of that size; nothing is amplified",
    )
    yield whole.row(
        "V1b",
        "cached kappa = DDIM: x0, sigma·eps and x_bar at every level; in u·(measured amplification of rounding)",
        "2405.15891 eq. 10 = eq. 2",
        ROUNDINGS,
        "some tens of roundings per denoising, amplified as measured on the same path (cases.shadow)",
    )


@dataclass(frozen=True)
class Recorded:
    """A model that keeps what it was asked."""

    model: Denoiser
    asked: list[Tensor] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.model.shape

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.model.prompts

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    @property
    def rules(self) -> Rules:
        return rules_of(self.model)

    def check_prompt(self, prompt: Prompt) -> None:
        self.model.check_prompt(prompt)

    def predict(self, x: Tensor, level: Level, conds: Conds) -> Prediction:
        self.asked.append(x)
        return self.model.predict(x, level, conds)


def follow(setting: Setting, worst: Worst) -> tuple[int, int]:
    """Both paths through a float32 network, compared; (network inputs that differ in float32, network inputs).

    As long as a row's inputs are equal in float32 the network answers with the same bits and the paths may differ by
    float64 rounding only; after the first input that is not, by float32 rounding.
    """
    recorded = Recorded(setting.net.model)
    states, dual = paths(replace(setting.net, model=recorded), setting.draws, setting.grid)
    asked, asked_dual = recorded.asked[: len(states)], recorded.asked[len(states) :]
    bounds = amplification(setting, h=2.0**-16)  # well above float32's own rounding
    unit, changed = torch.full_like(bounds[0], U), 0
    for ours, theirs, x_dual, x, bound in zip(dual, states, asked_dual, asked, bounds, strict=True):
        if bool(theirs.level.sigma.isfinite().all()):
            worst.compare(setting.name, x_dual, x, expand(theirs.level.a, x) * bound * unit)
        differ = (x_dual.float() != x.float()).flatten(1).sum(1)
        changed += int(differ.sum())
        unit = torch.where(expand(differ > 0, x), U32, unit)
        for got, expected in zip(coordinates_of(ours), coordinates_of(theirs), strict=True):
            worst.compare(setting.name, got, expected, bound * unit)
    return changed, len(asked) * asked[0].numel()


def row_float32(full: bool) -> Row:
    """V1c."""
    worst = Worst()
    counts = [follow(setting, worst) for setting in float32_settings(full)]
    changed, total = (sum(column) for column in zip(*counts, strict=True))
    row = worst.row(
        "V1c",
        "the same through a float32 network; in (measured amplification)·u, u = 2^-24 once a row's input differs in float32",
        "2405.15891 eq. 10 = eq. 2",
        ROUNDINGS,
        "state and guidance are float64 and cast once, so equal float32 inputs give equal outputs, and V1b's argument holds",
    )
    return replace(row, worst=f"{row.worst}; {changed} of {total} inputs differ in float32")


def rows(full: bool) -> Iterator[Row]:
    """V1a, V1b, V1c."""
    yield from rows_float64(full)
    yield row_float32(full)
