"""V2: our samplers are diffusers' own schedulers, on the same table of alpha_bar and where their grids are exact.

What equality needs: no clipping of x0 (their default) and no thresholding; sigma from *their* alphas_cumprod (a float32
table, up to 3e-4 away from the formula in float64); that table and the level after the last step cast to float64. Their
"trailing" grid needs a divisor of 1000 and "linspace" all 1000 steps, or they step to levels that are not on the grid.
diffusers is imported only when these rows are asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from ..noise import Inversion, Last, Mixed
from ..predictor import Predictor
from ..samplers import Annealed, Ddim, Ddpm, Distillation, State
from ..samplers.base import start
from ..samplers.ddim import after, step
from ..schedules import RectifiedFlow, TableSchedule
from .cases import bind, covering, ddim_onward, digits, gaussian, largest, mixture, scale_of, shadow
from .rows import U32, Row, U, Worst

Grid = Leading | Trailing | Linspace
Scheduler = Any
"""One of diffusers' schedulers; their type is not imported with this module."""

Options = Callable[[int, float], Mapping[str, Any]]
"""What a scheduler's step k is given besides, at r = sigma'/sigma."""
Eta = Callable[[float], float]
"""DDIM's eta of a step, at r = sigma'/sigma."""

GAMMAS = (0.0, 1.0, 7.5)
SPACINGS = {Leading: "leading", Trailing: "trailing", Linspace: "linspace"}
OUTPUTS: dict[str, Parametrisation] = {"epsilon": Epsilon(), "sample": Sample(), "v_prediction": Velocity()}
BETAS: dict[str, dict[str, float]] = {
    "linear": {},
    "scaled_linear": {"beta_start": 0.00085, "beta_end": 0.012},
    "squaredcos_cap_v2": {},
}
LEADING: tuple[Grid, ...] = (Leading(10), Leading(50, offset=1), Leading(70))
TRAILING: tuple[Grid, ...] = (Trailing(10), Trailing(40), Trailing(100))
MORE_LEADING: tuple[Grid, ...] = (*(Leading(n, offset) for n in (1, 300, 500) for offset in (0, 1)), Leading(1000))
MORE_TRAILING: tuple[Grid, ...] = tuple(Trailing(n) for n in (1, 2, 4, 5, 8, 20, 25, 50, 125, 200, 250, 500, 1000))
ENDS = ({"set_alpha_to_one": True}, {"set_alpha_to_one": False})
ETAS: dict[float, Eta] = {0.0: lambda r: 0.0, 0.5: lambda r: (1 + r) ** -0.5, 1.0: lambda r: 1.0}
"""Mixed's lam -> DDIM's eta: rho = r^lam and rho² = 1 - eta²·(1 - r²)."""

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
    full: bool,
    kind: type,
    outputs: Sequence[str],
    options: Sequence[Mapping[str, bool]],
    grids: Sequence[Grid],
    more: Sequence[Grid] = (),
) -> Iterator[Setting]:
    """Beta tables x network outputs x the scheduler's options x gamma x models x grids; more: grids for `full` only."""
    models: dict[str, Denoiser] = {"mixture": mixture(), "gaussian": gaussian(), "digits": digits()}
    axes = list(BETAS), outputs, options, GAMMAS, list(models)
    chosen = covering(full, *axes, grids) + (covering(False, *axes, more) if full else [])
    for betas, output, option, gamma, model, grid in chosen:
        theirs = configured(kind, betas, output, grid, option)
        schedule = TableSchedule(theirs.alphas_cumprod)  # their table, not our formula for it
        net, _ = bind(Reparametrised(models[model], OUTPUTS[output]), schedule, gamma)
        name = f"{kind.__name__}, {model}, {betas}, {output}, gamma={gamma}, {grid}, {dict(option)}"
        yield Setting(name, theirs, OUTPUTS[output], net, TorchDraws(len(net.prompts)), grid)


def plain(k: int, r: float) -> Mapping[str, Any]:
    """Nothing besides."""
    return {}


def fresh(draws: TorchDraws) -> Options:
    """The noise that ours draws for the level after step k."""
    return lambda k, r: {"generator": draws.generator(Purpose.KAPPA, k + 1)}


def fresh_at(eta: Eta, draws: TorchDraws) -> Options:
    """DDIM's eta, and the noise that ours draws for the level after step k."""
    return lambda k, r: {"eta": eta(r), "generator": draws.generator(Purpose.KAPPA, k + 1)}


def pipeline(setting: Setting, options: Options) -> tuple[list[Tensor], Tensor]:
    """The loop of diffusers' pipelines: every denoised image, and the last sample."""
    net, x0s = setting.net, []
    levels = [*setting.grid.levels(net.schedule), clean()]
    x, _ = start(net, setting.draws, levels[0])
    for k, t in enumerate(setting.theirs.timesteps.tolist()):
        level = net.level(t / net.schedule.n_train)
        guided = net(x, level)
        out = setting.output.encode(guided.x0, guided.eps, level)
        more = options(k, float(levels[k + 1].sigma / levels[k].sigma))
        x, x0 = setting.theirs.step(out, t, x, **more, return_dict=False)
        x0s.append(x0)
    return x0s, x


def compare(worst: Worst, setting: Setting, theirs: Sequence[Tensor], ours: Sequence[State]) -> None:
    """The timesteps, and every denoised image in units of S, the largest |x0| of the path."""
    scale = expand(scale_of([state.x0 for state in ours]), ours[0].x0)
    for t, x0, state in zip(setting.theirs.timesteps.tolist(), theirs, ours, strict=True):
        worst.compare(setting.name, state.level.t * setting.net.schedule.n_train, torch.tensor([t]))
        worst.compare(setting.name, x0, state.x0, scale)


def row_ddim(id: str, statement: str, all_settings: Iterator[Setting]) -> Row:
    """V2a, V2b: DDIM, every denoised image and the last sample."""
    worst = Worst()
    for setting in all_settings:
        x0s, x = pipeline(setting, plain)
        ours = list(Ddim(setting.grid, setting.net.guidance).sample(setting.net, setting.draws))
        compare(worst, setting, x0s, ours)
        # with set_alpha_to_one=False their sample is not x0 but the noisy image at their first table entry
        end = clean() if setting.theirs.config.set_alpha_to_one else setting.net.schedule.lowest
        worst.compare(setting.name, x, noisy(ours[-1].x0, ours[-1].eps, end), expand(scale_of([s.x0 for s in ours]), x))
    return worst.row(id, statement, "2010.02502 eq. 12", TOLERANCE, WHY)


def some_images(setting: Setting) -> Tensor:
    """Images to invert; any will do."""
    return setting.draws.normal(Purpose.INIT, 0, setting.net.model.shape) / 2


def invert(setting: Setting, image: Tensor, worst: Worst) -> list[State]:
    """diffusers' inversion, each step given the prediction at its source and compared with ours; the states it visits.

    (Their pipelines ask the network at the destination's timestep instead; the scheduler cannot know.)
    """
    net, lowest, states = setting.net, setting.net.schedule.lowest, []
    src = clean() if setting.theirs.config.set_alpha_to_one else lowest
    x = noisy(image, 0 * image, src)
    for k, t in enumerate(setting.theirs.timesteps.tolist()):
        dst = net.level(t / net.schedule.n_train)
        eps = net(x, src if bool(src.b > 0) else lowest).eps
        x0 = x0_from_eps(x, eps, src)
        states.append(State(k, src, x0, eps))
        ours = step(x, eps, src, dst)
        x, _ = setting.theirs.step(setting.output.encode(x0, eps, src), t, x, return_dict=False)
        worst.compare(setting.name, ours, x, largest(x))
        src = dst
    eps = net(x, src).eps
    return [*states, State(len(states), src, x0_from_eps(x, eps, src), eps)]


def compare_kappa(worst: Worst, setting: Setting, image: Tensor, states: Sequence[State]) -> None:
    """Their loop with our kappa, which starts at the first table entry and takes equal steps in t, int(n_steps·t) of them."""
    net, top = setting.net, states[-1].level
    n_steps = ceil((setting.grid.n_levels - 1) / float(top.t))
    inversion = Inversion(net.guidance.scale, n_steps, tau=0.0, entropy=0.0)
    kappa = inversion.propose(image, Step(top, top, 1), Last(0 * image), net, setting.draws).kappa
    levels = [state.level for state in states]
    _, bounds = shadow(net, levels, noisy(image, 0 * image, levels[0]), ddim_onward(levels))
    sigma = expand(top.sigma, image)
    worst.compare(setting.name, image + sigma * kappa, states[-1].x0 + sigma * states[-1].eps, bounds[-1] * U)


def rows_inverse(full: bool) -> Iterator[Row]:
    """V2c, V2d."""
    from diffusers import DDIMInverseScheduler

    single, loop, more = Worst(), Worst(), (*MORE_LEADING, *MORE_TRAILING)
    for setting in settings(full, DDIMInverseScheduler, list(OUTPUTS), ENDS, (*LEADING, *TRAILING), more):
        if setting.theirs.config.set_alpha_to_one and isinstance(setting.output, Sample):
            continue  # their first step divides 0 by 0
        invert(setting, some_images(setting), single)
    for setting in settings(full, DDIMInverseScheduler, list(OUTPUTS), ENDS[1:], (Leading(10), Leading(50))):
        compare_kappa(loop, setting, some_images(setting), invert(setting, some_images(setting), single))
    yield single.row(
        "V2c",
        "a step of DDIMInverseScheduler, given the prediction at its source = our step; in max |x|",
        "2010.02502 eq. 13",
        TOLERANCE,
        WHY,
    )
    yield loop.row(
        "V2d",
        "the loop of DDIMInverseScheduler, so given = noise.Inversion; x_bar at its end in u·(measured amplification)",
        "2405.15891 eq. 11",
        200,
        "some tens of roundings per step, amplified as measured on the same path (guided inversion can run away)",
    )


def row_stochastic(full: bool) -> Row:
    """V2e."""
    from diffusers import DDIMScheduler, DDPMScheduler

    worst, grids = Worst(), (Leading(10), Leading(50, offset=1), Trailing(50))
    for setting in settings(full, DDIMScheduler, list(OUTPUTS) if full else ["epsilon"], [{}], grids):
        for lam, eta in ETAS.items():
            case = setting._replace(name=f"{setting.name}, lam={lam}")
            x0s, _ = pipeline(setting, fresh_at(eta, setting.draws))
            mixed = Distillation(Annealed(setting.grid), Mixed(lam), setting.net.guidance)
            compare(worst, case, x0s, list(mixed.sample(setting.net, setting.draws)))
    for setting in settings(full, DDPMScheduler, list(OUTPUTS), [{}], grids):
        # their last sample is left out: its variance is clamped to 1e-20, which is noise of 1e-10
        x0s, _ = pipeline(setting, fresh(setting.draws))
        ddpm = Ddpm(setting.grid, setting.net.guidance)
        compare(worst, setting, x0s, list(ddpm.sample(setting.net, setting.draws)))
    return worst.row(
        "V2e",
        "DDIMScheduler at eta <= 1 = noise.Mixed, DDPMScheduler (fixed_small) = Ddpm, with shared draws; in S",
        "2010.02502 eq. 16; 2006.11239 eq. 7",
        TOLERANCE,
        WHY,
    )


def flow_schedulers() -> Iterator[tuple[str, Scheduler, bool]]:
    """(name, scheduler, True if the differences of its sigmas are exact in float32)."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    kind: Scheduler = FlowMatchEulerDiscreteScheduler
    for name, shift, sigmas, n_levels in (
        ("sigma = k/64", 1.0, [k / 64 for k in range(64, 0, -1)], None),
        ("sigma = (k/16)²", 1.0, [(k / 16) ** 2 for k in range(16, 0, -1)], None),
        ("50 steps", 1.0, None, 50),
        ("28 steps, shift 3", 3.0, None, 28),
    ):
        scheduler = kind(shift=shift)
        scheduler.set_timesteps(n_levels, sigmas=sigmas)
        yield name, scheduler, sigmas is not None


def flow(case: str, theirs: Scheduler, net: Predictor, x: Tensor, restart: bool, worst: Worst) -> None:
    """Both paths from x; restart: both go on from our state rounded to float32, as their scheduler rounds its own."""
    levels = [*(net.level(t) for t in theirs.sigmas[:-1]), clean()]
    bounds = shadow(net, levels[:-1], x, ddim_onward(levels)).bounds
    x_theirs = x
    for t, src, dst, bound in zip(theirs.timesteps, levels, levels[1:], bounds, strict=False):
        if restart:
            x = x_theirs = x.float().double()
        guided = net(x_theirs, src)
        out = FlowVelocity().encode(guided.x0, guided.eps, src)
        (x_theirs,) = theirs.step(out, t, x_theirs, return_dict=False)
        ours = net(x, src)
        x = after(x, ours.x0, ours.eps, src, dst)
        worst.compare(case, x_theirs, x, largest(x) if restart else U32 * (largest(x) + expand(dst.a, x) * bound))


def rows_flow() -> Iterator[Row]:
    """V2f, V2g."""
    single, path = Worst(), Worst()
    for gamma, model in ((1.0, mixture()), (7.5, gaussian()), (0.0, digits()), (7.5, digits())):
        net, draws = bind(Reparametrised(model, FlowVelocity()), RectifiedFlow(t_min=1e-4), gamma)
        x, _ = start(net, draws, net.schedule.highest)
        for restart, worst in ((True, single), (False, path)):
            for name, theirs, exact in flow_schedulers():
                if exact or not restart:
                    flow(f"{type(model).__name__}, gamma={gamma}, {name}", theirs, net, x, restart, worst)
    yield single.row(
        "V2f",
        "FlowMatchEulerDiscreteScheduler = DDIM on rectified flow, each step from a state rounded to float32; in max |x|",
        "2010.02502 eq. 12",
        TOLERANCE,
        "their step rounds sample and step size to float32, so only states and differences exact there can agree in float64",
    )
    yield path.row(
        "V2g",
        "FlowMatchEulerDiscreteScheduler = DDIM on rectified flow, the whole path; in u·(max |x| + a·amplification), u = 2^-24",
        "2010.02502 eq. 12",
        20,
        "some float32 roundings per step (sample, factor, product and sum), amplified as measured on the same path",
    )


def rows(full: bool) -> Iterator[Row]:
    """V2a to V2g."""
    from diffusers import DDIMScheduler

    more = (*MORE_LEADING, *MORE_TRAILING, Linspace(1000))
    yield row_ddim(
        "V2a",
        "DDIMScheduler = Ddim: every denoised image and the last sample; eps, x0 and v; in S = max |x0| of the path",
        settings(full, DDIMScheduler, list(OUTPUTS), ENDS, (*LEADING, *TRAILING), more),
    )
    rescaled = [{"rescale_betas_zero_snr": True, **end} for end in ENDS]
    yield row_ddim(
        "V2b",
        "the same with zero terminal SNR, from the pair (x0, eps) at sigma = infinity; x0 and v; in S",
        settings(full, DDIMScheduler, ["sample", "v_prediction"], rescaled, TRAILING, MORE_TRAILING),
    )
    yield from rows_inverse(full)
    yield row_stochastic(full)
    yield from rows_flow()
