"""Stable Diffusion 1 and 2."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from ....guidance import Prompt
from ..latents import Latents


class StableDiffusion(Latents):
    """Stable Diffusion 1 and 2 (arXiv 2112.10752)."""

    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusionPipeline",)
    overlooked: ClassVar[tuple[str, ...]] = ("shift_factor", "latents_mean", "latents_std")

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        (hidden,) = self.rows_of(prompts)
        return self.network(x, timesteps, encoder_hidden_states=hidden, return_dict=False)[0]
