"""What a scheduler of diffusers says: the training table, what is predicted, which levels are visited, how samples are made.

How it steps is not taken from it: that is what the samplers here are for. Whatever else in its configuration changes the
samples is honoured, or refused in one line that names the field. Only fields that its class has count, as in diffusers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...coordinates import Epsilon, FlowVelocity, Parametrisation, Preconditioned, Sample, Velocity
from ...levels import Level
from ...schedules import Karras, RectifiedFlow, Schedule, TableSchedule
from ..base import Rules

OUTPUTS: dict[str, Parametrisation] = {"epsilon": Epsilon(), "sample": Sample(), "v_prediction": Velocity()}
"""diffusers' prediction_type on a table -> what the output means."""

SHAPED = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
"""Options under which sigmas are chosen first, and their timesteps found between the table's entries in log(sigma)."""


PROBED = 10
"""Levels by which it is found how a scheduler hands timesteps on."""


Choose = Callable[[Any, int], None]
"""Has a scheduler choose so many levels."""


class Taught(NamedTuple):
    """What a network was trained on and for, how its samples are made, and the timestep that it is told at a level.

    sigma_data: the spread of x0 for which its inputs are scaled to a spread of 1.
    """

    schedule: Schedule
    parametrisation: Parametrisation
    rules: Rules
    timestep: Callable[[Level], Tensor]
    sigma_data: float = 1.0


@dataclass(frozen=True)
class Clip:
    """x0 is cut off at ±limit (`clip_sample`, `clip_sample_range`)."""

    limit: float

    def __call__(self, x0: Tensor) -> Tensor:
        return x0.clamp(-self.limit, self.limit)


@dataclass(frozen=True)
class Threshold:
    """Dynamic thresholding (Imagen, arXiv 2205.11487, sec. 2.3): x0 is cut off at ±s and divided by s, image by image.

    s: the quantile `ratio` of |x0|, at least 1, at most `most` (`dynamic_thresholding_ratio`, `sample_max_value`).
    """

    ratio: float
    most: float

    def __call__(self, x0: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        s = x0.flatten(1).abs().quantile(self.ratio, dim=1).clamp(1, self.most).reshape(-1, *[1] * (x0.ndim - 1))
        return x0.clamp(-s, s) / s


@dataclass(frozen=True)
class Said:
    """A scheduler's configuration, as far as its class knows it."""

    scheduler: Any

    def __call__(self, field: str, default: Any = None) -> Any:
        """The field's value; the default where the class has no such field, whatever the file says."""
        known = field in self.scheduler._get_init_keys(type(self.scheduler))
        return self.scheduler.config.get(field, default) if known else default

    def refuse(self, field: str, would_do: str) -> NoReturn:
        """Raise ValueError, naming the field."""
        raise ValueError(f"{field}={self.scheduler.config.get(field)!r} of {type(self.scheduler).__name__}: {would_do}")


def taught_by(scheduler: Any, choose: Choose, mu: float | None) -> Taught:
    """All that is taken from a scheduler. Raises ValueError in one line, naming the field or the class, for what is not known.

    choose: how the pipeline has its scheduler choose levels. mu: by how much it shifts time for a usual number of them.
    """
    said = Said(scheduler)
    if scheduler.config.get("predict_epsilon", True) is False and said("prediction_type") == "epsilon":
        said.refuse("predict_epsilon", "an old name that diffusers ignores; write prediction_type=sample instead")
    if is_flow(scheduler):
        return taught_flow(said, choose, mu)
    if is_edm(scheduler):
        return taught_edm(said, choose)
    if not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(
            f"{type(scheduler).__name__}: has no table of alphas_cumprod, and is not FlowMatchEulerDiscreteScheduler or EDM's; "
            "save the pipeline with one that has, such as DDIMScheduler, if its network was trained on one"
        )
    return taught_table(said, choose)


def is_flow(scheduler: Any) -> bool:
    """True if a network of rectified flow goes with it."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return True
    said = Said(scheduler)
    flows = bool(said("use_flow_sigmas")), said("prediction_type") == "flow_prediction"
    if any(flows) and not all(flows):
        said.refuse(
            "prediction_type",
            f"with use_flow_sigmas={flows[0]}; flow_prediction and use_flow_sigmas=true go together or not at all",
        )
    return all(flows)


def is_edm(scheduler: Any) -> bool:
    """True if a network with EDM's preconditioning goes with it."""
    from diffusers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler

    return isinstance(scheduler, EDMEulerScheduler | EDMDPMSolverMultistepScheduler)


def taught_table(said: Said, choose: Choose) -> Taught:
    """Of a scheduler with a table of alpha_bar."""
    scheduler, output = said.scheduler, said("prediction_type", "epsilon")
    if output not in OUTPUTS:
        said.refuse("prediction_type", f"known are {', '.join(OUTPUTS)}, flow_prediction")
    shaped = any(said(name) for name in SHAPED)
    if said("interpolation_type", "linear") != "linear" and not shaped:
        said.refuse("interpolation_type", "asks the network at timesteps that are not those of its sigmas; use linear")
    linear = is_exploding(scheduler) and not shaped
    try:
        schedule = TableSchedule(scheduler.alphas_cumprod, linear, partial(visited, scheduler, choose))
    except ValueError as error:
        told = {name: said(name) for name in ("beta_schedule", "rescale_betas_zero_snr") if said(name) is not None}
        raise ValueError(f"{type(scheduler).__name__} with {told}: its {error}") from error
    rules = rules_by(said)
    if said("timestep_type") == "continuous" and output == "v_prediction":  # in diffusers it is discrete with any other
        known = ranged(said, schedule) if shaped else schedule
        return Taught(known, OUTPUTS[output], rules, partial(c_noise, known))
    return Taught(schedule, OUTPUTS[output], rules, partial(entry, schedule, asked_of(said, schedule, choose)))


def rules_by(said: Said) -> Rules:
    """How samples are made, without those of flows."""
    scheduler = said.scheduler
    bound: Callable[[Tensor], Tensor] | None = None
    if said("thresholding") and said("predict_x0", True):  # UniPC does not where it goes by eps
        bound = Threshold(said("dynamic_thresholding_ratio"), said("sample_max_value"))
    elif said("clip_sample"):
        bound = Clip(said("clip_sample_range", 1.0))
    return Rules(bound, not hasattr(scheduler, "sigmas"), end_of(scheduler), said("variance_type") or "fixed_small")


def ranged(said: Said, table: TableSchedule) -> Karras:
    """The sigmas of a scheduler that chooses them first: of a network that is told sigma they may leave the table."""
    low, high = said("sigma_min") or table.lowest.sigma, said("sigma_max") or table.highest.sigma
    rho = math.inf if said("use_exponential_sigmas") else 7.0
    return Karras(float(low), float(high), rho, table.n_train, table.visits)


def taught_edm(said: Said, choose: Choose) -> Taught:
    """Of a scheduler that preconditions the network as EDM does (arXiv 2206.00364, table 1): CosXL, Playground 2.5."""
    output, sigma_data = said("prediction_type"), said("sigma_data")
    if output not in ("epsilon", "v_prediction"):
        said.refuse("prediction_type", "known are epsilon, v_prediction")
    rho = math.inf if said("sigma_schedule") == "exponential" else said("rho")
    ends, visits = (said("sigma_min"), said("sigma_max")), partial(visited, said.scheduler, choose)
    schedule = Karras(*ends, rho, said("num_train_timesteps"), visits)
    parametrisation = Preconditioned(sigma_data, negated=output == "v_prediction")
    return Taught(schedule, parametrisation, rules_by(said), partial(c_noise, schedule), sigma_data)


def taught_flow(said: Said, choose: Choose, mu: float | None) -> Taught:
    """Of a scheduler of rectified flow."""
    if said("invert_sigmas"):
        said.refuse("invert_sigmas", "a network whose time runs the other way; only false is known here")
    if said("stochastic_sampling"):
        said.refuse("stochastic_sampling", "adds new noise at every step; save it with false, and use sampler=sds for that")
    if said("final_sigmas_type", "zero") != "zero":
        said.refuse("final_sigmas_type", "leaves the sample where the grid ends; only zero is known here")
    for field in ("thresholding", "clip_sample"):
        if said(field):
            said.refuse(field, "not known with rectified flow; only false is")
    shift = said("shift") or said("flow_shift", 1.0)
    if mu is not None:
        shift = mu if said("time_shift_type") == "linear" else float(np.exp(mu))
    n = said("num_train_timesteps")
    schedule = RectifiedFlow(1 / n, n, shift, partial(visited, said.scheduler, choose))
    return Taught(schedule, FlowVelocity(), Rules(), partial(entry, schedule, asked_of(said, schedule, choose)))


def is_exploding(scheduler: Any) -> bool:
    """True if it carries x_bar = x0 + sigma·eps, as k-diffusion's samplers do, rather than a·x0 + b·eps."""
    return float(scheduler.init_noise_sigma) != 1.0


def end_of(scheduler: Any) -> Level | None:
    """Where it leaves the sample (`set_alpha_to_one`, `final_sigmas_type`); None at sigma = 0."""
    from diffusers import LCMScheduler

    again = type(scheduler).from_config(scheduler.config)
    if isinstance(again, LCMScheduler):  # which leaves its last x0, whatever set_alpha_to_one says
        return None
    if hasattr(again, "sigmas"):
        again.set_timesteps(2)
        sigma = again.sigmas[-1].double()
    else:
        alpha_bar = torch.as_tensor(getattr(again, "final_alpha_cumprod", 1.0)).double()
        sigma = (1 / alpha_bar - 1).sqrt()
    if not sigma > 0:
        return None
    a = torch.ones(1, dtype=torch.float64) if is_exploding(scheduler) else (1 + sigma.square()).rsqrt().reshape(1)
    return Level(a, a * sigma, torch.zeros_like(a))


def c_noise(schedule: Schedule, level: Level) -> Float[Tensor, " rows"]:
    """log(sigma) / 4, of the nearest sigma that the network was trained on (arXiv 2206.00364, table 1)."""
    return level.sigma.clamp(float(schedule.lowest.sigma), float(schedule.highest.sigma)).log() / 4


def entry(schedule: Schedule, rule: Callable[[Tensor], Tensor], level: Level) -> Float[Tensor, " rows"]:
    """The timestep of a level's sigma, as `asked_of` has it."""
    return rule(position_of(schedule, level))


def position_of(schedule: Schedule, level: Level) -> Float[Tensor, " rows"]:
    """The timestep of a level's sigma, in [0, n_train], between whole ones too."""
    if isinstance(schedule, RectifiedFlow):
        return schedule.n_train * (level.b / (level.a + level.b))
    sigma = level.sigma.cpu()
    t = schedule.time_of(sigma) if isinstance(schedule, TableSchedule) else schedule.at_sigma(sigma).t
    return (t * schedule.n_train).round(decimals=6)


def asked_of(said: Said, schedule: Schedule, choose: Choose) -> Callable[[Tensor], Tensor]:
    """Positions -> the timesteps that the scheduler hands to the network: the same, or whole ones, rounded or cut off.

    Solvers of higher order keep timesteps as integers, and how they come to be so goes by the options: it is seen in the
    scheduler's own levels. Raises ValueError, naming the options, if it is in none of these ways.
    """
    again = type(said.scheduler).from_config(said.scheduler.config)
    if not hasattr(again, "sigmas"):
        return torch.clone
    choose(again, min(PROBED, schedule.n_train))
    if again.timesteps.is_floating_point():
        return torch.clone
    sigmas = again.sigmas[: len(again.timesteps)].double()
    sigmas = sigmas / (1 - sigmas) if is_flow(again) else sigmas
    theirs, ours = again.timesteps.double(), position_of(schedule, schedule.at_sigma(sigmas))
    for rule, most in ((torch.clone, 1e-3), (torch.round, 0.0), (torch.floor, 0.0)):
        if bool(((rule(ours) - theirs).abs() <= most).all()):
            return rule
    told = ", ".join(f"{field}=True" for field in (*SHAPED, "use_flow_sigmas") if said(field))
    raise ValueError(
        f"{told} of {type(again).__name__}: asks the network at timesteps that are not those of its sigmas; save it without, "
        "or with EulerDiscreteScheduler"
    )


def visited(scheduler: Any, choose: Choose, n_levels: int) -> Float[Tensor, " n"]:
    """The sigmas of the scheduler's own n levels, noisiest first. Raises ValueError, naming the field, if it has no such n."""
    name = type(scheduler).__name__
    again = type(scheduler).from_config(scheduler.config)
    try:
        choose(again, n_levels)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise ValueError(
            f"grid.n_levels={n_levels}: not to be had from {name} ({error}); choose another number or grid"
        ) from error
    if hasattr(again, "sigmas"):
        sigmas = again.sigmas[:-1].double()
        sigmas = sigmas[sigmas > 0]  # of second order, the end stands there twice
        sigmas = sigmas / (1 - sigmas) if is_flow(scheduler) else sigmas
    else:
        entries = again.timesteps.long()
        if int(entries.max()) >= len(again.alphas_cumprod):
            raise ValueError(
                f"grid.n_levels={n_levels}: {name} with steps_offset={Said(scheduler)('steps_offset')!r} asks for entry "
                f"{int(entries.max())} of {len(again.alphas_cumprod)}; choose another number or grid"
            )
        sigmas = (1 / again.alphas_cumprod[entries].double() - 1).sqrt()
        steps_to(again, entries, n_levels)
    return once_each(scheduler, sigmas, n_levels)


def once_each(scheduler: Any, sigmas: Float[Tensor, " m"], n_levels: int) -> Float[Tensor, " n"]:
    """The same without the levels visited twice or in between, as solvers of higher order do."""
    from diffusers import EulerDiscreteScheduler

    if not bool((sigmas[1:] <= sigmas[:-1]).all()):
        raise ValueError(
            f"grid.n_levels={n_levels}: {type(scheduler).__name__} does not go from noise to less of it; choose a grid"
        )
    distinct = sigmas.unique().flip(0)
    if len(distinct) == n_levels:
        return distinct
    said = Said(scheduler)  # from_config would put its own defaults in the place of another class's
    fields = EulerDiscreteScheduler._get_init_keys(EulerDiscreteScheduler) & set(scheduler.config) - {"self"}
    plain = EulerDiscreteScheduler(**{name: said(name) for name in fields if said(name) is not None})
    if is_flow(scheduler) or len(distinct) < n_levels:
        raise ValueError(
            f"grid.n_levels={n_levels}: {type(scheduler).__name__} visits {len(distinct)} levels then; choose a grid"
        )
    plain.set_timesteps(n_levels)
    return plain.sigmas[:-1].double()


def steps_to(scheduler: Any, entries: Tensor, n_levels: int) -> None:
    """Raise ValueError if the scheduler of DDIM leaves an image at another level than it goes on from.

    It steps from entry t to t - T // n, whatever the next timestep is (diffusers 0.42): with timestep_spacing linspace, or
    trailing where n does not divide T, the network is then asked at a level that the image is not at.
    """
    from diffusers import DDIMParallelScheduler, DDIMScheduler

    stride = scheduler.config.num_train_timesteps // n_levels
    if isinstance(scheduler, DDIMScheduler | DDIMParallelScheduler) and not bool((entries[:-1] - entries[1:] == stride).all()):
        spacing = scheduler.config.timestep_spacing
        raise ValueError(
            f"grid.n_levels={n_levels}: with timestep_spacing={spacing!r} {type(scheduler).__name__} asks at entries that it "
            f"does not step to, {stride} down each time; choose an n for which they are the same, or grid={spacing}"
        )
