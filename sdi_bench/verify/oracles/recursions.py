"""The oracles: on Gaussian data each sampler and each kappa has a recursion of its own, independent of the library's code.

To add one: a function of a Case under @oracle("<group>/<yaml name>") that yields claims. Mostly one call of from_x0 or
from_x_bar with the step's (slope, shift, variance) is enough. A, B: eps = A·x_bar - B. d, c: D = d·x_bar + c.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ...directions import Interval
from ...draws import Purpose
from ...noise import ExactRoot, Fixed, FixedPoint, Fresh, Gradient, Inversion, Mixed, Previous, Zero
from ...samplers import Annealed, Ddim, Ddpm, Distillation, Heun
from ...update import FullStep, GradientStep
from .basis import fixed_uniform
from .gaussians import Affine, Array, Case, Claim, Ends, Number, from_x0, from_x_bar, of_states, oracle
from .nonlinear import anderson, averaged, descended

# Samplers with formulas of their own.


@oracle("sampler/ddim")
def ddim(case: Case) -> Iterator[Claim]:
    """x_bar' = x_bar + (sigma' - sigma)·eps."""

    def step(ends: Ends) -> tuple[Number, Number, Number]:
        A, B = case.eps(ends.sigma)
        rise = ends.sigma_next - ends.sigma
        return 1 + rise * A, -rise * B, 0.0

    yield Affine("", Ddim(case.grid, case.guidance), from_x_bar(case, step))


@oracle("sampler/ddpm")
def ddpm(case: Case) -> Iterator[Claim]:
    """x_bar' = r·x_bar + (1 - r)·x0 + sigma'·sqrt(1 - r)·z, r = sigma'²/sigma²."""

    def step(ends: Ends) -> tuple[Number, Number, Number]:
        d, c = case.denoiser(ends.sigma)
        r = (ends.sigma_next / ends.sigma) ** 2
        return r + (1 - r) * d, (1 - r) * c, ends.sigma_next**2 * (1 - r)

    yield Affine("", Ddpm(case.grid, case.guidance), from_x_bar(case, step))


@oracle("sampler/heun")
def heun(case: Case) -> Iterator[Claim]:
    """x_bar' = x_bar + h·(eps + eps')/2 with eps' at x_bar + h·eps, h = sigma' - sigma."""

    def step(ends: Ends) -> tuple[Number, Number, Number]:
        h = ends.sigma_next - ends.sigma
        (A, B), (A_next, B_next) = case.eps(ends.sigma), case.eps(ends.sigma_next)
        slope = 1 + h / 2 * (A + A_next + h * A * A_next)
        return slope, -h / 2 * (B + B_next + h * A_next * B), 0.0

    yield Affine("", Heun(case.grid, case.guidance), from_x_bar(case, step))


# Noise choices, each in the annealed loop of eq. 10 with full steps unless said otherwise.


@oracle("sampler/sds")
def sds(case: Case) -> Iterator[Claim]:
    """V' = d²·(V + sigma'²); with steps of size l, V' = (1 - l + l·d)²·V + l²·d²·sigma'²."""
    for update, size in ((FullStep(), 1.0), (GradientStep(0.3), 0.3)):
        sampler = Distillation(Annealed(case.grid), Fresh(), case.guidance, update=update)
        yield Affine(f"size={size}", sampler, from_x0(case, lambda ends: (1.0, 0.0, ends.sigma_next**2), size))


@oracle("noise/fresh")
def fresh(case: Case) -> Iterator[Claim]:
    """V' = d²·(V + sigma'²/K): K draws are averaged, not K predictions (which only data that are not Gaussian tell apart)."""
    for k in (1, 3):
        sampler = Distillation(Annealed(case.grid), Fresh(n_avg=k), case.guidance)
        yield Affine(f"n_avg={k}", sampler, from_x0(case, lambda ends, k=k: (1.0, 0.0, ends.sigma_next**2 / k)))
    yield from averaged(case)


@oracle("noise/zero")
def zero(case: Case) -> Iterator[Claim]:
    """x0' = D(x0)."""
    yield Affine("", Distillation(Annealed(case.grid), Zero(), case.guidance), from_x0(case, lambda ends: (1.0, 0.0, 0.0)))


@oracle("noise/fixed")
def fixed(case: Case) -> Iterator[Claim]:
    """V' = d²·(V + 2·sigma'·C + sigma'²), C' = d·(C + sigma'), C = Cov(x0, kappa)."""
    top = case.steps[0].sigma
    d, c = case.denoiser(top)
    mean, variance, cov = c, (d * top) ** 2, 0 * d
    states = [(mean, variance)]
    for ends in case.steps:
        d, c = case.denoiser(ends.sigma_next)
        mean, variance = d * mean + c, d**2 * (variance + 2 * ends.sigma_next * cov + ends.sigma_next**2)
        cov = d * (cov + ends.sigma_next)
        states.append((mean, variance))
    yield Affine("", Distillation(Annealed(case.grid), Fixed(), case.guidance), of_states(states, d))


def kept(case: Case, ends: Ends, rho: float) -> tuple[Number, Number, Number]:
    """x_bar' = x0 + sigma'·(rho·eps + sqrt(1 - rho²)·z)."""
    (A, B), (d, c) = case.eps(ends.sigma), case.denoiser(ends.sigma)
    return d + ends.sigma_next * rho * A, c - ends.sigma_next * rho * B, ends.sigma_next**2 * (1 - rho**2)


@oracle("noise/previous")
def previous(case: Case) -> Iterator[Claim]:
    """x_bar' = x0 + sigma'·eps."""
    sampler = Distillation(Annealed(case.grid), Previous(), case.guidance)
    yield Affine("", sampler, from_x_bar(case, lambda ends: kept(case, ends, 1.0)))


@oracle("noise/mixed")
def mixed(case: Case) -> Iterator[Claim]:
    """The same with rho < 1: constant, or (sigma'/sigma)^lam."""
    yield Affine(
        "rho=0.5",
        Distillation(Annealed(case.grid), Mixed(lam=None, rho=0.5), case.guidance),
        from_x_bar(case, lambda ends: kept(case, ends, 0.5)),
    )
    for lam in (0.0, 1.0, 2.0, math.inf):
        sampler = Distillation(Annealed(case.grid), Mixed(lam=lam), case.guidance)
        expected = from_x_bar(case, lambda ends, lam=lam: kept(case, ends, (ends.sigma_next / ends.sigma) ** lam))
        yield Affine(f"lam={lam}", sampler, expected)


class Inverted(NamedTuple):
    """DDIM inversion of x0 up to `sigma`: x_bar = slope·x0 + shift; the last prediction asked is slope_s·x0 + shift_s."""

    sigma: float
    slope: Number
    shift: Number
    slope_s: Number
    shift_s: Number


def inverted(case: Case, t: float, gamma: float, n_steps: int, interval: float | None = None) -> Inverted:
    """x_bar + (sigma_k+1 - sigma_k)·(A·x_bar - B), A and B at the source sigma_k, from x_bar = x0 at the lowest level.

    max(1, int(n_steps·t)) steps uniform in t; with `interval`, up to t - interval and then one step to t.
    """
    start = float(case.schedule.lowest.t)
    end = t if interval is None else max(t - interval, start)
    times = np.linspace(start, end, max(1, int(n_steps * end + 1e-9)) + 1)
    times = times if interval is None else np.append(times, t)
    sigmas = [float(case.schedule.level(time).sigma) for time in times]
    slope, shift = np.ones_like(case.cond.mean), np.zeros_like(case.cond.mean)
    for sigma, sigma_next in pairwise(sigmas):
        A, B = case.eps(sigma, gamma)
        slope_s, shift_s = A * slope, A * shift - B
        slope, shift = slope + (sigma_next - sigma) * slope_s, shift + (sigma_next - sigma) * shift_s
    return Inverted(sigmas[-1], slope, shift, slope_s, shift_s)


def sought(case: Case, ends: Ends, tau: float | None) -> float:
    """The time up to which x0 is inverted."""
    late = 0.0 if tau is None else tau * fixed_uniform(Purpose.TAU, ends.index)
    return ends.t if tau is None else min(ends.t_next + late, float(case.schedule.highest.t))


def after_inversion(case: Case, noise: Inversion, ends: Ends) -> tuple[Number, Number, Number]:
    """x_bar' = x0 + sigma'·(x_bar - x0)/sigma + sigma'·h·z; h = entropy, times sqrt(1 - alpha_bar) as eq. 11 prints it."""
    found = inverted(case, sought(case, ends, noise.tau), noise.guidance_scale, noise.n_steps)
    ratio = ends.sigma_next / found.sigma
    literal = found.sigma / math.sqrt(1 + found.sigma**2)
    h = noise.entropy * (literal if noise.literal_entropy else 1)
    return 1 + ratio * (found.slope - 1), ratio * found.shift, (ends.sigma_next * h) ** 2


@oracle("noise/inversion")
def inversion(case: Case) -> Iterator[Claim]:
    """Factor d·(1 + (sigma'/sigma)·(K - 1)) per step, K = prod(1 + rise·A at the source); src = dst is tau = 0."""
    noises = [
        Inversion(-1.0, n_steps=10, tau=None, entropy=0.0),
        Inversion(case.gamma, n_steps=10, tau=0.0, entropy=0.0),
        Inversion(1.0, n_steps=1, tau=None, entropy=0.3),
        Inversion(0.0, n_steps=7, tau=0.1, entropy=0.3, literal_entropy=True),
    ]
    for noise in noises:
        sampler = Distillation(Annealed(case.grid), noise, case.guidance)
        yield Affine(repr(noise), sampler, from_x0(case, lambda ends, noise=noise: after_inversion(case, noise, ends)))


@oracle("sampler/sdi")
def sdi(case: Case) -> Iterator[Claim]:
    """The paper's choice: gamma of the inversion = minus the sampler's, tau = 1/30, entropy 0.3."""
    noise = Inversion(-case.gamma, n_steps=10, tau=1 / 30, entropy=0.3)
    sampler = Distillation(Annealed(case.grid), noise, case.guidance)
    yield Affine("", sampler, from_x0(case, lambda ends: after_inversion(case, noise, ends)))


@oracle("sampler/ism")
def ism(case: Case) -> Iterator[Claim]:
    """x0' = x0 - sigma'·(eps(x_bar) - eps_s): unconditional inversion up to t, its last prediction subtracted."""
    noise = Inversion(0.0, n_steps=5, tau=0.0, entropy=0.0, interval=0.08)
    top = case.steps[0].sigma
    d, c = case.denoiser(top)
    mean, variance = c, (d * top) ** 2
    states = [(mean, variance)]
    for ends in case.steps:
        A, B = case.eps(ends.sigma_next)
        found = inverted(case, ends.t_next, 0.0, noise.n_steps, noise.interval)
        slope = 1 - ends.sigma_next * (A * found.slope - found.slope_s)
        mean = slope * mean - ends.sigma_next * (A * found.shift - B - found.shift_s)
        variance = slope**2 * variance
        states.append((mean, variance))
    yield Affine("", Distillation(Annealed(case.grid), noise, case.guidance, Interval()), of_states(states, d))


@oracle("noise/exact_root")
def exact_root(case: Case) -> Iterator[Claim]:
    """kappa = A·(x0 + sigma·kappa) - B, so d·kappa = A·x0 - B."""

    def step(ends: Ends) -> tuple[Number, Number, Number]:
        (A, B), (d, _) = case.eps(ends.sigma), case.denoiser(ends.sigma)
        return 1 + ends.sigma_next * A / d, -ends.sigma_next * B / d, 0.0

    yield Affine("", Distillation(Annealed(case.grid), ExactRoot(), case.guidance), from_x0(case, step))


def relaxed(q: Array, n_steps: int) -> tuple[Array, Array]:
    """(q^n, 1 + q + ... + q^(n-1)): n steps of kappa <- q·kappa + push give q^n·kappa + sum·push."""
    return q**n_steps, sum((q**k for k in range(n_steps)), start=0 * q)


@oracle("noise/fixed_point")
def fixed_point(case: Case) -> Iterator[Claim]:
    """kappa <- q·kappa + damping·(A·x0 - B), q = 1 - damping·d; warm-started it is a step of DDIM; with memory, the root."""
    for damping, gamma in ((1.0, None), (0.5, 1.0)):

        def cold(ends: Ends, damping: float = damping, gamma: float | None = gamma) -> tuple[Number, Number, Number]:
            (A, B), (d, _) = case.eps(ends.sigma, gamma), case.denoiser(ends.sigma, gamma)
            start, push = relaxed(1 - damping * d, 5)
            push = damping * push * ends.sigma_next
            return 1 + push * A, -push * B, (ends.sigma_next * start) ** 2

        noise = FixedPoint(Fresh(), n_steps=5, damping=damping, guidance_scale=gamma)
        yield Affine(repr(noise), Distillation(Annealed(case.grid), noise, case.guidance), from_x0(case, cold))

    noise = FixedPoint(Previous(), n_steps=3)
    sampler = Distillation(Annealed(case.grid), noise, case.guidance)
    yield Affine(repr(noise), sampler, from_x_bar(case, lambda ends: kept(case, ends, 1.0)))
    yield from anderson(case)


@oracle("noise/gradient")
def gradient(case: Case) -> Iterator[Claim]:
    """kappa <- q·kappa + lr·d·(A·x0 - B), q = 1 - lr·d²; d = 1 - sigma·A is minus the slope of eps - kappa in kappa."""
    noise = Gradient(Fresh(), n_steps=5, lr=0.5)

    def step(ends: Ends) -> tuple[Number, Number, Number]:
        (A, B), (d, _) = case.eps(ends.sigma), case.denoiser(ends.sigma)
        start, push = relaxed(1 - noise.lr * d**2, noise.n_steps)
        push = noise.lr * d * push * ends.sigma_next
        return 1 + push * A, -push * B, (ends.sigma_next * start) ** 2

    yield Affine(repr(noise), Distillation(Annealed(case.grid), noise, case.guidance), from_x0(case, step))
    yield from descended(case)
