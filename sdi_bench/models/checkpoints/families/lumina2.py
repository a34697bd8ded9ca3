"""Lumina-Image 2."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ....guidance import Prompt
from ....schedules import RectifiedFlow
from ..latents import Latents


class Lumina2(Latents):
    """Lumina-Image 2.0 (arXiv 2503.21758), whose time is 1 at the picture, and whose output is x0 - eps.

    The system prompt goes before every prompt, and not before none. With guidance, each line of the output, along the width,
    is given the length that it has without.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("Lumina2Pipeline",)
    trained_on: ClassVar[type] = RectifiedFlow
    overlooked: ClassVar[tuple[str, ...]] = ("latents_mean", "latents_std")
    shifts: ClassVar[tuple[float, float]] = (0.5, 1.15)
    amends: ClassVar[bool] = True

    @property
    def tokens(self) -> int:
        """Channels: the pipeline shifts time by their number, at every size of picture (diffusers 0.42)."""
        return self.channels

    def check(self) -> None:
        super().check()
        blocks = self.pipe.vae.config.block_out_channels
        pixels = 2 ** (len(blocks) - 1)
        if pixels != self.factor:
            raise ValueError(
                f"block_out_channels={list(blocks)} of the VAE: {pixels} pixels a cell; the pipeline counts on {self.factor}"
            )
        if any(side % self.multiple for side in self.sides):
            raise ValueError(f"sample_size={self.sides[0]}: must be a multiple of patch_size={self.multiple}")

    def sigmas(self, n: int) -> list[float] | None:
        return np.linspace(1.0, 1 / n, n).tolist()

    @torch.no_grad()
    def encode_text(self, prompt: Prompt) -> Sequence[Tensor]:
        """Hidden states, and a mask of the tokens that count."""
        none = prompt is None
        both = self.pipe.encode_prompt(prompt or "", do_classifier_free_guidance=none, device=self.device, **self.more)
        return both[2:] if none else both[:2]

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        hidden, mask = self.rows_of(prompts)
        words = {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}
        return -self.network(x, 1 - timesteps / self.schedule.n_train, **words, return_dict=False)[0]

    def amended(self, guided: Tensor, conditional: Tensor) -> Tensor:
        return guided * (conditional.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True))
