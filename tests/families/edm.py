"""EDM's preconditioning: Stable Diffusion XL as CosXL and Playground 2.5, and Stable Diffusion that is told log(sigma) / 4."""

from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import pytest
import tiny_pipelines
from torch import Tensor

import sdi_bench as sb
from families import Family, N
from sdi_bench.models import DiffusersFolder

MEANS: dict[str, Any] = {"latents_mean": (-1.6, 1.9, -1.4, 2.5), "latents_std": (8.5, 5.9, 6.5, 5.2), "scaling_factor": 0.5}
"""Of a VAE whose latents are measured by their means and spreads, as those of Playground 2.5 are."""
THRESHOLD = {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9}
COSXL = {"sigma_min": 0.002, "sigma_max": 120.0, "sigma_data": 1.0, "sigma_schedule": "exponential"}
PLAYGROUND = {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5}
V = {"prediction_type": "v_prediction"}
CONTINUOUS = {"timestep_type": "continuous", "timestep_spacing": "leading"}
RANGE = {"use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 700.0}

timestep = DiffusersFolder.timestep


def told_log_sigma(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DiffusersFolder, "timestep", lambda self, level: 4 * timestep(self, level))


def data_of_spread_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DiffusersFolder, "scale", lambda self, level: (level.a.square() + level.b.square()).sqrt())


def turned(patch: pytest.MonkeyPatch) -> None:
    output = DiffusersFolder.parametrisation.fget  # type: ignore[attr-defined]
    other = property(lambda self: sb.coordinates.Preconditioned(output(self).sigma_data, not output(self).negated))
    patch.setattr(DiffusersFolder, "parametrisation", other)


def first(model: DiffusersFolder, x: Tensor) -> Tensor:
    """Ours starts from sigma·eps; the pipeline from sqrt(sigma_max² + 1) times what its call is given."""
    scheduler = type(model.pipe.scheduler).from_config(model.pipe.scheduler.config)
    scheduler.set_timesteps(N)
    return x * float(sb.Own(N).levels(model.schedule)[0].sigma) / float(scheduler.init_noise_sigma)


def sdxl(name: str, **options: Any) -> Any:
    pipe = tiny_pipelines.sdxl()
    pipe.register_modules(vae=tiny_pipelines.vae(**MEANS), scheduler=getattr(diffusers, name)(**options))
    return pipe


def sd(**options: Any) -> Any:
    pipe = tiny_pipelines.sd()
    table = {name: value for name, value in tiny_pipelines.TABLE.items() if name != "clip_sample"}
    pipe.register_modules(scheduler=diffusers.EulerDiscreteScheduler(**table, **V, **CONTINUOUS, **options))
    return pipe


def family(name: str, make: Callable[[], Any], plant: Callable[[pytest.MonkeyPatch], None], why: str) -> Family:
    return Family(name, make, plant, why, pack=first)


QUARTER = "the network is told log(sigma), not a quarter of it"
EULER, SOLVER = "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"
FAMILIES = [
    family("CosXL", partial(sdxl, EULER, **COSXL, **V), told_log_sigma, QUARTER),
    family("EDM Euler, F", partial(sdxl, EULER, **PLAYGROUND, final_sigmas_type="sigma_min"), turned, "F has the other sign"),
    family(
        "Playground 2.5", partial(sdxl, SOLVER, **PLAYGROUND, solver_order=1), data_of_spread_one, "c_in is of sigma_data=1"
    ),
    family(
        "EDM solver, v", partial(sdxl, SOLVER, **PLAYGROUND, **V, **THRESHOLD, solver_order=1), turned, "F has the other sign"
    ),
    family("SD, log(sigma)", sd, told_log_sigma, QUARTER),
    family("SD, log(sigma), Karras", partial(sd, **RANGE), told_log_sigma, QUARTER),
]
