"""V11: noise choices of others, at the settings where they are one another's, DDIM or SDS; by formulas in their own terms.

The other side is never the library's loop: DDIM and its flow in x, Euler's rule for a flow's velocity in NumPy, the gradient of
a flow's loss by autograd, and Tweedie's formula.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..coordinates import noisy
from ..directions import MeanShift, PredictedMinusAdded
from ..draws import Draws, PhiloxDraws, Purpose
from ..grids import UniformSigma, UniformT
from ..levels import Level, Step, expand
from ..models.base import Denoiser
from ..noise import (
    Consistent,
    Coupled,
    FixedPoint,
    Fresh,
    Inversion,
    InversionAhead,
    InversionHeun,
    Kappa,
    Last,
    Reversed,
    Simulated,
    Zero,
)
from ..predictor import Predictor
from ..samplers import Annealed, Distillation, RandomT
from ..samplers.distillation import evaluate
from ..schedules import Karras, RectifiedFlow, scaled_linear
from ..update import GradientStep, UnitWeight
from .cases import GAMMAS, SCHEDULES, bind, covering, ddim_onward, digits, gaussian, mixture, shadow
from .oracles.basis import NoDraws
from .rows import Row, U, Worst
from .sds import ROUNDINGS, WHY, all_fresh, annealed, at_random_times, compare

MODELS: dict[str, Callable[[], Denoiser]] = {"gaussian": gaussian, "mixture": mixture, "digits": digits}


def settings(full: bool, *axes: tuple) -> Iterator[tuple]:
    """(name, predictor, draws, *axes): schedules x gamma x exact models x the axes."""
    for schedule, gamma, model, *rest in covering(full, list(SCHEDULES), GAMMAS, list(MODELS), *axes):
        net, draws = bind(MODELS[model](), SCHEDULES[schedule](), gamma)
        yield f"{model}, {schedule}, gamma={gamma}, {rest}", net, draws, *rest


def rows_dsd(full: bool) -> Iterator[Row]:
    """V11a and V11b."""
    found, path = Worst(), Worst()
    for name, net, draws, n in settings(full, (10, 25)):
        grid = UniformT(n + 1)
        levels = grid.levels(net.schedule)
        noise = draws.normal(Purpose.INIT, 0, net.model.shape)
        x = expand(levels[0].b, noise) * noise
        ddim = shadow(net, levels, x, ddim_onward(levels))
        eps = [state.eps for state in ddim.states]
        # What is simulated is told nothing of x0: an error in x0 is not answered by the noise, as it is in DDIM.
        alone = shadow(net, levels, x, partial(onward_with, eps, levels))
        ours = list(Distillation(Annealed(grid), Simulated(n_steps=n), net.guidance).sample(net, draws))
        for src, dst, bound in zip(ddim.states, ours[1:], ddim.bounds, strict=False):
            assert dst.kappa is not None
            sigma = expand(src.level.sigma.nan_to_num(posinf=1.0), x)
            found.compare(name, sigma * dst.kappa, sigma * src.eps, bound * U)
        for got, expected, bound in zip(ours, ddim.states, alone.bounds, strict=True):
            path.compare(name, got.x0, expected.x0, bound * U)
    yield found.row(
        "V11a",
        "DSD whose simulation takes the sampler's own steps finds DDIM's noise; sigma·kappa in u·(measured amplification)",
        "2412.06780",
        ROUNDINGS,
        WHY,
    )
    yield path.row(
        "V11b",
        "and is DDIM: x0 at every level; in u·(amplification measured with the noise held, which guidance makes larger)",
        "2412.06780; 2405.15891 eq. 10 = eq. 2",
        ROUNDINGS,
        WHY,
    )


def onward_with(eps: Sequence[Tensor], levels: Sequence[Level], k: int, x0: Tensor, _: Tensor) -> Tensor:
    """The next noisy image with a noise that is given."""
    return noisy(x0, eps[k], levels[k + 1])


def row_cfd(full: bool) -> Row:
    """V11c."""
    worst = Worst()
    for name, net, draws, levels in settings(full, (UniformT(10), RandomT(20))):
        if isinstance(levels, RandomT):
            ours = list(Distillation(levels, Consistent(gamma=1.0), net.guidance).sample(net, draws))[1:]
            compare(worst, name, ours, *at_random_times(net, draws, levels))
        else:
            ours = list(Distillation(Annealed(levels), Consistent(gamma=1.0), net.guidance).sample(net, draws))
            compare(worst, name, ours, *annealed(net, draws, levels, all_fresh))
    return worst.row(
        "V11c",
        "CFD at gamma = 1 = SDS = DDIM with all noise drawn anew, path by path; in u·(measured amplification)",
        "2501.05445; 2010.02502 eq. 12",
        ROUNDINGS,
        WHY,
    )


def row_clean_flow(full: bool) -> Row:
    """V11d."""
    worst = Worst()
    for name, net, draws, top in covering_flows(full):
        n, low = 20, 0.05
        grid = UniformSigma(n, top, low)
        size = (top - low) / (n - 1)
        update = GradientStep(size=size, weight=UnitWeight())
        ours = list(Distillation(Annealed(grid), Consistent(), net.guidance, update=update).sample(net, draws))
        levels = grid.levels(net.schedule)[1:]
        kappa = draws.normal(Purpose.KAPPA, 0, net.model.shape)
        x = levels[0].a * (ours[0].x0 + levels[0].sigma * kappa)
        states, bounds = shadow(net, levels, x, ddim_onward(levels))
        for got, state, bound in zip(ours[1:], states, bounds, strict=True):
            eps = expand(state.level.sigma, x) * state.eps
            worst.compare(name, expand(state.level.sigma, x) * got.eps, eps, bound * U)
            x_bar = state.x0 + eps  # after the step sigma is lower by its size
            below = state.level.sigma - size
            expected = x_bar - size * state.eps - expand(below, x) * kappa
            worst.compare(name, got.x0, expected, bound * U)
    return worst.row(
        "V11d",
        "CFD's clean flow at gamma = 0, steps of equal size in sigma = DDIM less sigma·kappa; in u·(measured amplification)",
        "2501.05445; 2405.15891 eq. 2",
        ROUNDINGS,
        WHY,
    )


def covering_flows(full: bool) -> Iterator[tuple[str, Predictor, PhiloxDraws, float]]:
    """Schedules x gamma x models x the highest sigma."""
    for schedule, gamma, model, top in covering(full, ("edm", "scaled_linear", "flow"), GAMMAS, list(MODELS), (2.0, 10.0)):
        net, draws = bind(MODELS[model](), SCHEDULES[schedule](), gamma)
        yield f"{model}, {schedule}, gamma={gamma}, to sigma={top}", net, draws, top


def one_step(
    net: Predictor, noise: Kappa, kind: PredictedMinusAdded | MeanShift, x0: Tensor, step: Step, draws: Draws
) -> tuple[Tensor, Tensor]:
    """The kappa of a step and where it sends x0."""
    found = evaluate(x0, step, Last(torch.full_like(x0, torch.nan)), noise, kind, net, draws)
    return found.kappa, found.target


def images(net: Predictor, seed: int = 0) -> Tensor:
    """Images near the data, off it by 0.1."""
    data = net.model.sample(net.prompts, np.random.default_rng(seed))  # type: ignore[attr-defined]
    return data + 0.1 * torch.from_numpy(np.random.default_rng(seed + 1).standard_normal(tuple(data.shape)))


def row_msd(full: bool) -> Row:
    """V11e."""
    worst = Worst()
    for schedule, gamma, n, t in covering(full, list(SCHEDULES), GAMMAS, (1, 2, 10), (0.05, 0.3, 0.7)):
        model = gaussian()
        net, _ = bind(model, SCHEDULES[schedule](), gamma, n_seeds=1)
        name = f"gaussian, {schedule}, gamma={gamma}, n_steps={n}, t={t}"
        for row, prompt in enumerate(net.prompts):
            assert prompt is not None
            alone = replace(net, prompts=(prompt,))
            x0, level = images(net)[[row]], net.level(t)
            step = Step(level, level, 1)
            _, target = one_step(alone, Zero(), MeanShift(n_steps=n, n_samples=2), x0, step, NoDraws())
            # Tweedie for a Gaussian, D = mu + C·(C + lambda²)^-1·(x0 - mu), of both laws, guided
            means, size = [], torch.zeros(())
            for law in (model.marginal, model.classes[prompt]):
                cov = law.basis @ torch.diag(law.variances) @ law.basis.T
                gain = cov @ torch.linalg.inv(cov + level.sigma.square() * torch.eye(len(cov)))
                means.append(law.mean + (x0 - law.mean) @ gain.T)
            expected = means[0] + gamma * (means[1] - means[0])
            size = (abs(gamma) * means[1].abs() + abs(1 - gamma) * means[0].abs()).max() + x0.abs().max()
            if gamma in (0.0, 1.0) or n == 1:
                worst.compare(name, target, expected, size)
    return worst.row(
        "V11e",
        "Gaussian data: MSD's mean over its draws = D(x0; lambda): one law, whatever n_steps; guided, n_steps = 1; in the "
        "size of its terms",
        "2502.15989",
        1e-12,
        "each of ten conditional means is affine and exact; tens of roundings of sigma·eps, sigma up to 1e2",
    )


def row_ucm(full: bool) -> Row:
    """V11f."""
    worst = Worst()
    for model, gamma_up, n in covering(full, list(MODELS), (0.0, 1.0, 7.5), (1, 5, 20)):
        schedule = RectifiedFlow()
        net, draws = bind(MODELS[model](), schedule, 3.0)
        x0, level = images(net), net.level(0.4)
        got, _ = one_step(net, Coupled(n, gamma_up), PredictedMinusAdded(), x0, Step(level, level, 1), draws)
        times = np.linspace(float(schedule.lowest.t), 1.0, n + 1)
        x, size = (1 - times[0]) * x0.numpy(), x0.abs().amax()
        for t, t_next in zip(times, times[1:], strict=False):
            raw = net.guidance.at(gamma_up).conds(net.prompts)
            each = net.model.predict(torch.from_numpy(x), schedule.level(float(t)), raw)
            velocity = (each.eps - each.x0).numpy()  # dx/dt of x = (1 - t)·x0 + t·eps
            guided = velocity[0] + (gamma_up * (velocity[1] - velocity[0]) if len(velocity) == 2 else 0.0)
            x = x + (t_next - t) * guided
            size = torch.maximum(size, torch.from_numpy(np.abs(velocity)).max())
        worst.compare(f"flow, {model}, gamma_inv={gamma_up}, n={n}", got, torch.from_numpy(x), size * n)
    return worst.row(
        "V11f",
        "UCM on a flow = Euler's rule for its velocity from t_min to 1 (NumPy), kappa = x(1); in n·max|v|",
        "2408.05008",
        1e-12,
        "some tens of roundings of the velocity at each step",
    )


def row_ucm_inversion(full: bool) -> Row:
    """V11g."""
    worst = Worst()
    for model, schedule, gamma_up, n in covering(full, list(MODELS), (scaled_linear, Karras), (-1.0, 1.0, 7.5), (3, 8)):
        net, draws = bind(MODELS[model](), schedule(), 3.0)
        x0, top, low = images(net), net.schedule.highest, net.level(0.3)
        ours, ours_low = (
            one_step(net, Coupled(n, gamma_up), PredictedMinusAdded(), x0, Step(at, at, 1), draws)[0] for at in (top, low)
        )
        other = Inversion(gamma_up, n + int(float(top.t) < 1), tau=None, entropy=0.0)  # int(t·(n + 1)) = n at t = 0.999
        theirs, _ = one_step(net, other, PredictedMinusAdded(), x0, Step(top, top, 1), draws)
        name = f"{model}, {type(net.schedule).__name__}, gamma_inv={gamma_up}, n={n}"
        size = 1 + theirs.abs().max()
        worst.compare(name, ours, theirs, size)
        worst.compare(name, ours_low, ours, size)
    return worst.row(
        "V11g",
        "UCM = Inversion with as many steps at the noisiest level, and the same noise at every other level; in 1 + max|kappa|",
        "2408.05008; 2405.15891 eq. 11",
        1e-11,
        "some tens of roundings of eps a step, which guidance at 7.5 amplifies on the way up",
    )


def row_rfds_rev(full: bool) -> Row:
    """V11h."""
    worst = Worst()
    for model, gamma, t in covering(full, list(MODELS), (1.0, 7.5), (0.1, 0.5, 0.9)):
        net, draws = bind(MODELS[model](), RectifiedFlow(), gamma)
        x0, level = images(net), net.level(t)
        step = Step(net.level(0.95), level, 3)
        z = draws.normal(Purpose.KAPPA, 3, tuple(x0.shape[1:])).requires_grad_()
        with torch.no_grad():
            found = net.model.predict((1 - t) * x0 + t * z, level, [net.prompts])
            velocity = (found.eps - found.x0)[0]
        loss = ((velocity - (z - x0)) ** 2).sum() / 2  # no gradient through the network
        (slope,) = torch.autograd.grad(loss, z)
        expected = z.detach() - (1 - t) * slope
        got, _ = one_step(net, Reversed(), PredictedMinusAdded(), x0, step, draws)
        name = f"flow, {model}, gamma={gamma}, t={t}"
        size = 1 + velocity.abs().max()
        worst.compare(name, got, expected, size)
        picard, _ = one_step(
            net, FixedPoint(Fresh(), 1, guidance_scale=1.0), PredictedMinusAdded(), x0, Step(level, level, 3), draws
        )
        worst.compare(name, got, picard, size)
    return worst.row(
        "V11h",
        "RFDS-Rev's noise = a step 1 - t against the gradient of the flow's loss (autograd) = one step of FixedPoint at dst; "
        "in 1 + max|v|",
        "2406.03293 algorithm 3; 2405.15891 eq. 8",
        1e-13,
        "a handful of roundings of the velocity",
    )


def row_steps(full: bool) -> Row:
    """V11i."""
    worst = Worst()
    kinds = (InversionHeun, InversionAhead)
    for model, schedule, gamma_up, n, kind in covering(full, list(MODELS), (scaled_linear, Karras), GAMMAS, (1, 4), kinds):
        net, draws = bind(MODELS[model](), schedule(), 3.0)
        x0, level = images(net), net.level(0.9)
        noise = kind(gamma_up, int(n / 0.9) + 1, tau=None, entropy=0.0)
        got, _ = one_step(net, noise, PredictedMinusAdded(), x0, Step(level, level, 1), draws)
        sigmas = [float(net.schedule.level(t).sigma) for t in np.linspace(float(net.schedule.lowest.t), 0.9, n + 1)]

        def slope(x_bar: np.ndarray, t: float, net: Predictor = net, gamma: float = gamma_up) -> np.ndarray:
            """dx_bar/dsigma of the flow that has noise sigma at t (arXiv 2206.00364, eq. 1 with a = 1), guided."""
            level = net.schedule.level(t)
            raw = net.model.predict(level.a * torch.from_numpy(x_bar), level, net.guidance.at(gamma).conds(net.prompts))
            each = ((torch.from_numpy(x_bar) - raw.x0) / level.sigma).numpy()  # (x_bar - D) / sigma
            return each[0] + (gamma * (each[1] - each[0]) if len(each) == 2 else 0.0)

        x, size, times = x0.numpy(), x0.abs().max(), np.linspace(float(net.schedule.lowest.t), 0.9, n + 1)
        for low, high, t, t_next in zip(sigmas, sigmas[1:], times, times[1:], strict=False):
            if kind is InversionHeun:
                first = slope(x, t)
                second = slope(x + (high - low) * first, t_next)
                x = x + (high - low) * (first + second) / 2
            else:
                x = x + (high - low) * slope(x, t_next)
            size = torch.maximum(size, torch.from_numpy(np.abs(x)).max())
        expected = torch.from_numpy((x - x0.numpy()) / sigmas[-1])
        # where sigma is small a slope is a difference of two near pictures over it
        rounding = size / min(1.0, sigmas[0] if kind is InversionHeun else sigmas[1])
        worst.compare(f"{model}, {schedule.__name__}, gamma_inv={gamma_up}, n={n}, {kind.__name__}", got, expected, rounding)
    return worst.row(
        "V11i",
        "inversion by Heun's rule, and asked ahead = those rules for dx_bar/dsigma = (x_bar - D)/sigma (NumPy); in the size of "
        "its terms over the lowest sigma asked",
        "2206.00364 algorithm 1; 2405.15891 eq. 11",
        1e-13,
        "some tens of roundings a step, which guidance amplifies on the way up",
    )


def rows(full: bool) -> Iterator[Row]:
    """V11a to V11i."""
    yield from rows_dsd(full)
    yield row_cfd(full)
    yield row_clean_flow(full)
    yield row_msd(full)
    yield row_ucm(full)
    yield row_ucm_inversion(full)
    yield row_rfds_rev(full)
    yield row_steps(full)
