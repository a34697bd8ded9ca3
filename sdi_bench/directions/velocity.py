"""The gap between velocities of a rectified flow: RFDS."""

from dataclasses import dataclass

import torch

from ..coordinates import FlowVelocity
from ..guidance import Guidance
from ..models.base import Denoiser
from ..noise.base import Kappa
from ..schedules import Schedule
from .base import At, Direction, Image


@dataclass(frozen=True)
class Velocity(Direction):
    """v_theta(x) - (kappa - x0), the gradient of RFDS (arXiv 2406.03293) with w = 1; x = (1 - t)·x0 + t·kappa.

    It is SDS's direction over 1 - t. check raises ValueError unless the schedule is that of a rectified flow, a + b = 1.
    """

    def check(self, model: Denoiser, schedule: Schedule, guidance: Guidance, noise: Kappa) -> None:
        if not FlowVelocity().fits(schedule.level(torch.tensor([0.25, 0.5, 0.75]))):
            raise ValueError(
                f"direction=velocity: {type(schedule).__name__} is no rectified flow, whose path from x0 to noise is straight "
                "(arXiv 2406.03293); use schedule=flow, or a checkpoint of one"
            )

    def __call__(self, at: At) -> Image:
        v = FlowVelocity().encode(at.guided.x0, at.guided.eps, at.step.dst)
        return v - (at.proposal.kappa - at.x0)
