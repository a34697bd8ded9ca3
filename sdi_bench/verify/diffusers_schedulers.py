"""V2: our samplers are diffusers' own schedulers, on the same table of alpha_bar and where its grids are exact.

What has to be set for equality: no clipping of x0 (their default), no thresholding, sigma from *their* alphas_cumprod (a
float32 table, up to 3e-4 away from the formula in float64), and both their tables cast to float64: `alphas_cumprod` and the
level after the last step. Their "trailing" grid needs a divisor of 1000, "linspace" all 1000 steps: else they step to levels
that are not on the grid. diffusers is imported only when these rows are asked for.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..coordinates import Epsilon, FlowVelocity, Parametrisation, Sample, Velocity, noisy
from ..draws import Draws, Purpose
from ..grids import Grid, Leading, Linspace, Trailing, UniformT
from ..levels import Level, Step, clean
from ..models import Reparametrised
from ..models.base import Denoiser
from ..noise import Inversion, Mixed
from ..predictor import Predictor
from ..samplers import Annealed, Ddim, Ddpm, Distillation, State
from ..samplers.base import start
from ..samplers.ddim import after, step
from ..schedules import RectifiedFlow, TableSchedule
from .cases import bind, covering, digits, gaussian, largest, mixture, scale_of
from .rows import Row, Worst

if TYPE_CHECKING:
    from diffusers import DDIMInverseScheduler, DDIMScheduler, DDPMScheduler

N_TRAIN = 1000
GAMMAS = (0.0, 1.0, 7.5)
BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
BETA_ENDS = {"scaled_linear": (0.00085, 0.012)}
OUTPUTS: dict[str, Parametrisation] = {"epsilon": Epsilon(), "sample": Sample(), "v_prediction": Velocity()}
GRIDS: tuple[Leading | Trailing, ...] = (Leading(10), Leading(50, offset=1), Leading(300), Trailing(10), Trailing(50), Trailing(200))
ALL_GRIDS: tuple[Leading | Trailing | Linspace, ...] = (
    *GRIDS,
    *(Leading(n, offset) for n in (1, 30, 500, 1000) for offset in (0, 1) if n < 1000 or not offset),
    *(Trailing(n) for n in (1, 2, 4, 5, 8, 20, 25, 40, 100, 125, 250, 500, 1000)),
    Linspace(1000),
)
NOISES = {
    "lam=0": (Mixed(lam=0.0), lambda r: 0.0),
    "lam=0.5": (Mixed(lam=0.5), lambda r: (1 + r) ** -0.5),
    "lam=1": (Mixed(lam=1.0), lambda r: 1.0),
    "rho=0.1": (Mixed(lam=None, rho=0.1), lambda r: (0.99 / (1 - r**2)) ** 0.5),
    "rho=0.5": (Mixed(lam=None, rho=0.5), lambda r: (0.75 / (1 - r**2)) ** 0.5),
    "rho=1": (Mixed(lam=None, rho=1.0), lambda r: 0.0),
}
"""Shares kept of the previous prediction, and DDIM's eta for it at r = sigma'/sigma: rho² = 1 - eta²(1 - r²)."""


def scheduler_config(betas: str, output: str, grid: Grid) -> dict
