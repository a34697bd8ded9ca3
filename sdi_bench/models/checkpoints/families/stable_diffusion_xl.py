"""Stable Diffusion XL."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ....guidance import Prompt
from ....schedules import Karras, TableSchedule
from ..distilled import Distillable


class StableDiffusionXL(Distillable):
    """Stable Diffusion XL (arXiv 2307.01952), told that images are of full size and not cropped.

    With a scheduler of EDM: CosXL (its model card) and Playground 2.5 (arXiv 2402.17245).
    """

    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusionXLPipeline",)
    trained_on: ClassVar[tuple[type, ...]] = (TableSchedule, Karras)
    added: ClassVar[Mapping[str, str]] = {"addition_embed_type": "text_time"}

    def check(self) -> None:
        super().check()
        self.time_ids(torch.float32, self.pipe.text_encoder_2.config.projection_dim)

    def time_ids(self, dtype: torch.dtype, width: int) -> Float[Tensor, "1 6"]:
        """Sizes and crop. Raises ValueError if the network wants other numbers (an aesthetic score)."""
        size = self.image_shape[1:]
        return self.pipe._get_add_time_ids(size, (0, 0), size, dtype, width)

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        hidden, pooled = self.rows_of(prompts)
        ids = self.once(("time ids", hidden.dtype), lambda: self.time_ids(hidden.dtype, pooled.shape[-1]).to(x.device))
        more = {
            "timestep_cond": self.guidance_told(x),
            "added_cond_kwargs": {"text_embeds": pooled, "time_ids": ids.expand(len(x), -1)},
        }
        return self.network(x, timesteps, encoder_hidden_states=hidden, **more, return_dict=False)[0]
