"""V2: our samplers are diffusers' own schedulers, on the same table of alpha_bar and where their grids are exact.

What equality needs: no clipping of x0 (their default) and no thresholding; sigma from *their* alphas_cumprod (a float32
table, up to 3e-4 away from the formula in float64); that table and the level after the last step cast to float64. Their
"trailing" grid needs a divisor of 1000 and "linspace" all 1000 steps, or they step to levels that are not on the grid.
diffusers is imported only when these rows are asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..coordinates import Epsilon, FlowVelocity, Parametrisation, Sample, Velocity, noisy, x0_from_eps
from ..draws import Purpose
from ..grids import Leading, Linspace, Trailing
from ..levels import Step, clean, expand
from ..models import Reparametrised
from ..models.base import Denoiser
from ..noise import Inversion, Mixed
from ..predictor import Predictor
from ..samplers import Annealed, Ddim, Ddpm, Distillation, State
from ..samplers.base import start
from ..samplers.ddim import step
from ..schedules import RectifiedFlow, TableSchedule
from .cases import bind, covering, digits, gaussian, largest, mixture, scale_of
from .rows import Row, Worst

Grid = Leading | Trailing | Linspace
Scheduler = Any
"""One of diffusers' schedulers; their type is not imported with this module."""

GAMMAS = (0.0, 1.0, 7.5)
SPACINGS = {Leading: "leading", Trailing: "trailing", Linspace: "linspace"}
OUTPUTS: dict[str, Parametrisation] = {"epsilon": Epsilon(), "sample": Sample(), "v_prediction": Velocity()}
BETAS: dict[str, dict[str, float]] = {
    "linear": {},
    "scaled_linear": {"beta_start": 0.00085, "beta_end": 0.012},
    "squaredcos_cap_v2": {},
}
LEADING: tuple[Grid, ...] = (Leading(10), Leading(50, offset=1), Leading(300))
TRAILING: tuple[Grid, ...] = (Trailing(10), Trailing(50), Trailing(200))
MORE_LEADING: tuple[Grid, ...] = (*(Leading(n, offset) for n in (1, 30, 500) for offset in (0, 1)), Leading(1000))
MORE_TRAILING: tuple[Grid, ...] = tuple(Trailing(n) for n in (1, 2, 4, 5, 8, 20, 25, 40, 100, 125, 250, 500, 1000))
MIXED: dict[str, tuple[Mixed, Callable[[Tensor], Tensor]]] = {
    "lam=0": (Mixed(lam=0.0), lambda r: 0 * r),
    "lam=0.5": (Mixed(lam=0.5), lambda r: (1 + r).rsqrt()),
    "lam=1": (Mixed(lam=1.0), lambda r: r**0),
    "rho=0.1": (Mixed(lam=None, rho=0.1), lambda r: (0.99 / (1 - r.square())).sqrt()),
    "rho=0.5": (Mixed(lam=None, rho=0.5), lambda r: (0.75 / (1 - r.square())).sqrt()),
    "rho=1": (Mixed(lam=None, rho=1.0), lambda r: 0 * r),
}
"""Shares kept of the previous prediction, and DDIM's eta for it at r = sigma'/sigma: rho² = 1 - eta²·(1 - r²)."""

TOLERANCE = 1e-10
WHY = "float64 leaves about 1e-13, and 1e-11 at the cosine table's sigma of 2e4; anything in float32 shows as 1e-8 or more"


def configured(kind: type, betas: str, output: str, grid: Grid, options: Mapping[str, bool]) -> Scheduler:
    """A scheduler of diffusers that does not clip, set to the grid, its tables in float64."""
    scheduler = kind(
        beta_schedule=betas,
        prediction_type=output,
        timestep_spacing=SPACINGS[type(grid)],
        steps_offset=grid.offset if isinstance(grid, Leading) else 0,
        clip_sample=False,
        **BETAS[betas],
        **options,
    )
    scheduler.set_timesteps(grid.n_levels)
    for name in ("alphas_cumprod", "final_alpha_cumprod", "initial_alpha_cumprod"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, getattr(scheduler, name).double())
    return scheduler


@dataclass(frozen=True)
class TorchDraws:
    """Draws that diffusers can share: its schedulers take a torch generator, so each draw gets one of its own."""

    n_rows: int

    def generator(self, purpose: Purpose, step: int) -> torch.Generator:
        """A fresh generator, always the same for the same purpose and step."""
        return torch.Generator().manual_seed(len(Purpose) * step + purpose)

    def normal(self, purpose: Purpose, step: int, shape: tuple[int, ...]) -> Float[Tensor, "batch *shape"]:
        return torch.randn(self.n_rows, *shape, generator=self.generator(purpose, step), dtype=torch.float64)

    def uniform(self, purpose: Purpose, step: int) -> Float[Tensor, " batch"]:
        return torch.rand(self.n_rows, generator=self.generator(purpose, step), dtype=torch.float64)


class Setting(NamedTuple):
    """A scheduler of theirs, and ours to compare it with."""

    name: str
    theirs: Scheduler
    output: Parametrisation
    net: Predictor
    draws: TorchDraws
    grid: Grid


def settings(
    full: bool, kind: type, outputs: Sequence[str], grids: Sequence[Grid], options: Sequence[Mapping[str, bool]]
) -> Iterator[Setting]:
    """Grids x beta tables x network outputs x the scheduler's options x gamma x models."""
    models: dict[str, Denoiser] = {"mixture": mixture(), "gaussian": gaussian(), "digits": digits()}
    for grid, betas, output, option, gamma, model in covering(full, grids, list(BETAS), outputs, options, GAMMAS, list(models)):
        theirs = configured(kind, betas, output, grid, option)
        schedule = TableSchedule(theirs.alphas_cumprod)  # their table, not our formula for it
        net, _ = bind(models[model], schedule, gamma)
        net = replace(net, model=Reparametrised(models[model], OUTPUTS[output]))
        name = f"{kind.__name__}, {model}, {betas}, {output}, gamma={gamma}, {grid}, {dict(option)}"
        yield Setting(name, theirs, OUTPUTS[output], net, TorchDraws(len(net.prompts)), grid)


def pipeline(setting: Setting, options: Callable[[int], Mapping[str, Any]]) -> tuple[list[Tensor], Tensor]:
    """The loop of diffusers' pipelines: every denoised image, and the last sample. options: of their step k."""
    net, x0s = setting.net, []
    x, _ = start(net, setting.draws, setting.grid.levels(net.schedule)[0])
    for k, t in enumerate(setting.theirs.timesteps.tolist()):
        level = net.level(t / net.schedule.n_train)
        guided = net(x, level)
        out = setting.output.encode(guided.x0, guided.eps, level)
        x, x0 = setting.theirs.step(out, t, x, **options(k), return_dict=False)
        x0s.append(x0)
    return x0s, x


def compare(worst: Worst, setting: Setting, theirs: Sequence[Tensor], ours: Sequence[State]) -> None:
    """The timesteps, and every denoised image in units of S, the largest |x0| of the path."""
    scale = expand(scale_of([state.x0 for state in ours]), ours[0].x0)
    for t, x0, state in zip(setting.theirs.timesteps.tolist(), theirs, ours, strict=True):
        worst.compare(setting.name, state.level.t * setting.net.schedule.n_train, torch.tensor([t]))
        worst.compare(setting.name, x0, state.x0, scale)


def row_ddim(
    full: bool, id: str, statement: str, outputs: Sequence[str], grids: Sequence[Grid], options: Sequence[Mapping[str, bool]]
) -> Row:
    """V2a, V2b: DDIM, every denoised image and the last sample."""
    from diffusers import DDIMScheduler

    worst = Worst()
    for setting in settings(full, DDIMScheduler, outputs, grids, options):
        x0s, x = pipeline(setting, lambda k: {})
        ours = list(Ddim(setting.grid, setting.net.guidance).sample(setting.net, setting.draws))
        compare(worst, setting, x0s, ours)
        # with set_alpha_to_one=False their sample is not x0 but the noisy image at their first table entry
        end = clean() if setting.theirs.config.set_alpha_to_one else setting.net.schedule.lowest
        worst.compare(setting.name, x, noisy(ours[-1].x0, ours[-1].eps, end), expand(scale_of([s.x0 for s in ours]), x))
    return worst.row(id, statement, "2010.02502 eq. 12", TOLERANCE, WHY)


def invert(setting: Setting, image: Tensor, worst: Worst) -> Tensor:
    """diffusers' inversion, each step given the prediction at its source and compared with ours; the last noisy image.

    (Their pipelines ask the network at the destination's timestep instead; the scheduler cannot know.)
    """
    net, schedule = setting.net, setting.net.schedule
    src = clean() if setting.theirs.config.set_alpha_to_one else schedule.lowest
    x = noisy(image, 0 * image, src)
    for t in setting.theirs.timesteps.tolist():
        dst = net.level(t / schedule.n_train)
        eps = net(x, src if bool(src.b > 0) else schedule.lowest).eps
        out = setting.output.encode(x0_from_eps(x, eps, src), eps, src)
        ours = step(x, eps, src, dst)
        x, _ = setting.theirs.step(out, t, x, return_dict=False)
        worst.compare(setting.name, ours, x, largest(x))
        src = dst
    return x


def row_inverse(full: bool, grids: Sequence[Grid]) -> Row:
    """V2c."""
    from diffusers import DDIMInverseScheduler

    worst, ends = Worst(), ({"set_alpha_to_one": False}, {"set_alpha_to_one": True})
    for setting in settings(full, DDIMInverseScheduler, list(OUTPUTS), grids, ends):
        net, grid, to_one = setting.net, setting.grid, setting.theirs.config.set_alpha_to_one
        if to_one and isinstance(setting.output, Sample):
            continue  # their first step divides 0 by 0
        image = setting.draws.normal(Purpose.INIT, 0, net.model.shape) / 2
        x = invert(setting, image, worst)
        if to_one or not isinstance(grid, Leading) or grid.offset or grid.n_levels == 1:
            continue  # ours starts at the first table entry and takes equal steps from there
        top = grid.levels(net.schedule)[0]
        n_steps = ceil((grid.n_levels - 1) / float(top.t))  # of which int(n_steps·t) are taken
        inversion = Inversion(net.guidance.scale, n_steps, tau=0.0, entropy=0.0)
        kappa = inversion.propose(image, Step(top, top, 1), 0 * image, net, setting.draws).kappa
        worst.compare(setting.name, noisy(image, kappa, top), x, largest(x))
    return worst.row(
        "V2c",
        "DDIMInverseScheduler, given the prediction at each step's source = our step; its loop = noise.Inversion; in max |x|",
        "2405.15891 eq. 11",
        TOLERANCE,
        WHY,
    )


def row_stochastic(full: bool) -> Row:
    """V2d."""
    from diffusers import DDIMScheduler, DDPMScheduler

    worst, grids = Worst(), (Leading(10), Leading(50, offset=1), Trailing(50))
    for setting in settings(full, DDIMScheduler, list(OUTPUTS) if full else ["epsilon"], grids, [{}]):
        levels = [*setting.grid.levels(setting.net.schedule), clean()]
        for name, (noise, eta) in MIXED.items():

            def options(k: int, eta: Callable[[Tensor], Tensor] = eta) -> Mapping[str, Any]:
                share = float(eta(levels[k + 1].sigma / levels[k].sigma))
                return {"eta": share, "generator": setting.draws.generator(Purpose.KAPPA, k + 1)}

            x0s, _ = pipeline(setting, options)
            ours = Distillation(Annealed(setting.grid), noise, setting.net.guidance)
            compare(worst, setting, x0s, list(ours.sample(setting.net, setting.draws)))
    for setting in settings(full, DDPMScheduler, list(OUTPUTS), grids, [{}]):
        x0s, _ = pipeline(setting, lambda k: {"generator": setting.draws.generator(Purpose.KAPPA, k + 1)})
        ddpm = Ddpm(setting.grid, setting.net.guidance)
        compare(worst, setting, x0s, list(ddpm.sample(setting.net, setting.draws)))
    return worst.row(
        "V2d",
        "DDIMScheduler at the matching eta = noise.Mixed, DDPMScheduler (fixed_small) = Ddpm, with shared draws; in S",
        "2010.02502 eq. 16; 2006.11239 eq. 7",
        TOLERANCE,
        WHY,
    )


def flow_schedulers() -> Iterator[tuple[str, Scheduler, bool]]:
    """(name, scheduler, True if the differences of its sigmas are exact in float32)."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    for name, shift, sigmas, n in (
        ("sigma = k/64", 1.0, [k / 64 for k in range(64, 0, -1)], None),
        ("sigma = (k/16)²", 1.0, [(k / 16) ** 2 for k in range(16, 0, -1)], None),
        ("50 steps", 1.0, None, 50),
        ("28 steps, shift 3", 3.0, None, 28),
    ):
        scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
        scheduler.set_timesteps(n, sigmas=sigmas)
        yield name, scheduler, sigmas is not None


def rows_flow() -> Iterator[Row]:
    """V2e, V2f."""
    single, path, output = Worst(), Worst(), FlowVelocity()
    for gamma, model in ((1.0, mixture()), (7.5, gaussian()), (7.5, digits())):
        net, draws = bind(model, RectifiedFlow(1e-4), gamma)
        net = replace(net, model=Reparametrised(model, output))
        for name, theirs, exact in flow_schedulers():
            case = f"{type(model).__name__}, gamma={gamma}, {name}"
            levels = [*(net.level(t) for t in theirs.sigmas[:-1].double()), clean()]
            ...
