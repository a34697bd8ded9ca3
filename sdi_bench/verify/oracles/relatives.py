"""The relatives that differ by their direction: x0' = x0 - sigma'·(slope·x0 + shift + share·kappa), kappa ~ N(0, 1).

A, B of `case.eps` at gamma 1 and 0 are those of the prompt and of none; each oracle is written in its paper's own terms.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from ...directions import Asynchronous, Bridge, Csd, Direction, Interval, Nfsd, Sjc, Velocity
from ...draws import Purpose
from ...noise import Fresh, Unrolled
from ...samplers import Annealed, Distillation, RandomT
from ...schedules import RectifiedFlow
from ...update import FullStep, GradientStep, UnitWeight, Update
from .basis import fixed_uniform
from .gaussians import Affine, Case, Claim, Ends, Moments, Number, of_states, oracle

Terms = Callable[[Ends], tuple[Number, Number, Number]]
"""A step's (slope, shift, share)."""


def along(case: Case, terms: Terms, size: Callable[[Ends], Number]) -> Moments:
    """x0' = x0 - size·(slope·x0 + shift + share·kappa), from x0 = D(sigma·z)."""
    top = case.steps[0].sigma
    d, c = case.denoiser(top)
    mean, variance = c, (d * top) ** 2
    states = [(mean, variance)]
    for ends in case.steps:
        slope, shift, share = terms(ends)
        mean = mean - size(ends) * (slope * mean + shift)
        variance = (1 - size(ends) * slope) ** 2 * variance + (size(ends) * share) ** 2
        states.append((mean, variance))
    return of_states(states, d)


def sigma_of(ends: Ends) -> float:
    """A full step's size."""
    return ends.sigma_next


def eps_of(case: Case, ends: Ends, gamma: float) -> tuple[Number, Number, Number]:
    """eps at x0 + sigma'·kappa."""
    A, B = case.eps(ends.sigma_next, gamma)
    return A, -B, A * ends.sigma_next


def mixed(*parts: tuple[float, tuple[Number, Number, Number]]) -> tuple[Number, Number, Number]:
    """A weighted sum of such."""
    slope, shift, share = (sum((w * terms[k] for w, terms in parts), start=0 * parts[0][1][k]) for k in range(3))
    return slope, shift, share


KAPPA = (0.0, 0.0, 1.0)


def made(case: Case, direction: Direction, update: Update = FullStep()) -> Distillation:
    """The sampler under test."""
    return Distillation(Annealed(case.grid), Fresh(), case.guidance, direction, update)


@oracle("sampler/sjc")
def sjc(case: Case) -> Iterator[Claim]:
    """w = 1: x0' = x0 - l·[(x0 - D)/sigma], or - l·[(z - D)/sigma]; z = x0 + sigma·kappa, D = d·z + c."""

    def terms(ends: Ends, var_red: bool) -> tuple[Number, Number, Number]:
        sigma, (d, c) = ends.sigma_next, case.denoiser(ends.sigma_next)
        return (1 - d) / sigma, -c / sigma, (0 if var_red else 1) - d

    for var_red in (True, False):
        update = GradientStep(0.003, UnitWeight())
        expected = along(case, lambda ends, var_red=var_red: terms(ends, var_red), lambda ends: 0.003)  # type: ignore[misc]
        yield Affine(f"var_red={var_red}", made(case, Sjc(var_red), update), expected)


@oracle("sampler/csd")
def csd(case: Case) -> Iterator[Claim]:
    """omega_1·eps(y) + (omega_2 - omega_1)·eps - omega_2·eps(y_neg), here with y_neg = y."""

    def terms(ends: Ends) -> tuple[Number, Number, Number]:
        return mixed((7.5 - 2.0, eps_of(case, ends, 1.0)), (2.0 - 7.5, eps_of(case, ends, 0.0)))

    yield Affine("", made(case, Csd(7.5, 2.0, "c")), along(case, terms, sigma_of))


@oracle("sampler/nfsd")
def nfsd(case: Case) -> Iterator[Claim]:
    """delta_D + s·delta_C, here with y_neg = y."""

    def terms(ends: Ends) -> tuple[Number, Number, Number]:
        cond, null = eps_of(case, ends, 1.0), eps_of(case, ends, 0.0)
        domain = (0.0, null) if ends.t_next < 0.2 else (-1.0, cond)
        return mixed((7.5, cond), (1 - 7.5, null), domain)

    yield Affine("", made(case, Nfsd(7.5, "c")), along(case, terms, sigma_of))


@oracle("sampler/bridge")
def bridge(case: Case) -> Iterator[Claim]:
    """SDS for four steps, then s·(eps(y) - eps(y_source)), here with no prompt as the source."""

    def terms(ends: Ends) -> tuple[Number, Number, Number]:
        if ends.number <= 4:
            return mixed((1.0, eps_of(case, ends, case.gamma)), (-1.0, KAPPA))
        return mixed((3.0, eps_of(case, ends, 1.0)), (-3.0, eps_of(case, ends, 0.0)))

    yield Affine("", made(case, Bridge(3.0, switch=4)), along(case, terms, sigma_of))


@oracle("sampler/asd")
def asd(case: Case) -> Iterator[Claim]:
    """eps at t - eps(y) at t + dt, where x_bar is x0 + sigma(t + dt)·kappa."""
    top = case.schedule.highest
    latest = float(top.t) - (0 if float(top.a) > 0 else 1 / case.schedule.n_train)

    for random in (True, False):

        def terms(ends: Ends, random: bool = random) -> tuple[Number, Number, Number]:
            part = fixed_uniform(Purpose.LATER, ends.number) if random else 1.0
            t = ends.t_next + part * 0.1 * max(ends.t_next - 0.02, 0)
            sigma = float(case.schedule.level(min(t, latest)).sigma)
            later = eps_of(case, ends._replace(sigma_next=sigma), 1.0)
            return mixed((1.0, eps_of(case, ends, case.gamma)), (-1.0, later))

        yield Affine(f"random={random}", made(case, Asynchronous(random=random)), along(case, terms, sigma_of))


@oracle("sampler/rfds")
def rfds(case: Case) -> Iterator[Claim]:
    """v - (kappa - x0), v the mean of kappa - x0 at x = (1 - t)·x0 + t·kappa; where that is the path."""
    if not isinstance(case.schedule, RectifiedFlow):
        return

    def terms(ends: Ends) -> tuple[Number, Number, Number]:
        d, c = case.denoiser(ends.sigma_next)
        A, B = case.eps(ends.sigma_next)
        return (A - d) + 1, -B - c, (A - d) * ends.sigma_next - 1

    update = GradientStep(0.05, UnitWeight())
    yield Affine("", made(case, Velocity(), update), along(case, terms, lambda ends: 0.05))


@oracle("sampler/hifa")
def hifa(case: Case) -> Iterator[Claim]:
    """Where pictures are x0 the loss counts 1 + lambda times: steps of size l have the recursion of SDS's of (1 + lambda)·l."""

    def terms(ends: Ends) -> tuple[Number, Number, Number]:
        return mixed((1.0, eps_of(case, ends, case.gamma)), (-1.0, KAPPA))

    update = GradientStep(0.3, image_share=0.1)
    sampler = Distillation(Annealed(case.grid), Fresh(), case.guidance, update=update)
    yield Affine("", sampler, along(case, terms, lambda ends: 0.33 * ends.sigma_next))


def unrolled_to(case: Case, t: float, interval: float, stride: float) -> tuple[tuple[Number, ...], tuple[Number, ...], float]:
    """DDIM inversion, no prompt, from x0 + sigma_0·n: x_bar(t) and the last prediction asked, as (slope, shift, share of n)."""
    start = float(case.schedule.lowest.t)
    times = [start]
    while times[-1] < max(t - interval, start) - 1e-9:
        times.append(min(times[-1] + stride, max(t - interval, start)))
    sigmas = [float(case.schedule.level(time).sigma) for time in [*times, t]]
    one = np.ones_like(case.cond.mean)
    state: tuple[Number, ...] = (one, 0 * one, sigmas[0] * one)
    for sigma, sigma_next in pairwise(sigmas):
        A, B = case.eps(sigma, 0.0)
        last = (A * state[0], A * state[1] - B, A * state[2])
        state = tuple(x + (sigma_next - sigma) * e for x, e in zip(state, last, strict=True))
    return state, last, sigmas[-1]


@oracle("noise/unrolled")
def unrolled(case: Case) -> Iterator[Claim]:
    """x_bar' = x0 + sigma'·(x_bar(t) - x0)/sigma(t), where t is the level that is asked."""
    noise = Unrolled(warm_up=6)

    def terms(ends: Ends) -> tuple[Number, Number, Number]:
        interval = 0.08 + 0.02 * max(0.0, 1 - ends.number / 6)
        (slope, shift, share), _, _ = unrolled_to(case, ends.t_next, interval, 0.2)
        d, c = case.denoiser(ends.sigma_next)
        return 1 - d * slope, -(d * shift + c), -d * share

    sampler = Distillation(Annealed(case.grid), noise, case.guidance)
    yield Affine("", sampler, along(case, terms, lambda ends: 1.0))


@oracle("sampler/lucid_dreamer")
def lucid_dreamer(case: Case) -> Iterator[Claim]:
    """x0' = x0 - sigma·(eps(x_bar(t)) - eps(x_bar(s))), t ~ U(.02, upper end), which falls in the warm-up; from N(0, 1)."""
    timeline, noise = RandomT(12, 0.02, 0.5, 0.9, 6), Unrolled(warm_up=6)
    mean, variance = 0 * case.cond.mean, 1.0 + 0 * case.cond.mean
    states = [(mean, variance)]
    for i in range(1, 13):
        warmth = max(0.0, 1 - i / 6)
        t = 0.02 + (0.5 + 0.4 * warmth - 0.02) * fixed_uniform(Purpose.TIME, i)
        (slope, shift, share), (slope_s, shift_s, share_s), sigma = unrolled_to(case, t, 0.08 + 0.02 * warmth, 0.2)
        A, B = case.eps(sigma)
        move = 1 - sigma * (A * slope - slope_s)
        mean = move * mean - sigma * (A * shift - B - shift_s)
        variance = move**2 * variance + (sigma * (A * share - share_s)) ** 2
        states.append((mean, variance))
    assert math.isfinite(float(np.sum(variance)))
    yield Affine("full steps", Distillation(timeline, noise, case.guidance, Interval()), of_states(states, case.cond.mean))
