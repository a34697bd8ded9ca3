"""The oracles: on Gaussian data each sampler and each kappa has a recursion of its own, independent of the library's code.

To add one: a function of a Case under @oracle("<group>/<yaml name>") that yields claims. Mostly one call of from_x0 or
from_x_bar with the step's (slope, shift, variance) is enough. A, B: eps = A·x_bar - B. d, c: D = d·x_bar + c.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ...directions import Interval
from ...draws import Purpose
from ...noise import ExactRoot, Fixed, FixedPoint, Fresh, Gradient, Inversion, Mixed, Previous, ReleasedInversion, Zero
from ...samplers import Annealed, Ddim, Ddpm, Distillation, Heun, ReleasedTimeline
from ...update import FullStep, GradientStep
from .basis import fixed_uniform
from .gaussians import Affine, Array, Case, Claim, Ends, Number, Transition, from_x0, from_x_bar, of_states, oracle
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


# Noise choices, each in the annealed loop of eq. 10.


def add(noise: Callable[[Ends], float]) -> Transition:
    """x_bar' = x0 + N(0, noise)."""
    return lambda ends: (1.0, 0.0, noise(ends))


@oracle("sampler/sds")
def sds(case: Case) -> Iterator[Claim]:
    """V' = d²·(V + sigma'²); with steps of size l, V' = (1 - l + l·d)²·V + l²·d²·sigma'²."""
    for update, size in ((FullStep(), 1.0), (GradientStep(0.3), 0.3)):
        sampler = Distillation(Annealed(case.grid), Fresh(), case.guidance, update=update)
        yield Affine(f"size={size}", sampler, from_x0(case, add(lambda ends: ends.sigma_next**2), size))


@oracle("noise/fresh")
def fresh(case: Case) -> Iterator[Claim]:
    """V' = d²·(V + sigma'²/K): K draws are averaged, not K predictions (which only data that are not Gaussian tell apart)."""
    sampler = Distillation(Annealed(case.grid), Fresh(n_avg=3), case.guidance)
    yield Affine("n_avg=3", sampler, from_x0(case, add(lambda ends: ends.sigma_next**2 / 3)))
    yield from averaged(case)


@oracle("noise/zero")
def zero(case: Case) -> Iterator[Claim]:
    """x0' = D(x0)."""
    yield Affine("", Distillation(Annealed(case.grid), Zero(), case.guidance), from_x0(case, add(lambda ends: 0.0)))


@oracle("noise/fixed")
def fixed(case: Case) -> Iterator[Claim]:
    """V = W + C², W the variance from x_T, C = Cov(x0, kappa) (Var(kappa) = 1): W' = d²·W, C' = d·(C + sigma')."""
    top = case.steps[0].sigma
    d, c = case.denoiser(top)
    mean, own, cov = c, (d * top) ** 2, 0 * d
    states = [(mean, own)]
    for ends in case.steps:
        d, c = case.denoiser(ends.sigma_next)
        mean, own, cov = d * mean + c, d**2 * own, d * (cov + ends.sigma_next)
        states.append((mean, own + cov**2))
    yield Affine("", Distillation(Annealed(case.grid), Fixed(), case.guidance), of_states(states, d))


def carry(case: Case, rho: Callable[[Ends], float]) -> Transition:
    """x_bar' = x0 + sigma'·(rho·eps + sqrt(1 - rho²)·z)."""

    def step(ends: Ends) -> tuple[Number, Number, Number]:
        (A, B), (d, c), share = case.eps(ends.sigma), case.denoiser(ends.sigma), rho(ends)
        return d + ends.sigma_next * share * A, c - ends.sigma_next * share * B, ends.sigma_next**2 * (1 - share**2)

    return step


@oracle("noise/previous")
def previous(case: Case) -> Iterator[Claim]:
    """x_bar' = x0 + sigma'·eps."""
    sampler = Distillation(Annealed(case.grid), Previous(), case.guidance)
    yield Affine("", sampler, from_x_bar(case, carry(case, lambda ends: 1.0)))


@oracle("noise/mixed")
def mixed(case: Case) -> Iterator[Claim]:
    """The same with rho < 1: constant, or (sigma'/sigma)^lam."""
    for noise, rho in (
        (Mixed(lam=None, rho=0.5), lambda ends: 0.5),
        (Mixed(lam=1.0), lambda ends: ends.sigma_next / ends.sigma),
        (Mixed(lam=2.5), lambda ends: (ends.sigma_next / ends.sigma) ** 2.5),
        (Mixed(lam=math.inf), lambda ends: 0.0),
    ):
        sampler = Distillation(Annealed(case.grid), noise, case.guidance)
        yield Affine(repr(noise), sampler, from_x_bar(case, carry(case, rho)))


class Inverted(NamedTuple):
    """DDIM inversion of x0 up to `sigma`: x_bar = slope·x0 + shift; the last prediction asked is slope_s·x0 + shift_s."""

    sigma: float
    slope: Number
    shift: Number
    slope_s: Number
    shift_s: Number


def inverted(
    case: Case, t: float, gamma: float, n_steps: int, interval: float | None = None, t_min: float | None = None
) -> Inverted:
    """x_bar + (sigma_k+1 - sigma_k)·(A·x_bar - B), A and B at the source sigma_k, from x_bar = x0 at the lowest level.

    max(1, int(n_steps·t)) steps uniform in t; with `interval`, up to t - interval and then one step to t; with `t_min`, A and B
    at no lower time.
    """
    start = float(case.schedule.lowest.t)
    end = t if interval is None else max(t - interval, start)
    times = np.linspace(start, end, max(1, int(n_steps * end + 1e-9)) + 1)
    times = times if interval is None else np.append(times, t)
    sigmas = [float(case.schedule.level(time).sigma) for time in times]
    slope, shift = np.ones_like(case.cond.mean), np.zeros_like(case.cond.mean)
    bound = 0.0 if t_min is None else float(case.schedule.level(t_min).sigma)
    for sigma, sigma_next in pairwise(sigmas):
        A, B = case.eps(max(sigma, bound), gamma)
        slope_s, shift_s = A * slope, A * shift - B
        slope, shift = slope + (sigma_next - sigma) * slope_s, shift + (sigma_next - sigma) * shift_s
    return Inverted(sigmas[-1], slope, shift, slope_s, shift_s)


def sought(case: Case, ends: Ends, tau: float | None) -> float:
    """The time up to which x0 is inverted."""
    late = 0.0 if tau is None else tau * fixed_uniform(Purpose.TAU, ends.number)
    return ends.t if tau is None else min(ends.t_next + late, float(case.schedule.highest.t))


def invert(case: Case, noise: Inversion) -> Transition:
    """x_bar' = x0 + sigma'·(x_bar - x0)/sigma + sigma'·h·z; h = entropy, times sqrt(1 - alpha_bar) as eq. 11 prints it."""

    def step(ends: Ends) -> tuple[Number, Number, Number]:
        found = inverted(case, sought(case, ends, noise.tau), noise.guidance_scale, noise.n_steps, noise.interval, noise.t_min)
        ratio = ends.sigma_next / found.sigma
        h = noise.entropy * (found.sigma / math.sqrt(1 + found.sigma**2) if noise.literal_entropy else 1)
        return 1 + ratio * (found.slope - 1), ratio * found.shift, (ends.sigma_next * h) ** 2

    return step


@oracle("noise/inversion")
def inversion(case: Case) -> Iterator[Claim]:
    """Factor d·(1 + (sigma'/sigma)·(K - 1)) per step, K = prod(1 + rise·A at the source); src = dst is tau = 0."""
    noises = [
        Inversion(-1.0, n_steps=10, tau=None, entropy=0.0),
        Inversion(case.gamma, n_steps=10, tau=0.0, entropy=0.0),
        Inversion(1.0, n_steps=1, tau=None, entropy=0.3),
        Inversion(0.0, n_steps=7, tau=0.1, entropy=0.3, literal_entropy=True),
        Inversion(-1.0, n_steps=10, tau=None, entropy=0.0, t_min=0.15),
        Inversion(1e12, n_steps=4, tau=None, entropy=0.0),  # overflows
    ]
    for noise in noises:
        sampler = Distillation(Annealed(case.grid), noise, case.guidance)
        yield Affine(repr(noise), sampler, from_x0(case, invert(case, noise)))


@oracle("noise/interval")
def interval(case: Case) -> Iterator[Claim]:
    """The same with a last step of fixed length in t."""
    noise = Inversion(0.0, n_steps=5, tau=0.0, entropy=0.0, interval=0.08)
    yield Affine("", Distillation(Annealed(case.grid), noise, case.guidance), from_x0(case, invert(case, noise)))


@oracle("sampler/sdi")
def sdi(case: Case) -> Iterator[Claim]:
    """The paper's choice: gamma of the inversion = minus the sampler's, tau = 1/30, entropy 0.3."""
    noise = Inversion(-case.gamma, n_steps=10, tau=1 / 30, entropy=0.3)
    sampler = Distillation(Annealed(case.grid), noise, case.guidance)
    yield Affine("", sampler, from_x0(case, invert(case, noise)))


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


class Released(NamedTuple):
    """The released inversion in the terms of its code, timesteps, alphas_cumprod, x; what is not said is as it was released."""

    n: int = 10
    eta: float = 0.3
    gamma: float = -1.0
    uniform: bool = False
    scaled: bool = False
    at_end: bool = False
    renoised: bool = False

    def step(self, case: Case, ends: Ends) -> tuple[Number, Number, Number]:
        """x(u) = c·x(s) + h + N(0, eta²·V) at every step; then x at t + d over sqrt(ab) at t, or x0 + sigma_t·kappa."""
        N, t, u = case.schedule.n_train, ends.t_next * case.schedule.n_train, fixed_uniform(Purpose.TAU, ends.number)
        last = min(t + (N * u / 30 if self.uniform else N * u // self.n), N - 1)
        path = [0, *(s for s in range(1, N + 1, N // self.n) if s < t), last]
        if self.uniform:
            path = list(np.linspace(N * float(case.schedule.lowest.t), last, max(1, int(self.n * last / N + 1e-9)) + 1))
        bars = [1 / (1 + float(case.schedule.level(s / N).sigma) ** 2) for s in path]
        slope, shift = np.full_like(case.cond.mean, bars[0] ** 0.5 if self.scaled else 1.0), np.zeros_like(case.cond.mean)
        variance: Number = 0.0
        for ab_s, ab_u in pairwise(bars):
            A, B = case.eps(math.sqrt(1 / ab_s - 1), self.gamma)
            rise = math.sqrt(ab_u) * (math.sqrt(1 / ab_u - 1) - math.sqrt(1 / ab_s - 1))
            c = math.sqrt(ab_u / ab_s) + rise * A / math.sqrt(ab_s)
            V = 0.0 if self.at_end else (1 - ab_s) / (1 - ab_u) * (1 - ab_u / ab_s)
            slope, shift, variance = c * slope, c * shift - rise * B, c**2 * variance + self.eta**2 * V
        variance = variance + self.eta**2 * (1 - bars[-1]) * self.at_end
        if not self.renoised:
            root = math.sqrt(1 + ends.sigma_next**2)
            return root * slope, root * shift, root**2 * variance
        share = ends.sigma_next / math.sqrt(1 - bars[-1])
        return 1 + share * (slope - math.sqrt(bars[-1])), share * shift, share**2 * variance


RELEASED: list[tuple[Released, dict[str, Any]]] = [
    (Released(), {}),
    (Released(uniform=True), {"levels": "uniform"}),
    (Released(scaled=True), {"unscaled": False}),
    (Released(at_end=True), {"each_step": False}),
    (Released(renoised=True), {"as_found": False}),
    (Released(n=7, eta=0.0, gamma=0.0, renoised=True), {"n_steps": 7, "eta": 0.0, "guidance_scale": 0.0, "as_found": False}),
]
"""Each switch taken back alone, there and here."""


@oracle("noise/released")
def released(case: Case) -> Iterator[Claim]:
    """As the released code has it; a model that counts no timesteps sees nothing of the first one."""
    for theirs, settings in RELEASED:
        noise = ReleasedInversion(**{"guidance_scale": -1.0} | settings)
        sampler = Distillation(Annealed(case.grid), noise, case.guidance)
        yield Affine(repr(noise), sampler, from_x0(case, partial(theirs.step, case)))


@oracle("sampler/sdi_released")
def sdi_released(case: Case) -> Iterator[Claim]:
    """Full steps to the notebook's targets, int(N·(.96·(1 - k/n) + .02)), from x = eps at N - 1; Adam is in the tests."""
    N, spans = case.schedule.n_train, 6
    sampler = Distillation(ReleasedTimeline(spans + 1, spans), ReleasedInversion(-case.gamma), case.guidance)
    top = float(case.schedule.level((N - 1) / N).sigma)
    d, c = case.denoiser(top)
    mean, variance = c, d**2 * (1 + top**2)
    states = [(mean, variance)]
    for k in range(spans + 1):
        t = int(N * ((0.98 - 0.02) * (1 - k / spans) + 0.02)) / N
        sigma = float(case.schedule.level(t).sigma)
        slope, shift, noise = Released(gamma=-case.gamma).step(case, Ends(top, sigma, t, t, k + 1))
        d, c = case.denoiser(sigma)
        mean, variance = d * (slope * mean + shift) + c, (d * slope) ** 2 * variance + d**2 * noise
        states.append((mean, variance))
    yield Affine("", sampler, of_states(states, d))


@oracle("noise/exact_root")
def exact_root(case: Case) -> Iterator[Claim]:
    """kappa = A·(x0 + sigma·kappa) - B, so d·kappa = A·x0 - B."""

    def step(ends: Ends) -> tuple[Number, Number, Number]:
        (A, B), (d, _) = case.eps(ends.sigma), case.denoiser(ends.sigma)
        return 1 + ends.sigma_next * A / d, -ends.sigma_next * B / d, 0.0

    yield Affine("", Distillation(Annealed(case.grid), ExactRoot(), case.guidance), from_x0(case, step))


def relax(case: Case, n_steps: int, rate: Callable[[Array], Array | float], gamma: float | None = None) -> Transition:
    """n steps of kappa <- kappa + rate(d)·(A·x0 - B - d·kappa) from kappa = z: with q = 1 - rate·d,

    kappa = q^n·z + rate·(1 + q + ... + q^(n-1))·(A·x0 - B).
    """

    def step(ends: Ends) -> tuple[Number, Number, Number]:
        (A, B), (d, _) = case.eps(ends.sigma, gamma), case.denoiser(ends.sigma, gamma)
        q = 1 - rate(d) * d
        push = ends.sigma_next * rate(d) * sum((q**k for k in range(n_steps)), start=0 * q)
        return 1 + push * A, -push * B, (ends.sigma_next * q**n_steps) ** 2

    return step


@oracle("noise/fixed_point")
def fixed_point(case: Case) -> Iterator[Claim]:
    """Picard: rate = damping. Warm-started it is at the root already: DDIM. With memory it finds the root (anderson)."""
    picard, damped = FixedPoint(Fresh(), n_steps=3), FixedPoint(Fresh(), n_steps=5, damping=0.5, guidance_scale=1.0)
    warm = FixedPoint(Previous(), n_steps=3)
    for noise, expected in (
        (picard, from_x0(case, relax(case, 3, lambda d: 1.0))),
        (damped, from_x0(case, relax(case, 5, lambda d: 0.5, gamma=1.0))),
        (warm, from_x_bar(case, carry(case, lambda ends: 1.0))),
    ):
        yield Affine(repr(noise), Distillation(Annealed(case.grid), noise, case.guidance), expected)
    yield from anderson(case)


@oracle("noise/gradient")
def gradient(case: Case) -> Iterator[Claim]:
    """rate = lr·d: the slope of eps - kappa in kappa is -d, so kappa <- kappa + lr·d·(eps - kappa)."""
    noise = Gradient(Fresh(), n_steps=5, lr=0.5)
    sampler = Distillation(Annealed(case.grid), noise, case.guidance)
    yield Affine(repr(noise), sampler, from_x0(case, relax(case, 5, lambda d: 0.5 * d)))
    yield from descended(case)
