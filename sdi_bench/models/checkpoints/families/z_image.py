"""Z-Image."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....guidance import Prompt
from ....schedules import RectifiedFlow
from ..latents import Latents

PATCH = 2
"""Cells along a patch's side: the pipeline leaves it at the network's default, whatever others it has."""


class ZImage(Latents):
    """Z-Image and Z-Image-Turbo (arXiv 2511.22699), whose time is 1 at the picture, and whose output is x0 - eps.

    The pipeline guides with cond + guidance_scale · (cond - uncond): gamma here is 1 + its guidance_scale.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("ZImagePipeline",)
    trained_on: ClassVar[type] = RectifiedFlow
    more: ClassVar[Mapping[str, Any]] = {"max_sequence_length": 512}
    overlooked: ClassVar[tuple[str, ...]] = ("latents_mean", "latents_std")
    shifts: ClassVar[tuple[float, float]] = (0.5, 1.15)

    @property
    def multiple(self) -> int:
        return PATCH

    @property
    def own_sides(self) -> tuple[int, int]:
        side = PATCH * (1024 // (PATCH * self.factor))  # of the call's own 1024 pixels
        return (side, side)

    def check(self) -> None:
        super().check()
        config = self.network.config
        if (PATCH, 1) not in zip(config.all_patch_size, config.all_f_patch_size, strict=True):
            raise ValueError(
                f"all_patch_size={list(config.all_patch_size)}: the pipeline asks for patches of {PATCH} x {PATCH}"
            )

    def sigmas(self, n: int) -> list[float] | None:
        return torch.linspace(1.0, 1 / n, n).tolist()

    @torch.no_grad()
    def encode_text(self, prompt: Prompt) -> Sequence[Tensor]:
        """One [tokens, width]; no prompt is the empty one."""
        words, _ = self.pipe.encode_prompt(prompt or "", self.device, do_classifier_free_guidance=False, **self.more)
        return words

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        words = [self.texts(prompt)[0] for prompt in prompts]
        rows = self.network(list(x.unsqueeze(2)), (1000 - timesteps) / 1000, words, return_dict=False)[0]
        return -torch.stack(rows).squeeze(2)
