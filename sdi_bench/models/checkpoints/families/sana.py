"""Sana."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ....guidance import Prompt
from ....schedules import RectifiedFlow
from ..latents import Latents


class Sana(Latents):
    """Sana (arXiv 2410.10629): its text encoder is first instructed how to enhance a prompt, but not where there is none.

    Pictures have the size asked for, as with use_resolution_binning=False; without one, that of the network, where the
    pipeline enlarges or shrinks them to 1024 pixels.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("SanaPipeline",)
    trained_on: ClassVar[type] = RectifiedFlow

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pipe.tokenizer.padding_side = "right"  # as its first call leaves it, so that a call makes it no other model

    def check(self) -> None:
        super().check()
        config = self.network.config
        if config.out_channels not in (None, config.in_channels, 2 * config.in_channels):
            raise ValueError(
                f"out_channels={config.out_channels}: must be in_channels={config.in_channels}, or twice that with a learned "
                "variance"
            )
        if config.guidance_embeds:
            raise ValueError(
                "guidance_embeds=True: a network that asks for a guidance scale, which SanaPipeline does not tell it"
            )

    @torch.no_grad()
    def encode_text(self, prompt: Prompt) -> Sequence[Tensor]:
        none = prompt is None
        instruction = self.default("complex_human_instruction")
        told = {"device": self.device, "clean_caption": self.default("clean_caption"), "complex_human_instruction": instruction}
        both = self.pipe.encode_prompt(prompt or "", do_classifier_free_guidance=none, **told)
        return both[2:] if none else both[:2]  # (conditional, its mask, unconditional, its mask)

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        hidden, mask = self.rows_of(prompts)
        words = {"encoder_hidden_states": hidden.to(x.dtype), "encoder_attention_mask": mask}
        return self.network(x, timestep=timesteps * self.network.config.timestep_scale, return_dict=False, **words)[0]

    @property
    def image_shape(self) -> tuple[int, ...]:
        return (self.pipe.vae.config.in_channels, *(self.factor * size for size in self.shape[1:]))

    def encoded(self, rows: Tensor) -> Tensor:
        return self.pipe.vae.encode(rows).latent
