"""Kandinsky 2.2."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....guidance import Prompt
from ..latents import Latents


class Kandinsky22(Latents):
    """Kandinsky 2.2 (arXiv 2310.03502): a prior draws an image's embedding for a text, and the UNet is given that alone.

    The prior draws with a seed of the prompt's own, so that a prompt has one embedding, whatever else is sampled and in which
    batch; in the pipeline each picture has its own. No prompt is the embedding of CLIP's zeros, a grey picture, as the pipeline
    has it, and not the prior's for the empty text. Sides go by 8 cells, and without a size its pipeline makes pictures of
    512 x 512, whatever sample_size says.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("KandinskyV22CombinedPipeline",)
    added: ClassVar[Mapping[str, str]] = {"addition_embed_type": "image", "encoder_hid_dim_type": "image_proj"}
    overlooked: ClassVar[tuple[str, ...]] = ("shift_factor", "latents_mean", "latents_std")

    @property
    def vae(self) -> Any:
        return self.pipe.movq

    @property
    def factor(self) -> int:
        return int(self.pipe.decoder_pipe.movq_scale_factor)

    @property
    def multiple(self) -> int:
        return self.factor

    @property
    def own_sides(self) -> tuple[int, int]:
        return (self.default("height") // self.factor, self.default("width") // self.factor)

    def check(self) -> None:
        super().check()
        config = self.network.config
        for name, known in self.added.items():
            if config.get(name) != known:
                raise ValueError(f"{name}={config.get(name)!r}: must be {known!r}, for a network that is given an embedding")
        if config.out_channels != 2 * config.in_channels:
            raise ValueError(
                f"out_channels={config.out_channels}: must be twice in_channels={config.in_channels}, with a learned variance"
            )
        if self.vae.config.lookup_from_codebook:
            raise ValueError(
                "lookup_from_codebook=True of movq: takes entries of its codebook, not latents; only false is known"
            )

    @staticmethod
    def seed(prompt: str) -> int:
        """Of the prior's draws; it depends on nothing but the prompt."""
        return int.from_bytes(hashlib.blake2b(prompt.encode(), digest_size=8).digest(), "little") >> 1

    @torch.no_grad()
    def encode_text(self, prompt: Prompt) -> Sequence[Tensor]:
        prior = self.pipe.prior_pipe
        if prompt is None:
            return (prior.get_zero_embed(1, self.device),)
        prior.set_progress_bar_config(disable=True)
        return (prior(prompt, generator=torch.Generator().manual_seed(self.seed(prompt))).image_embeds,)

    def affine(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return like.new_ones(1), like.new_zeros(1)  # scaling_factor is not looked at

    def decoded(self, rows: Tensor) -> Tensor:
        return self.vae.decode(rows, force_not_quantize=True, return_dict=False)[0]

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        (images,) = self.rows_of(prompts)
        added = {"image_embeds": images.to(x.dtype)}
        return self.network(x, timesteps, encoder_hidden_states=None, added_cond_kwargs=added, return_dict=False)[0]
