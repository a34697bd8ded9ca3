"""HunyuanDiT."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ....guidance import Prompt
from ..latents import Latents

FACTOR = 8
"""Pixels a cell, for which the pipeline makes its rotary embeddings."""

BASE = 512
"""Pixels of the pictures to which they are scaled."""

LENGTHS = {"text_len": 77, "text_len_t5": 256}
"""Tokens of its two text encoders."""


class HunyuanDiT(Latents):
    """HunyuanDiT (arXiv 2405.08748): before version 1.2 told that images were of 1024 pixels, their size, and that not cropped.

    Pictures have the size asked for, as with use_resolution_binning=False.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("HunyuanDiTPipeline",)
    overlooked: ClassVar[tuple[str, ...]] = ("shift_factor", "latents_mean", "latents_std")

    def check(self) -> None:
        super().check()
        config = self.network.config
        for name, length in LENGTHS.items():
            if config[name] != length:
                raise ValueError(f"{name}={config[name]}: its text encoder gives {length} tokens")
        if not config.learn_sigma:
            raise ValueError("learn_sigma=False: HunyuanDiTPipeline takes half of the network's output for a learned variance")
        if self.factor != FACTOR:
            raise ValueError(f"block_out_channels of the VAE: {self.factor} pixels a cell; HunyuanDiTPipeline goes by {FACTOR}")
        for name in ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"):
            if getattr(self.pipe, name) is None:
                raise ValueError(f"{name}=null: there is nothing to encode prompts with")

    @torch.no_grad()
    def encode_text(self, prompt: Prompt) -> Sequence[Tensor]:
        none = prompt is None
        told = {"device": self.device, "dtype": self.network.dtype, "do_classifier_free_guidance": none}
        both = [self.pipe.encode_prompt(prompt or "", text_encoder_index=index, **told) for index in (0, 1)]
        return [each for one in both for each in (one[1::2] if none else one[::2])]  # hidden states and a mask, twice

    @property
    def sizes(self) -> list[int]:
        """What the network is told of the picture, in pixels: its original size, its size, and where it was cropped."""
        return [*self.default("original_size"), *self.image_shape[1:], *self.default("crops_coords_top_left")]

    def rotary(self) -> tuple[Tensor, Tensor]:
        """The embeddings of the patches' places."""
        from diffusers.models.embeddings import get_2d_rotary_pos_embed
        from diffusers.pipelines.hunyuandit.pipeline_hunyuandit import get_resize_crop_region_for_grid

        patch = self.network.config.patch_size
        height, width = (side // patch for side in self.sides)
        region = get_resize_crop_region_for_grid((height, width), BASE // FACTOR // patch)
        head = self.network.inner_dim // self.network.num_heads
        return get_2d_rotary_pos_embed(head, region, (height, width), device=self.device, output_type="pt")

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        names = ("encoder_hidden_states", "text_embedding_mask", "encoder_hidden_states_t5", "text_embedding_mask_t5")
        words = dict(zip(names, self.rows_of(prompts), strict=True))
        sizes = self.once(("sizes", x.dtype), lambda: torch.tensor([self.sizes], dtype=x.dtype, device=x.device))
        picture = {
            "image_meta_size": sizes.repeat(len(x), 1),
            "style": torch.zeros(len(x), dtype=torch.int64, device=x.device),
            "image_rotary_emb": self.once("places", self.rotary),
        }
        return self.network(x, timesteps.to(x.dtype), return_dict=False, **words, **picture)[0]
