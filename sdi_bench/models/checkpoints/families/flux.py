"""FLUX.1."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ....guidance import Prompt
from ....schedules import RectifiedFlow
from ..latents import Latents


class Flux(Latents):
    """FLUX.1, dev and schnell (their model cards; arXiv 2506.15742): patches of 2 x 2 cells are its tokens.

    dev is told a guidance scale; classifier-free guidance is the pipeline's `true_cfg_scale`, and no prompt is the empty one.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("FluxPipeline",)
    trained_on: ClassVar[type] = RectifiedFlow
    shifts: ClassVar[tuple[float, float]] = (0.5, 1.15)
    overlooked: ClassVar[tuple[str, ...]] = ("latents_mean", "latents_std")

    @property
    def channels(self) -> int:
        return int(self.network.config.in_channels) // 4

    @property
    def own_sides(self) -> tuple[int, int]:
        return (self.pipe.default_sample_size, self.pipe.default_sample_size)

    @property
    def multiple(self) -> int:
        return 2

    def sigmas(self, n: int) -> list[float] | None:
        chosen = self.pipe.scheduler.config.get("use_flow_sigmas")
        return None if chosen else np.linspace(1.0, 1 / n, n).tolist()

    @property
    def embeds_guidance(self) -> bool:
        return bool(self.network.config.guidance_embeds)

    def time_and_scale(self, x: Tensor, timesteps: Tensor) -> dict[str, Float[Tensor, " rows"] | None]:
        """The time and the guidance scale, as the network is told them."""
        scale = self.embedded_guidance if self.embeds_guidance else None
        guidance = None if scale is None else torch.full((len(x),), scale, dtype=torch.float32, device=x.device)
        return {"timestep": timesteps.to(x.dtype) / 1000, "guidance": guidance}

    @torch.no_grad()
    def encode_text(self, prompt: Prompt) -> Sequence[Tensor]:
        hidden, pooled, ids = self.pipe.encode_prompt(prompt or "", device=self.device)
        return hidden, pooled, ids[None]

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        hidden, pooled, text_ids = self.rows_of(prompts)
        rows, channels, height, width = x.shape
        out = self.network(
            hidden_states=self.pipe._pack_latents(x, rows, channels, height, width),
            encoder_hidden_states=hidden,
            pooled_projections=pooled,
            txt_ids=text_ids[0],
            img_ids=self.pipe._prepare_latent_image_ids(rows, height // 2, width // 2, x.device, x.dtype),
            return_dict=False,
            **self.time_and_scale(x, timesteps),
        )[0]
        return self.pipe._unpack_latents(out, self.factor * height, self.factor * width, self.factor)
