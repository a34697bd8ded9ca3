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

from ...directions import DeltaDenoising, Entropic, Interval, MeanShift, PosteriorSampling, PredictedMinusAdded, Variational
from ...draws import Purpose
from ...noise import (
    Consistent,
    Coupled,
    ExactRoot,
    Fixed,
    FixedPoint,
    Fresh,
    Gradient,
    Held,
    Inversion,
    InversionAhead,
    InversionHeun,
    Mixed,
    Previous,
    ReleasedInversion,
    Reversed,
    Simulated,
    Surface,
    Zero,
)
from ...samplers import Annealed, Ddim, Ddpm, Distillation, Heun, ReleasedTimeline
from ...sources import Source
from ...students import Exact
from ...update import FullStep, GradientStep, UnitWeight
from .basis import NoDraws, fixed_uniform
from .gaussians import Affine, Array, Case, Claim, Ends, Moments, Number, Transition, from_x0, from_x_bar, of_states, oracle
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


def edit(case: Case, sampler: Distillation, move: Callable[[Ends, Array], tuple[Number, Number, Number]]) -> Affine:
    """x0' = slope·x0 + shift + N(0, variance) of a step from a source of the marginal law, which is the first x0."""
    source = case.run(sampler, NoDraws(), 1)[0, 0].numpy()
    mean, variance = source, 0 * source
    states: list[tuple[Number, Number]] = [(mean, variance)]
    for ends in case.steps:
        slope, shift, noise = move(ends, source)
        mean, variance = slope * mean + shift, slope**2 * variance + noise
        states.append((mean, variance))
    return Affine("", sampler, of_states(states, source))


@oracle("sampler/dds")
def dds(case: Case) -> Iterator[Claim]:
    """x0' = D(x0 + sigma'·z) - D_0(source + sigma'·z) + source, D_0 the marginal's: the noise counts by d - d_0."""

    def move(ends: Ends, source: Array) -> tuple[Number, Number, Number]:
        (d, c), (d_0, c_0) = case.denoiser(ends.sigma_next), case.denoiser(ends.sigma_next, 0.0)
        return d, c - d_0 * source - c_0 + source, ((d - d_0) * ends.sigma_next) ** 2

    yield edit(case, Distillation(Annealed(case.grid), Fresh(), case.guidance, DeltaDenoising(), source=Source()), move)


@oracle("sampler/pds")
def pds(case: Case) -> Iterator[Claim]:
    """x0' = x0 - z(x0) + z(source), the stochastic latents of one noise: affine in x0 and eps, read off at two pairs."""

    def latent(t: float, x0: float, eps: float) -> float:
        n = case.schedule.n_train
        A, A_one, A_s = (float(case.schedule.level(max(t, 2 / n) - k / n).alpha_bar) for k in (0, 1, 2))
        beta, x_t = 1 - A / A_one, math.sqrt(A) * x0
        clean = (x_t - math.sqrt(1 - A) * eps) / math.sqrt(A)
        mu = (math.sqrt(A_s) * beta * clean + math.sqrt(1 - beta) * (1 - A_s) * x_t) / (1 - A)
        return (math.sqrt(A_s) * x0 - mu) / math.sqrt(beta * (1 - A_s) / (1 - A))

    def move(ends: Ends, source: Array) -> tuple[Number, Number, Number]:
        psi, chi = latent(ends.t_next, 1, 0), latent(ends.t_next, 0, 1)
        (A, B), (A_0, B_0) = case.eps(ends.sigma_next), case.eps(ends.sigma_next, 0.0)
        shift = psi * source + chi * (B + A_0 * source - B_0)
        return 1 - psi - chi * A, shift, (chi * (A - A_0) * ends.sigma_next) ** 2

    update = GradientStep(weight=UnitWeight())
    direction = PosteriorSampling()
    yield edit(case, Distillation(Annealed(case.grid), Fresh(), case.guidance, direction, update, source=Source()), move)


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
    case: Case,
    t: float,
    gamma: float,
    n_steps: int,
    interval: float | None = None,
    t_min: float | None = None,
    kind: type[Inversion] = Inversion,
) -> Inverted:
    """x_bar + (sigma_k+1 - sigma_k)·(A·x_bar - B), A and B at the source sigma_k, from x_bar = x0 at the lowest level.

    max(1, int(n_steps·t)) steps uniform in t; with `interval`, up to t - interval and then one step to t; with `t_min`, A and B
    at no lower time. InversionAhead: A and B at sigma_k+1; InversionHeun: the mean of A·x_bar - B at both ends.
    """
    start = float(case.schedule.lowest.t)
    end = t if interval is None else max(t - interval, start)
    times = np.linspace(start, end, max(1, int(n_steps * end + 1e-9)) + 1)
    times = times if interval is None else np.append(times, t)
    sigmas = [float(case.schedule.level(time).sigma) for time in times]
    slope, shift = np.ones_like(case.cond.mean), np.zeros_like(case.cond.mean)
    bound = 0.0 if t_min is None else float(case.schedule.level(t_min).sigma)
    for sigma, sigma_next in pairwise(sigmas):
        A, B = case.eps(sigma_next if kind is InversionAhead else max(sigma, bound), gamma)
        slope_s, shift_s = A * slope, A * shift - B
        rise, shift_rise = slope_s, shift_s
        if kind is InversionHeun:
            A, B = case.eps(sigma_next, gamma)
            rise = (slope_s + A * (slope + (sigma_next - sigma) * slope_s)) / 2
            shift_rise = (shift_s + A * (shift + (sigma_next - sigma) * shift_s) - B) / 2
        slope, shift = slope + (sigma_next - sigma) * rise, shift + (sigma_next - sigma) * shift_rise
    return Inverted(sigmas[-1], slope, shift, slope_s, shift_s)


def sought(case: Case, ends: Ends, tau: float | None) -> float:
    """The time up to which x0 is inverted."""
    late = 0.0 if tau is None else tau * fixed_uniform(Purpose.TAU, ends.number)
    return ends.t if tau is None else min(ends.t_next + late, float(case.schedule.highest.t))


def invert(case: Case, noise: Inversion) -> Transition:
    """x_bar' = x0 + sigma'·(x_bar - x0)/sigma + sigma'·h·z; h = entropy, times sqrt(1 - alpha_bar) as eq. 11 prints it."""

    def step(ends: Ends) -> tuple[Number, Number, Number]:
        t = sought(case, ends, noise.tau)
        found = inverted(case, t, noise.guidance_scale, noise.n_steps, noise.interval, noise.t_min, type(noise))
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


def stepped(case: Case, kind: type[Inversion]) -> Iterator[Claim]:
    """As noise/inversion, by another rule."""
    for noise in (kind(-1.0, n_steps=10, tau=None, entropy=0.0), kind(case.gamma, n_steps=3, tau=0.1, entropy=0.3)):
        yield Affine(repr(noise), Distillation(Annealed(case.grid), noise, case.guidance), from_x0(case, invert(case, noise)))


@oracle("noise/inversion_ahead")
def inversion_ahead(case: Case) -> Iterator[Claim]:
    """K = prod(1 + rise·A at the target)."""
    yield from stepped(case, InversionAhead)


@oracle("noise/inversion_heun")
def inversion_heun(case: Case) -> Iterator[Claim]:
    """K = prod(1 + rise·(A + A'·(1 + rise·A))/2), A at the source and A' at the target."""
    yield from stepped(case, InversionHeun)


@oracle("noise/interval")
def interval(case: Case) -> Iterator[Claim]:
    """The same with a last step of fixed length in t."""
    noise = Inversion(0.0, n_steps=5, tau=0.0, entropy=0.0, interval=0.08)
    yield Affine("", Distillation(Annealed(case.grid), noise, case.guidance), from_x0(case, invert(case, noise)))


def hold(case: Case, noise: Inversion, every: int) -> Claim:
    """x0' = x0 - sigma'·(A·(x0 + sigma'·kappa) - B - kappa), kappa = (K·x0 + S - x0)/sigma + h·z in each every-th step.

    Each is a sum over 1, the first draw and the z of each inversion, whose coefficients are carried on.
    """
    d, c = case.denoiser(case.steps[0].sigma)
    x0, kappa = [c, d * case.steps[0].sigma], [0 * c, 0 * c]
    states = [(c, x0[1] ** 2)]
    for k, ends in enumerate(case.steps):
        if k % every == 0:
            found = inverted(case, sought(case, ends, noise.tau), noise.guidance_scale, noise.n_steps)
            kappa = [(found.slope - 1) * part / found.sigma for part in x0]
            kappa[0] = kappa[0] + found.shift / found.sigma
            x0, kappa = [*x0, 0 * c], [*kappa, noise.entropy + 0 * c]
        A, B = case.eps(ends.sigma_next)
        pairs = zip(x0, kappa, strict=True)
        x0 = [x - ends.sigma_next * (A * (x + ends.sigma_next * added) - added) for x, added in pairs]
        x0[0] = x0[0] + ends.sigma_next * B
        states.append((x0[0], np.square(x0[1:]).sum(0)))
    sampler = Distillation(Annealed(case.grid), Held(noise, every), case.guidance)
    return Affine(f"every {every}", sampler, of_states(states, d))


@oracle("noise/held")
def held(case: Case) -> Iterator[Claim]:
    """Of one, three and all steps: `noise` itself, between, one noise for ever."""
    noise = Inversion(-1.0, n_steps=10, tau=0.1, entropy=0.3)
    yield from (hold(case, noise, every) for every in (1, 3, 1000))


@oracle("sampler/sdi_fast")
def sdi_fast(case: Case) -> Iterator[Claim]:
    """SDI's noise, kept for five steps."""
    yield hold(case, Inversion(-case.gamma, n_steps=10, tau=1 / 30, entropy=0.3), 5)


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


def particles(case: Case) -> Moments:
    """x0' = x0 - sigma'·(A·x_bar - B - (x_bar - m)·sigma'/(V + sigma'²)): m, V are those of x0 itself."""
    top = case.steps[0].sigma
    d, c = case.denoiser(top)
    mean, variance = c, (d * top) ** 2
    states = [(mean, variance)]
    for ends in case.steps:
        sigma, (A, B) = ends.sigma_next, case.eps(ends.sigma_next)
        gain = sigma * (A - sigma / (variance + sigma**2))
        mean, variance = mean - sigma * (A * mean - B), (1 - gain) ** 2 * variance + (sigma * gain) ** 2
        states.append((mean, variance))
    return of_states(states, d)


@oracle("sampler/vsd")
def vsd(case: Case) -> Iterator[Claim]:
    """The particles' own score is that of N(m, V), subtracted: m, V follow a recursion that uses them."""
    sampler = Distillation(Annealed(case.grid), Fresh(), case.guidance, Variational(Exact()))
    yield Affine("", sampler, particles(case))


@oracle("sampler/esd")
def esd(case: Case) -> Iterator[Claim]:
    """Of one view the score of all views is its own: VSD. With views: V12."""
    sampler = Distillation(Annealed(case.grid), Fresh(), case.guidance, Entropic(Exact(), lam=0.3))
    yield Affine("", sampler, particles(case))


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


# Noise choices of others.


def simulated_eps(case: Case, noise: Simulated, t: float, gamma_last: float | None = None) -> tuple[Number, Number]:
    """(slope, shift) in z of what DDIM from x_T = b·z predicts at time t, x_bar' = x_bar + (sigma' - sigma)·(A·x_bar - B).

    Written with the pair (x0, eps), which sigma = infinity leaves alone. gamma_last: of the last prediction.
    """
    times = [noise.t_max - k / noise.n_steps for k in range(noise.n_steps)]
    levels = [case.schedule.level(time) for time in (*(time for time in times if time > t + 1e-9), t)]
    sigmas = list(dict.fromkeys(float(level.sigma) for level in levels))
    first = sigmas[0]
    if math.isinf(first):  # all noise: eps is z, x0 the mean that the guided prediction has there
        slope, shift = 1.0 + 0 * case.cond.mean, 0 * case.cond.mean
        clean = case.gamma * case.cond.mean + (1 - case.gamma) * case.marginal.mean
        clean_slope = 0 * clean
    else:
        A, B = case.eps(first, gamma_last if len(sigmas) == 1 else None)
        slope, shift = A * first, -B
        clean_slope, clean = first - first * slope, -first * shift
    for sigma in sigmas[1:]:
        bar_slope, bar_shift = clean_slope + sigma * slope, clean + sigma * shift
        A, B = case.eps(sigma, gamma_last if sigma == sigmas[-1] else None)
        slope, shift = A * bar_slope, A * bar_shift - B
        clean_slope, clean = bar_slope - sigma * slope, bar_shift - sigma * shift
    return slope, shift


@oracle("noise/simulated")
def simulated(case: Case) -> Iterator[Claim]:
    """x0 = m + w·z, eps = f·z + e: m' = d·(m + sigma'·e) + c, w' = d·(w + sigma'·f); with ISM's direction the e of gamma = 1
    (of 0 at gamma = 0) is subtracted: m' = m - sigma'·(A·(m + sigma'·e) - B - e_1).
    """
    t_max = 0.8 if 100 < float(case.schedule.highest.sigma) < math.inf else 1.0  # x_bar - sigma·eps would lose u·sigma
    for noise, kind in (
        (Simulated(n_steps=10, t_max=t_max), PredictedMinusAdded()),
        (Simulated(n_steps=4, t_max=t_max, tau=0.05), PredictedMinusAdded()),
        (Simulated(n_steps=10, t_max=t_max), Interval()),
    ):
        top = case.steps[0].sigma
        d, c = case.denoiser(top)
        m, w = c, d * top
        states = [(m, w**2)]
        for ends in case.steps:
            t = sought(case, ends, noise.tau)
            f, e = simulated_eps(case, noise, t)
            (A, B), s = case.eps(ends.sigma_next), ends.sigma_next
            f_s, e_s = (
                (f, e) if isinstance(kind, PredictedMinusAdded) else simulated_eps(case, noise, t, float(case.gamma != 0))
            )
            m, w = m - s * (A * (m + s * e) - B - e_s), w - s * (A * (w + s * f) - f_s)
            states.append((m, w**2))
        sampler = Distillation(Annealed(case.grid), noise, case.guidance, kind)
        yield Affine(f"{noise}, {type(kind).__name__}", sampler, of_states(states, d))


@oracle("sampler/dsd")
def dsd(case: Case) -> Iterator[Claim]:
    """Its noise, the paper's direction."""
    yield next(simulated(case))


def replaced(case: Case, gamma: float, kind: type[Consistent] = Consistent) -> Claim:
    """kappa(i) = sqrt(1 - gamma)·kappa(i - 1) + sqrt(gamma)·z(i): x0's coefficient of each z, and its share from x_T."""
    noise = kind(gamma=gamma)
    top = case.steps[0].sigma
    d, c = case.denoiser(top)
    n = len(case.steps) + 1
    mean, own, of_z, kappa = c, (d * top) ** 2, np.zeros((n, len(d))), np.eye(n)[0]
    states = [(mean, own)]
    for ends in case.steps:
        kappa = math.sqrt(1 - gamma) * kappa + math.sqrt(gamma) * np.eye(n)[ends.number] if gamma else kappa
        d, c = case.denoiser(ends.sigma_next)
        mean, own, of_z = d * mean + c, d**2 * own, d * (of_z + ends.sigma_next * kappa[:, None])
        states.append((mean, own + (of_z**2).sum(0)))
    return Affine(repr(noise), Distillation(Annealed(case.grid), noise, case.guidance), of_states(states, d))


@oracle("noise/consistent")
def consistent(case: Case) -> Iterator[Claim]:
    """Between the fixed noise and SDS."""
    yield from (replaced(case, gamma) for gamma in (0.3, 1.0))


@oracle("noise/surface")
def surface(case: Case) -> Iterator[Claim]:
    """On a picture, which has no surface, that noise."""
    yield replaced(case, 0.3, Surface)


@oracle("sampler/cfd")
def cfd(case: Case) -> Iterator[Claim]:
    """One noise for each item."""
    yield replaced(case, 0.0)


@oracle("noise/coupled")
def coupled(case: Case) -> Iterator[Claim]:
    """x = p·x0 + q, from (a, 0): Euler's rule x' = x + (t' - t)·v for a flow, in general x' = a'·D + b'·eps;
    kappa = (x - a·x0)/b at the top, x_bar' = x0 + sigma'·kappa.
    """
    noise = Coupled(n_steps=6, guidance_scale=-1.0)
    ends_t = float(case.schedule.lowest.t), float(case.schedule.highest.t)
    levels = [case.schedule.level(t) for t in np.linspace(*ends_t, noise.n_steps + 1)]
    p, q = float(levels[0].a) + 0 * case.cond.mean, 0 * case.cond.mean
    for src, dst in pairwise(levels):
        sigma = float(src.sigma)
        (A, B), (d, c) = (f(sigma, noise.guidance_scale) for f in (case.eps, case.denoiser))
        p, q = p / float(src.a), q / float(src.a)
        p, q = float(dst.a) * d * p + float(dst.b) * A * p, float(dst.a) * (d * q + c) + float(dst.b) * (A * q - B)
    a, b = float(levels[-1].a), float(levels[-1].b)
    slope, shift = (p - a) / b, q / b

    def step(ends: Ends) -> tuple[Number, Number, Number]:
        return 1 + ends.sigma_next * slope, ends.sigma_next * shift, 0.0

    yield Affine(repr(noise), Distillation(Annealed(case.grid), noise, case.guidance), from_x0(case, step))


@oracle("sampler/ucm")
def ucm(case: Case) -> Iterator[Claim]:
    """Its noise."""
    yield from coupled(case)


@oracle("noise/reversed")
def reversed_(case: Case) -> Iterator[Claim]:
    """kappa = A·(x0 + sigma'·z) - B at gamma = 1: x_bar' = (1 + sigma'·A)·x0 - sigma'·B + sigma'²·A·z."""

    def step(ends: Ends) -> tuple[Number, Number, Number]:
        A, B = case.eps(ends.sigma_next, 1.0)
        return 1 + ends.sigma_next * A, -ends.sigma_next * B, (ends.sigma_next**2 * A) ** 2

    yield Affine("", Distillation(Annealed(case.grid), Reversed(), case.guidance), from_x0(case, step))


@oracle("sampler/rfds_rev")
def rfds_rev(case: Case) -> Iterator[Claim]:
    """Its noise."""
    yield from reversed_(case)


@oracle("sampler/msd")
def msd(case: Case) -> Iterator[Claim]:
    """x_bar' = r·x_bar + (1 - r)·D(x_bar) + sigma'·sqrt(1 - r)·z, r = sigma'²/sigma², from x_bar = x0 at sigma down to the
    lowest level, y = D there; x0' is the mean of K such y. Mean and slope are D's own (V11d).
    """
    kind = MeanShift(n_steps=4, n_samples=2)
    top = case.steps[0].sigma
    d, c = case.denoiser(top)
    mean, variance = c, (d * top) ** 2
    states = [(mean, variance)]
    for ends in case.steps:
        times = np.linspace(ends.t_next, float(case.schedule.lowest.t), kind.n_steps)
        sigmas = [ends.sigma_next, *(float(case.schedule.level(t).sigma) for t in times[1:])]
        slope, shift, noise = 1.0 + 0 * d, 0 * d, 0 * d
        for sigma, sigma_next in pairwise(sigmas):
            d, c = case.denoiser(sigma)
            r = min(1.0, (sigma_next / sigma) ** 2)
            keep = r + (1 - r) * d
            slope, shift, noise = keep * slope, keep * shift + (1 - r) * c, keep**2 * noise + sigma_next**2 * (1 - r)
        d, c = case.denoiser(sigmas[-1])
        mean = d * (slope * mean + shift) + c
        variance = (d * slope) ** 2 * variance + d**2 * noise / kind.n_samples
        states.append((mean, variance))
    yield Affine(repr(kind), Distillation(Annealed(case.grid), Zero(), case.guidance, kind), of_states(states, d))
