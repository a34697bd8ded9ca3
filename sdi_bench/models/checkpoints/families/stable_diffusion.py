"""Stable Diffusion 1 and 2, and what was distilled from them."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from ....guidance import Prompt
from ....schedules import Karras, TableSchedule
from ..distilled import Distillable


class StableDiffusion(Distillable):
    """Stable Diffusion 1 and 2 (arXiv 2112.10752); latent consistency models (arXiv 2310.04378)."""

    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusionPipeline", "LatentConsistencyModelPipeline")
    trained_on: ClassVar[tuple[type, ...]] = (TableSchedule, Karras)
    overlooked: ClassVar[tuple[str, ...]] = ("shift_factor", "latents_mean", "latents_std")

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        (hidden,) = self.rows_of(prompts)
        told = self.guidance_told(x)
        return self.network(x, timesteps, encoder_hidden_states=hidden, timestep_cond=told, return_dict=False)[0]
