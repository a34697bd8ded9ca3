"""AuraFlow."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ....guidance import Prompt
from ....schedules import RectifiedFlow
from ..latents import Latents


class AuraFlow(Latents):
    """AuraFlow (fal/AuraFlow, its model card): it is told sigma as its time, and looks at 256 tokens of text, padding too.

    Its positions are a learned square table, of which a picture takes the middle. Without a size its pipeline makes pictures of
    1024 x 1024, whatever sample_size says.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("AuraFlowPipeline",)
    trained_on: ClassVar[type] = RectifiedFlow
    overlooked: ClassVar[tuple[str, ...]] = ("shift_factor", "latents_mean", "latents_std")

    def check(self) -> None:
        super().check()
        config = self.network.config
        if config.out_channels not in (None, config.in_channels):
            raise ValueError(f"out_channels={config.out_channels}: must be in_channels={config.in_channels}")
        known, patches = math.isqrt(config.pos_embed_max_size), [side // self.multiple for side in self.sides]
        if max(patches) > known:
            raise ValueError(
                f"pos_embed_max_size={config.pos_embed_max_size}: {known} x {known} patches, and {patches[0]} x {patches[1]} "
                f"are asked for; set model.height and model.width to {known * self.multiple * self.factor} at most"
            )

    @property
    def own_sides(self) -> tuple[int, int]:
        return (self.default("height") // self.factor, self.default("width") // self.factor)

    def mu(self, n: int) -> float | None:
        """None, also where the scheduler wants a shift by size: this pipeline tells it none, and it refuses."""
        return None

    @torch.no_grad()
    def encode_text(self, prompt: Prompt) -> Sequence[Tensor]:
        none = prompt is None
        both = self.pipe.encode_prompt(prompt or "", do_classifier_free_guidance=none, device=self.device)
        return both[2:3] if none else both[:1]  # (conditional, its mask, unconditional, its mask)

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        (hidden,) = self.rows_of(prompts)
        time = (timesteps / 1000).to(x.dtype)
        return self.network(x, encoder_hidden_states=hidden, timestep=time, return_dict=False)[0]
