"""PixArt-alpha and PixArt-Sigma."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ....guidance import Prompt
from ..latents import Latents

N_TOLD = 128
"""sample_size of the network that PixArt-alpha tells its resolution and aspect ratio."""


class PixArtSigma(Latents):
    """PixArt-Sigma (arXiv 2403.04692): captions are cleaned where bs4 and ftfy are installed, as its pipeline has it.

    Pictures have the size asked for, as with use_resolution_binning=False.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("PixArtSigmaPipeline",)
    overlooked: ClassVar[tuple[str, ...]] = ("shift_factor", "latents_mean", "latents_std")

    def check(self) -> None:
        super().check()
        config = self.network.config
        if config.out_channels not in (None, config.in_channels, 2 * config.in_channels):
            raise ValueError(
                f"out_channels={config.out_channels}: must be in_channels={config.in_channels}, or twice that with a learned "
                "variance"
            )
        if self.network.use_additional_conditions and not self.added_of(1):
            raise ValueError(
                f"use_additional_conditions={config.use_additional_conditions} with sample_size={config.sample_size}: a "
                f"network that asks for a resolution and an aspect ratio, which {type(self.pipe).__name__} does not tell it"
            )
        for name in ("tokenizer", "text_encoder"):
            if getattr(self.pipe, name) is None:
                raise ValueError(f"{name}=null: there is nothing to encode prompts with")

    @torch.no_grad()
    def encode_text(self, prompt: Prompt) -> Sequence[Tensor]:
        none = prompt is None
        told = {"device": self.device, "clean_caption": self.default("clean_caption")}
        both = self.pipe.encode_prompt(prompt or "", do_classifier_free_guidance=none, **told)
        return both[2:] if none else both[:2]  # (conditional, its mask, unconditional, its mask)

    def added_of(self, rows: int) -> Mapping[str, Tensor]:
        """What the network is told of the picture beside text and time, for so many rows."""
        return {}

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        hidden, mask = self.rows_of(prompts)
        added = self.once(
            ("added", len(x), hidden.dtype),
            lambda: {name: value.to(hidden) for name, value in self.added_of(len(x)).items()},
        )
        words = {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}
        return self.network(x, timestep=timesteps, added_cond_kwargs=added, return_dict=False, **words)[0]


class PixArtAlpha(PixArtSigma):
    """PixArt-alpha (arXiv 2310.00426): of 1024 pixels, its network is told the height and width in pixels and their ratio."""

    pipelines: ClassVar[tuple[str, ...]] = ("PixArtAlphaPipeline",)

    def added_of(self, rows: int) -> Mapping[str, Tensor]:
        if self.network.config.sample_size != N_TOLD:
            return {}
        height, width = self.image_shape[1:]
        told = {"resolution": [height, width], "aspect_ratio": [height / width]}
        return {name: torch.tensor([value]).expand(rows, -1) for name, value in told.items()}
