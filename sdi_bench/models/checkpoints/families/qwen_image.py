"""Qwen-Image."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ....guidance import Prompt
from ....schedules import RectifiedFlow
from ..latents import Latents

NONE = " "
"""What the model card gives as the negative prompt where there is nothing to avoid; the pipeline itself has none."""

REFUSED = {
    "guidance_embeds": "a network that is told a guidance scale, which diffusers' own cannot run",
    "use_additional_t_cond": "a network that is told more than text and time (Qwen-Image-Layered)",
    "use_layer3d_rope": "a network for the layers of a picture (Qwen-Image-Layered)",
}
"""Fields of a network that is not of Qwen-Image, and why it cannot be asked."""


class QwenImage(Latents):
    """Qwen-Image (arXiv 2508.02324); its VAE is one of videos, of which a picture is a single frame.

    With guidance, each patch of 2 x 2 cells of the output is given the length that it has without.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("QwenImagePipeline",)
    trained_on: ClassVar[type] = RectifiedFlow
    more: ClassVar[Mapping[str, Any]] = {"max_sequence_length": 512}
    shifts: ClassVar[tuple[float, float]] = (0.5, 1.15)
    amends: ClassVar[bool] = True

    @property
    def channels(self) -> int:
        return int(self.network.config.in_channels) // 4

    @property
    def multiple(self) -> int:
        return 2

    @property
    def own_sides(self) -> tuple[int, int]:
        return (self.pipe.default_sample_size, self.pipe.default_sample_size)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return (self.pipe.vae.config.input_channels, *(self.factor * size for size in self.shape[1:]))

    def check(self) -> None:
        super().check()
        config, latents = self.network.config, self.pipe.vae.config.z_dim
        for name, why in REFUSED.items():
            if config.get(name):
                raise ValueError(f"{name}={config[name]!r}: {why}")
        if config.in_channels != 4 * latents:
            raise ValueError(f"in_channels={config.in_channels}: must be 2 x 2 cells of its VAE's latents, z_dim={latents}")
        made = config.patch_size**2 * self.network.out_channels
        if made != config.in_channels:
            raise ValueError(
                f"out_channels={config.out_channels}: gives {made} numbers a patch; it is asked for {config.in_channels}"
            )

    def sigmas(self, n: int) -> list[float] | None:
        return np.linspace(1.0, 1 / n, n).tolist()

    @torch.no_grad()
    def encode_text(self, prompt: Prompt) -> Sequence[Tensor]:
        hidden, mask = self.pipe.encode_prompt(NONE if prompt is None else prompt, device=self.device, **self.more)
        return hidden, torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device) if mask is None else mask.bool()

    def packed(self, x: Tensor) -> Tensor:
        """[rows, *shape] -> [rows, patches, numbers a patch]."""
        return self.pipe._pack_latents(x.contiguous(), *x.shape)

    def unpacked(self, patches: Tensor) -> Tensor:
        """And back."""
        height, width = self.image_shape[1:]
        return self.pipe._unpack_latents(patches, height, width, self.factor)[:, :, 0]

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        hidden, mask = self.rows_of(prompts)
        full = self.once(("full", tuple(prompts)), lambda: bool(mask.all()))
        height, width = self.sides
        out = self.network(
            hidden_states=self.packed(x),
            timestep=timesteps.to(x.dtype) / 1000,
            encoder_hidden_states=hidden,
            encoder_hidden_states_mask=None if full else mask,
            img_shapes=[[(1, height // 2, width // 2)]] * len(x),
            return_dict=False,
        )[0]
        return self.unpacked(out)

    def amended(self, guided: Tensor, conditional: Tensor) -> Tensor:
        found, wanted = (self.packed(each).norm(dim=-1, keepdim=True) for each in (guided, conditional))
        return self.unpacked(self.packed(guided) * (wanted / found))

    def affine(self, like: Tensor) -> tuple[Tensor, Tensor]:
        config = self.pipe.vae.config
        scale, shift = (
            torch.tensor(each, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)
            for each in (config.latents_std, config.latents_mean)
        )
        return scale, shift

    def decoded(self, rows: Tensor) -> Tensor:
        return super().decoded(rows.unsqueeze(2))[:, :, 0]

    def encoded(self, rows: Tensor) -> Tensor:
        return super().encoded(rows.unsqueeze(2))[:, :, 0]
