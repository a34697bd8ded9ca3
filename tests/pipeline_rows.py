"""Our sampling beside the pipeline's own, for each family that opens and each configuration of its scheduler.

    python tests/pipeline_rows.py        writes results/pipelines/pipelines.csv and .txt

Tiny pipelines with random weights, ten steps, from the same first image. What is allowed is float32: its unit roundoff times
what the pipeline's own path makes of errors in its states, measured on the spot, times ROUNDINGS. In the planted column the
option is ignored by ours: it must be far beyond.
"""

import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, wraps
from pathlib import Path
from typing import Any

import diffusers
import pandas as pd
import tiny_pipelines
import torch
from torch import Tensor

import sdi_bench as sb
from sdi_bench.draws import Item, PhiloxDraws, Purpose
from sdi_bench.models import DiffusersFolder
from sdi_bench.models.checkpoints.families import KINDS
from sdi_bench.models.checkpoints.prints import switches_of
from sdi_bench.predictor import Cost
from sdi_bench.samplers import Sampler
from sdi_bench.sampling import Job

N = 10
diffusers.utils.logging.set_verbosity_error()

U32 = 2.0**-24
NUDGE = 2.0**-14
"""Relative to the largest value of a state; well above float32's own rounding, so that growth is seen and not rounding."""
ROUNDINGS = 50
"""Of a state and its prediction per step, in both: some tens of operations, and a network's answer to other last bits."""

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
OFFSET = SD | {"steps_offset": 1, "clip_sample": False, "set_alpha_to_one": False}
"""What Stable Diffusion's folders say."""
SOLVER = {"solver_order": 1}
"""At order 1 a solver of the ODE is DDIM."""
WITHOUT_CORRECTOR = {"solver_order": 1, "disable_corrector": list(range(N))}


@dataclass(frozen=True)
class Case:
    """A folder: its family, its scheduler's class and configuration.

    ignored: what ours is told of the options in the planted run. plain: the class (and options) that samples in the pipeline's
    place, where its own solver is of higher order or adds noise by design. sampler: ours.
    """

    family: str
    scheduler: str
    options: Mapping[str, Any]
    ignored: Mapping[str, Any]
    plain: tuple[str, Mapping[str, Any]] | None = None
    sampler: Callable[[sb.Guidance], Sampler] = field(default=lambda guidance: sb.Ddim(sb.Own(N), guidance))

    @property
    def name(self) -> str:
        """The options without those that all folders of the family have."""
        told = {key: value for key, value in self.options.items() if key not in SD}
        return ", ".join(f"{key}={value}" for key, value in told.items()) or "defaults"


def euler(**options: Any) -> Case:
    return Case("sd", "EulerDiscreteScheduler", SD | options, {key: None if key[:5] == "sigma" else False for key in options})


def ddpm(guidance: sb.Guidance) -> Sampler:
    return sb.Ddpm(sb.Own(N), guidance)


def heun(guidance: sb.Guidance) -> Sampler:
    return sb.Heun(sb.Own(N), guidance)


TRAILING, LINSPACE = {"timestep_spacing": "trailing"}, {"timestep_spacing": "linspace"}
THRESHOLD = {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9}
KARRAS, EXPONENTIAL, BETA = ({f"use_{name}_sigmas": True} for name in ("karras", "exponential", "beta"))
DYNAMIC = {"use_dynamic_shifting": True}
EULER: Mapping[str, Any] = {"timestep_spacing": "leading"}

CASES = [
    Case("pixel", "DDIMScheduler", {}, {"clip_sample": False}),
    Case("pixel", "DDIMScheduler", {"clip_sample_range": 0.5}, {"clip_sample_range": 1.0}),
    Case("pixel", "DDIMScheduler", THRESHOLD, {"thresholding": False}),
    Case("pixel", "DDIMScheduler", {"set_alpha_to_one": False, "clip_sample": False}, {"set_alpha_to_one": True}),
    Case("pixel", "DDIMScheduler", {"clip_sample": False, "prediction_type": "sample"}, {"prediction_type": "epsilon"}),
    Case("pixel", "DDPMScheduler", {}, {"clip_sample": False}, sampler=ddpm),
    Case("pixel", "DDPMScheduler", {"clip_sample": False}, {"clip_sample": True}, sampler=ddpm),
    Case("pixel", "DDPMScheduler", THRESHOLD, {"thresholding": False}, sampler=ddpm),
    Case("pixel", "DDPMScheduler", {"clip_sample": False} | TRAILING, {"timestep_spacing": "leading"}, sampler=ddpm),
    Case("pixel", "DDPMScheduler", {"clip_sample": False} | LINSPACE, {"timestep_spacing": "leading"}, sampler=ddpm),
    Case("sd", "DDIMScheduler", OFFSET, {"set_alpha_to_one": True}),
    Case("sd", "DDIMScheduler", OFFSET | TRAILING, {"timestep_spacing": "leading"}),
    Case("sd", "DDIMScheduler", OFFSET | {"prediction_type": "v_prediction"}, {"prediction_type": "epsilon"}),
    Case(
        "sd",
        "DDIMScheduler",
        OFFSET | TRAILING | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
        {"rescale_betas_zero_snr": False},
    ),
    Case(
        "sd",
        "PNDMScheduler",
        SD | {"skip_prk_steps": True, "steps_offset": 1},
        {"set_alpha_to_one": True},
        ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    ),
    Case("sd", "EulerDiscreteScheduler", SD, {"timestep_spacing": "leading"}),
    euler(**KARRAS),
    euler(**EXPONENTIAL),
    euler(**BETA),
    euler(**KARRAS, sigma_min=0.1, sigma_max=10.0),
    Case("sd", "EulerDiscreteScheduler", SD | {"final_sigmas_type": "sigma_min"}, {"final_sigmas_type": "zero"}),
    Case("sd", "EulerAncestralDiscreteScheduler", SD, {"timestep_spacing": "leading"}, ("EulerDiscreteScheduler", {})),
    Case("sd", "LMSDiscreteScheduler", SD | KARRAS, {"use_karras_sigmas": False}, ("EulerDiscreteScheduler", {})),
    Case("sd", "HeunDiscreteScheduler", SD, {"timestep_spacing": "leading"}, sampler=heun),
    Case("sdxl", "HeunDiscreteScheduler", SD | {"clip_sample": True}, {"clip_sample": False}, sampler=heun),
    Case("sd", "HeunDiscreteScheduler", SD | KARRAS, {"use_karras_sigmas": False}, sampler=heun),
    Case("sd", "DPMSolverMultistepScheduler", SD, {"timestep_spacing": "leading"}, ("DPMSolverMultistepScheduler", SOLVER)),
    Case("sd", "DPMSolverMultistepScheduler", SD | THRESHOLD, {"thresholding": False}, ("DPMSolverMultistepScheduler", SOLVER)),
    Case(
        "sd",
        "DPMSolverMultistepScheduler",
        SD | {"final_sigmas_type": "sigma_min"},
        {"final_sigmas_type": "zero"},
        ("DPMSolverMultistepScheduler", SOLVER),
    ),
    Case("sd", "UniPCMultistepScheduler", SD, {"timestep_spacing": "leading"}, ("UniPCMultistepScheduler", WITHOUT_CORRECTOR)),
    Case("sd", "DEISMultistepScheduler", SD, {"timestep_spacing": "leading"}, ("DEISMultistepScheduler", SOLVER)),
    Case("sdxl", "DDIMScheduler", OFFSET, {"set_alpha_to_one": True}),
    Case("sdxl", "DDIMScheduler", OFFSET | {"clip_sample": True}, {"clip_sample": False}),
    Case("sdxl", "DDIMScheduler", OFFSET | {"set_alpha_to_one": True}, {"steps_offset": 0}),
    Case("sdxl", "EulerDiscreteScheduler", SD | EULER | {"steps_offset": 1}, {"steps_offset": 0}),
    Case("sdxl", "EulerDiscreteScheduler", SD | KARRAS, {"use_karras_sigmas": False}),
    Case("sd3", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, {"shift": 1.0}),
    Case("sd3", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0} | KARRAS, {"use_karras_sigmas": False}),
    Case("sd3", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0} | EXPONENTIAL, {"use_exponential_sigmas": False}),
    Case("sd3", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0} | BETA, {"use_beta_sigmas": False}),
    Case("sd3", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "shift_terminal": 0.1}, {"shift_terminal": None}),
    Case("sd3", "FlowMatchEulerDiscreteScheduler", DYNAMIC, {"use_dynamic_shifting": False}),
    Case("sd3", "FlowMatchEulerDiscreteScheduler", DYNAMIC | {"time_shift_type": "linear"}, {"time_shift_type": "exponential"}),
    Case("sd3", "FlowMatchEulerDiscreteScheduler", DYNAMIC | {"base_shift": 0.1, "max_shift": 3.0}, {"base_shift": 0.5}),
    Case("sd3", "FlowMatchEulerDiscreteScheduler", DYNAMIC | {"base_image_seq_len": 16}, {"base_image_seq_len": 256}),
]
"""Multistep solvers and those that add noise sample otherwise by design: for these `plain` says what is compared."""


@cache
def tiny(family: str) -> Any:
    """The pipeline that the rows of a family share; they put schedulers in, and change nothing else."""
    return tiny_pipelines.MAKERS[family]()


def opened(pipe: Any, scheduler: str, options: Mapping[str, Any]) -> DiffusersFolder:
    """The pipeline with this scheduler, as if its folder had been opened."""
    pipe = type(pipe)(**{**pipe.components, "scheduler": getattr(diffusers, scheduler)(**options)})
    model = KINDS[type(pipe).__name__](pipe, torch.float32, "cpu", switches_of(pipe))
    model.check()
    return model


def items_of(family: str) -> tuple[Item, ...]:
    return (Item(None, 0), Item(None, 1)) if family == "pixel" else (Item("a cat", 0), Item("two dogs", 1))


def ours(model: DiffusersFolder, case: Case, gamma: float) -> Tensor:
    """The last latents."""
    job = Job(model, case.sampler(sb.Guidance(gamma)), model.schedule)
    items = items_of(case.family)
    job.check(items)
    *_, last = job.states(items, Cost())
    return job.left(last)


def theirs(model: DiffusersFolder, case: Case, gamma: float, turn: Sequence[float] = (0.0,)) -> list[Tensor]:
    """The last latents of the pipeline's own call; each `turn` moves every state by ±NUDGE, with random signs, times it."""
    name, options = case.plain or (case.scheduler, {})
    found = []
    for share in turn:
        scheduler = getattr(diffusers, name).from_config(model.pipe.scheduler.config, **options)
        found.append(run_pipe(model, scheduler, case, gamma, share * NUDGE))
    return found


def run_pipe(model: DiffusersFolder, scheduler: Any, case: Case, gamma: float, nudge: float) -> Tensor:
    pipe = type(model.pipe)(**{**model.pipe.components, "scheduler": scheduler})
    if case.family == "pixel" and case.scheduler == "DDIMScheduler":
        pipe = diffusers.DDIMPipeline(model.network, scheduler)
    scheduler = pipe.scheduler  # DDIMPipeline makes another
    pipe.set_progress_bar_config(disable=True)
    items = items_of(case.family)
    draws = PhiloxDraws(items)
    first = case.sampler(sb.Guidance()).grid.levels(model.schedule)[0]  # type: ignore[attr-defined]
    x = draws.normal(Purpose.INIT, 0, model.shape)
    again = type(scheduler).from_config(scheduler.config)
    start = float(getattr(again, "init_noise_sigma", 1.0))
    x = ((first.sigma if start != 1 else first.b) * x).float()
    signs = torch.Generator().manual_seed(0)
    states: list[Tensor] = []
    step, module = scheduler.step, sys.modules[type(scheduler).__module__]
    if case.family != "sd3" and start != 1:
        again.set_timesteps(N)
        x = x / float(again.init_noise_sigma)

    @wraps(step)
    def moved(*args: Any, **more: Any) -> Any:
        out = step(*args, **{**more, "return_dict": True})
        sign = torch.randint(0, 2, out.prev_sample.shape, generator=signs) * 2 - 1
        out.prev_sample = out.prev_sample + nudge * sign * out.prev_sample.abs().max()
        states.append(out.prev_sample)
        return out if more.get("return_dict", True) else (out.prev_sample,)

    scheduler.step = moved
    noises = [draws.normal(Purpose.KAPPA, k, (1, *model.shape)).mean(1).float() for k in range(1, N)] + [0 * x]
    real = getattr(module, "randn_tensor", None), sys.modules[type(pipe).__module__].randn_tensor
    try:
        module.randn_tensor = lambda *args, **more: noises.pop(0)  # type: ignore[attr-defined]
        if case.family == "pixel":
            sys.modules[type(pipe).__module__].randn_tensor = lambda *args, **more: x  # type: ignore[attr-defined]
            pipe(batch_size=len(x), num_inference_steps=N, output_type="pt")
        else:
            options = {"guidance_scale": gamma, "num_inference_steps": N, "output_type": "latent"}
            pipe([str(item.prompt) for item in items], latents=x, **options)
    finally:
        module.randn_tensor, sys.modules[type(pipe).__module__].randn_tensor = real  # type: ignore[attr-defined]
        del scheduler.step
    return states[-1].double()


def row(case: Case, gamma: float) -> dict[str, Any]:
    """One line of the table; deviations are of the largest value of the pipeline's last latents."""
    pipe = tiny(case.family)
    model = opened(pipe, case.scheduler, case.options)
    want, *others = theirs(model, case, gamma, (0.0, 1.0, -1.0))
    size = float(want.abs().max())

    def gap(found: Tensor) -> float:
        return float((found - want).abs().max()) / size

    allowed = ROUNDINGS * U32 * max(map(gap, others)) / NUDGE
    deviation = gap(ours(model, case, gamma))
    planted = gap(ours(opened(pipe, case.scheduler, {**case.options, **case.ignored}), case, gamma))
    name, options = case.plain or (case.scheduler, {})
    return {
        "pipeline": case.family,
        "scheduler": case.scheduler,
        "options": case.name,
        "gamma": gamma,
        "against": ", ".join([name, *(f"{key}={value}" for key, value in options.items() if key != "disable_corrector")]),
        "deviation": deviation,
        "tolerance": allowed,
        "margin": allowed / deviation if deviation else float("inf"),
        "planted": ", ".join(f"{key}={value}" for key, value in case.ignored.items()),
        "planted deviation": planted,
    }


def gammas(case: Case) -> tuple[float, ...]:
    """Two scales; one without prompts."""
    return (1.0,) if case.family == "pixel" else (1.0, 3.0)


def page(table: pd.DataFrame) -> str:
    """The table to read: a block for each pipeline and scheduler, in it a line for each configuration and guidance scale."""
    lines = []
    for (pipeline, scheduler, against), block in table.groupby(["pipeline", "scheduler", "against"], sort=False):
        beside = "" if against == scheduler else f", beside {against}"
        lines += [
            "",
            f"{pipeline}: {scheduler}{beside}",
            f"{'gamma':>7} {'deviation':>10} {'tolerance':>10} {'margin':>7} {'planted':>9}",
        ]
        for (options, planted), rows in block.groupby(["options", "planted"], sort=False):
            lines += textwrap.wrap(f"{options} (planted: {planted})", 106, initial_indent="  ", subsequent_indent="    ")
            for one in rows.to_dict("records"):
                told = [one[name] for name in ("gamma", "deviation", "tolerance", "margin", "planted deviation")]
                lines.append("{:7g} {:10.1e} {:10.1e} {:7.3g} {:9.1e}".format(*told))
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Write the table."""
    rows = [row(case, gamma) for case in CASES for gamma in gammas(case)]
    table = pd.DataFrame(rows)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "pipelines.csv", index=False, float_format="%.3g")
    bad = table[(table["deviation"] > table["tolerance"]) | (table["planted deviation"] < 3 * table["tolerance"])]
    worst = (
        f"{len(table)} rows, {len(bad)} of them red; smallest margin {table['margin'].min():.2g}; smallest planted deviation "
    )
    worst += f"{(table['planted deviation'] / table['tolerance']).min():.2g} tolerances"
    text = f"{page(table)}\n\n{worst}\n"
    (folder / "pipelines.txt").write_text(f"{__doc__}\n{text}")
    print(text)
    sys.exit(bool(len(bad)))


if __name__ == "__main__":
    main(Path(__file__).parents[1] / "results" / "pipelines")
