"""V10: SDS's relatives, each against its own paper's or released code's form of it, and against SDS.

Each other side is a gradient g with respect to x0, written from raw predictions of single prompts; ours is what one step of the
loop takes from x0, w/sigma·(x0 - target): (x0 - target) is sigma·g where g has w = 1. With f = eps(x) - kappa of SDS:

    SJC = f or f + kappa        CSD at gamma = f at gamma - f at 0        RFDS = f / (1 - t)
    NFSD below t = .2: f at s + kappa; above: CSD at s, and away from the negative prompt
    bridge with no source prompt = CSD; ASD = f at t - f of the prompt alone at t + dt, with one kappa
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..coordinates import FlowVelocity
from ..directions import Asynchronous, Bridge, Csd, Direction, Nfsd, PredictedMinusAdded, Sjc, Velocity
from ..draws import PhiloxDraws, Purpose, items_of
from ..guidance import Guidance, Prompt
from ..levels import Level, Step, expand
from ..models import Codec, Gaussian, Mixture, Network, Reparametrised
from ..models.base import Denoiser
from ..noise import Fresh, Last
from ..predictor import Predictor
from ..samplers.distillation import evaluate
from ..scenes import Image, Pixels
from ..schedules import RectifiedFlow, Schedule
from ..update import SigmaWeight, gradient
from .cases import SCHEDULES, covering, gaussian, largest, mixture
from .rows import Row, U, Worst

Images = Float[Tensor, "batch *shape"]

GAMMAS = (0.0, 1.0, 7.5, 100.0)
FAULTS = ", faulty"
UGLY = "ugly"
TIMES = (0.05, 0.19, 0.2, 0.5, 0.8, 0.97)
"""One for each row; on either side of NFSD's 0.2, and on it."""

WHY = "some roundings of terms of that size"


def worded_gaussian() -> Gaussian:
    """Two prompts, what is wrong with each, and what is ugly."""
    plain = gaussian()
    narrow, wide = plain.classes["narrow"], plain.classes["wide"]
    more = {f"narrow{FAULTS}": replace(narrow, mean=-narrow.mean), f"wide{FAULTS}": replace(wide, mean=2 * wide.mean)}
    return Gaussian({**plain.classes, **more, UGLY: replace(wide, mean=wide.mean - 1)}, plain.marginal)


def worded_mixture() -> Mixture:
    """The same words on modes."""
    return replace(mixture(), labels=("narrow", "wide", f"narrow{FAULTS}", f"wide{FAULTS}", UGLY, "narrow", "wide", UGLY))


class At(NamedTuple):
    """Images x0, each with a time and noise of its own, before a step."""

    name: str
    net: Predictor
    draws: PhiloxDraws
    x0: Images
    kappa: Images
    level: Level

    def eps(self, prompt: str | None = "", level: Level | None = None) -> Images:
        """The raw eps at x = a·x0 + b·kappa for one prompt in all rows; by default for each row's own."""
        level = level or self.level
        x = expand(level.a, self.x0) * self.x0 + expand(level.b, self.x0) * self.kappa
        prompts: list[Prompt] = list(self.net.prompts) if prompt == "" else [prompt] * len(x)
        return self.net.model.predict(x, level, [prompts]).eps[0]

    def described(self) -> Images:
        """The same for each row's own prompt with its faults."""
        return replace_prompts(self, [f"{prompt}{FAULTS}" for prompt in self.net.prompts]).eps()

    def moved(self, direction: Direction, gamma: float | None = None, index: int = 1) -> Images:
        """(x0 - target) / sigma after one step of the library."""
        net = self.net if gamma is None else replace(self.net, guidance=Guidance(gamma))
        step, last = Step(self.level, self.level, index), Last(torch.full_like(self.x0, torch.nan))
        draws = replace(self.draws, _ahead={})
        return (self.x0 - evaluate(self.x0, step, last, Fresh(), direction, net, draws).target) / expand(
            self.level.sigma, self.x0
        )

    def unit(self) -> Tensor:
        """u·((1 + |gamma|)·(|eps| of all prompts) + |kappa| + |x0| / sigma), per row."""
        gamma, one = abs(self.net.guidance.scale), abs(1 - self.net.guidance.scale)
        size = largest(self.eps()) + largest(self.eps(None)) + largest(self.eps(UGLY)) + largest(self.described())
        return U * ((1 + gamma + one) * size + largest(self.kappa) + largest(self.x0) / expand(self.level.sigma, self.x0))


def replace_prompts(at: At, prompts: list[str]) -> At:
    """The same, asked for others."""
    return at._replace(net=replace(at.net, prompts=tuple(prompts)))


def settings(full: bool) -> Iterator[At]:
    """Models x schedules x gamma."""
    models: dict[str, Denoiser] = {"gaussian": worded_gaussian(), "mixture": worded_mixture()}
    for schedule, gamma, model in covering(full, list(SCHEDULES), GAMMAS, list(models)):
        yield setting(f"{model}, {schedule}, gamma={gamma}", models[model], SCHEDULES[schedule](), gamma)


def setting(name: str, model: Denoiser, schedule: Schedule, gamma: float) -> At:
    """Six rows of two prompts."""
    items = tuple(items_of(["narrow", "wide"], range(3)))
    net, draws = Predictor(model, schedule, Guidance(gamma), tuple(item.prompt for item in items)), PhiloxDraws(items)
    x0, kappa = draws.normal(Purpose.INIT, 0, model.shape), draws.normal(Purpose.KAPPA, 1, (1, *model.shape))[:, 0]
    return At(name, net, draws, x0, kappa, net.level(torch.tensor(TIMES, dtype=torch.float64)))


def compare(worst: Worst, at: At, got: Tensor, expected: Tensor) -> None:
    """In at.unit()."""
    worst.compare(at.name, got, expected, at.unit())


def row_sjc(full: bool) -> Row:
    """V10a."""
    worst = Worst()
    for at in settings(full):
        sigma, gamma = expand(at.level.sigma, at.x0), at.net.guidance.scale
        zs = at.x0 + sigma * at.kappa
        cond, null = (
            at.net.model.predict(expand(at.level.a, zs) * zs, at.level, [prompts]).x0[0]
            for prompts in (list(at.net.prompts), [None] * len(zs))
        )
        Ds = null + gamma * (cond - null)
        unit = at.unit() + U * (abs(gamma) + abs(1 - gamma)) * (largest(cond) + largest(null)) / sigma  # of D / sigma
        y = at.x0.clone().requires_grad_()
        for var_red in (True, False):
            grad = (Ds - at.x0) / sigma if var_red else (Ds - zs) / sigma
            (g,) = torch.autograd.grad(y, y, -grad)  # the released code: y.backward(-grad)
            worst.compare(at.name, at.moved(Sjc(var_red)), g, unit)
            compare(worst, at, at.moved(Sjc(var_red)), at.moved(PredictedMinusAdded()) + (0 if var_red else at.kappa))
    return worst.row(
        "V10a",
        "SJC with var_red = SDS with w = 1; without, the noise is not subtracted; both as its code has them, in u·(terms)",
        "2212.00774 = 2405.15891 eq. 4",
        8,
        WHY,
    )


def row_csd(full: bool) -> Row:
    """V10b."""
    worst = Worst()
    for at in settings(full):
        gamma = at.net.guidance.scale
        sds, null, cond = (at.moved(PredictedMinusAdded(), scale) for scale in (gamma, 0.0, 1.0))
        csd = at.moved(Csd(gamma))
        compare(worst, at, csd, sds - null)
        compare(worst, at, at.moved(Csd(gamma - 1)), sds - cond)
        w1, w2 = gamma, 2.5
        expected = w1 * at.eps() + (w2 - w1) * at.eps(None) - w2 * at.eps(UGLY)
        compare(worst, at, at.moved(Csd(w1, w2, UGLY)), expected)
    return worst.row(
        "V10b",
        "CSD at omega = gamma is SDS at gamma less SDS at 0, at gamma - 1 less SDS at 1; with a negative prompt "
        "omega_1·eps_y + (omega_2 - omega_1)·eps - omega_2·eps_neg; in u·(terms)",
        "2310.19415",
        8,
        WHY,
    )


def row_nfsd(full: bool) -> Row:
    """V10c."""
    worst = Worst()
    for at in settings(full):
        s = at.net.guidance.scale
        null, sds, csd = at.eps(None), at.moved(PredictedMinusAdded()), at.moved(Csd(s))
        found = at.moved(Nfsd(s, UGLY))
        timestep = torch.tensor(TIMES, dtype=torch.float64) * 1000
        for i, t in enumerate(timestep.round().tolist()):
            delta_d = null[i] if t < 200 else null[i] - at.eps(UGLY)[i]
            compare(worst, at, found, torch.where(torch.arange(len(found))[:, None] == i, csd[i] + delta_d, found))
        low = (timestep < 199.5)[:, None]
        compare(worst, at, at.moved(Nfsd(s)), torch.where(low, sds + at.kappa, csd))
    return worst.row(
        "V10c",
        "NFSD = delta_D + s·delta_C; below t = 200 it is SDS at s and the noise back, above it CSD, less eps of the negative "
        "prompt; in u·(terms)",
        "2310.17590",
        8,
        WHY,
    )


def row_bridge(full: bool) -> Row:
    """V10d."""
    worst = Worst()
    for at in settings(full):
        s = at.net.guidance.scale
        compare(worst, at, at.moved(Bridge(s)), at.moved(Csd(s)))
        compare(worst, at, at.moved(Bridge(s, FAULTS)), s * (at.eps() - at.described()))
        compare(worst, at, at.moved(Bridge(s, FAULTS, FAULTS)), 0 * at.x0)
        compare(worst, at, at.moved(Bridge(s, FAULTS, switch=1)), at.moved(PredictedMinusAdded()))
        later = replace(at.draws, _ahead={}).normal(Purpose.KAPPA, 2, (1, *at.net.model.shape))[:, 0]
        compare(worst, at._replace(kappa=later), at.moved(Bridge(s), index=2), at._replace(kappa=later).moved(Csd(s), index=2))
    return worst.row(
        "V10d",
        "the bridge = s·(eps_y - eps of y and its faults); from no prompt it is CSD, to its own source nothing; SDS before the "
        "switch; in u·(terms)",
        "2406.09417",
        8,
        WHY,
    )


def row_asd(full: bool) -> Row:
    """V10e."""
    worst = Worst()
    for at in settings(full):
        t = torch.tensor(TIMES, dtype=torch.float64)
        for random in (True, False):
            share = at.draws.uniform(Purpose.LATER, 1) if random else 1.0
            top = float(at.net.schedule.highest.t) - (0 if bool((at.net.schedule.highest.a > 0).all()) else 1e-3)
            later = at.net.level((t + share * 0.1 * (t - 0.02)).clamp(max=top))
            alone = at._replace(level=later)
            expected = at.moved(PredictedMinusAdded()) - alone.moved(PredictedMinusAdded(), 1.0)
            worst.compare(at.name, at.moved(Asynchronous(random=random)), expected, at.unit() + alone.unit())
    return worst.row(
        "V10e",
        "ASD = SDS at t less SDS of the prompt alone at t + dt, the same noise in both, dt ~ U(0, (t - .02)/10); in u·(terms)",
        "2407.02040",
        8,
        WHY,
    )


def row_rfds(full: bool) -> Row:
    """V10f."""
    worst = Worst()
    models: dict[str, Denoiser] = {"gaussian": worded_gaussian(), "mixture": worded_mixture()}
    for gamma, name, shift in covering(full, GAMMAS, list(models), (1.0, 3.0)):
        model = Reparametrised(models[name], FlowVelocity())
        at = setting(f"{name}, flow, shift={shift}, gamma={gamma}", model, RectifiedFlow(shift=shift), gamma)
        t = at.level.b[:, None]
        latents = at.x0.clone().requires_grad_()
        x = (t * at.kappa + (1 - t) * latents).detach()
        cond, null = (
            FlowVelocity().encode(found.x0[0], found.eps[0], at.level)
            for found in (model.predict(x, at.level, [ys]) for ys in (list(at.net.prompts), [None] * len(x)))
        )
        target = null + gamma * (cond - null)
        loss = 0.5 * (at.kappa - latents - target).square().sum()
        (g,) = torch.autograd.grad(loss, latents)
        unit = at.unit() / (1 - t)
        worst.compare(at.name, at.moved(Velocity()), g, unit)
        worst.compare(at.name, at.moved(Velocity()), at.moved(PredictedMinusAdded()) / (1 - t), unit)
    return worst.row(
        "V10f",
        "RFDS, the gradient of |kappa - x0 - v|²/2, = SDS with w = 1/(1 - t); in u·(terms)/(1 - t)",
        "2406.03293 = 2405.15891 eq. 4",
        8,
        WHY,
    )


@dataclass(frozen=True)
class Curved:
    """An autoencoder that is none of a linear one: `decode` and `encode` are no inverses."""

    def decode(self, z: Tensor) -> Tensor:
        """Twice as many pixels a side."""
        return torch.tanh(z).repeat_interleave(2, 2).repeat_interleave(2, 3) + 0.1 * z.mean()

    def encode(self, pictures: Tensor) -> Tensor:
        """Half as many."""
        return torch.nn.functional.avg_pool2d(pictures, 2) + 0.3 * torch.nn.functional.avg_pool2d(pictures**2, 2)


def latent_network() -> Network:
    """A network of latents [2, 3, 3], of pictures [2, 6, 6]."""
    return Network(lambda x, t, prompts: x, (2, 3, 3), codec=Codec(Curved(), (2, 6, 6)))


def row_hifa(full: bool) -> Row:
    """V10g."""
    worst, model = Worst(), latent_network()
    net = Predictor(model, RectifiedFlow(), Guidance(), ("a",))
    for scene, share, t in covering(full, (Image(), Pixels()), (0.0, 0.1, 3.0), (0.1, 0.9)):
        draws, level = PhiloxDraws(tuple(items_of(["a"], [0]))), net.level(t)
        params = draws.normal(Purpose.INIT, 0, (2, 3, 3) if isinstance(scene, Image) else (2, 6, 6))
        target = draws.normal(Purpose.SCENE, 1, (1, 2, 3, 3))[:, 0]
        found = gradient(scene.see(params, None, model), target, level, SigmaWeight(), share)
        leaf, code = params.clone().requires_grad_(), Curved()
        latents, pixels = (leaf, code.decode(leaf)) if isinstance(scene, Image) else (code.encode(leaf), leaf)
        loss = ((latents - target) ** 2).sum() / 2 + share * ((pixels - code.decode(target)) ** 2).sum() / 2
        (g,) = torch.autograd.grad(loss, leaf)
        worst.compare(f"{type(scene).__name__}, {share}, t={t}", found, g, U * (1 + share) * (1 + largest(g)))
    return worst.row(
        "V10g",
        "HiFA: the gradient of |z - z_hat|²/2 + lambda·|x - decode(z_hat)|²/2, x the picture or the decoded z; in u·(terms)",
        "2305.18766",
        8,
        WHY + ", through an autoencoder",
    )


ROWS: tuple[Callable[[bool], Row], ...] = (row_sjc, row_csd, row_nfsd, row_bridge, row_asd, row_rfds, row_hifa)


def rows(full: bool) -> Iterator[Row]:
    """V10a to V10g."""
    for row in ROWS:
        yield row(full)
