"""Stable Diffusion 3."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from ....guidance import Prompt
from ....schedules import RectifiedFlow
from ..latents import Latents


class StableDiffusion3(Latents):
    """Stable Diffusion 3 (arXiv 2403.03206), with or without T5."""

    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusion3Pipeline",)
    trained_on: ClassVar[type] = RectifiedFlow
    more: ClassVar[dict[str, None]] = {"prompt_2": None, "prompt_3": None}
    overlooked: ClassVar[tuple[str, ...]] = ("latents_mean", "latents_std")

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        hidden, pooled = self.rows_of(prompts)
        words = {"encoder_hidden_states": hidden, "pooled_projections": pooled}
        return self.network(hidden_states=x, timestep=timesteps, return_dict=False, **words)[0]
