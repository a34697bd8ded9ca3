"""FLUX.2."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ....guidance import Prompt
from .flux import Flux


class Flux2(Flux):
    """FLUX.2 dev (its model card): a cell has the channels of 2 x 2 latents of the VAE, whitened by its batch norm.

    It is told a guidance scale, and the pipeline has no other guidance. How time is shifted goes by the number of levels too.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("Flux2Pipeline",)

    @property
    def channels(self) -> int:
        return int(self.network.config.in_channels)

    @property
    def codec_channels(self) -> int:
        return math.prod(self.pipe.vae.config.patch_size) * super().codec_channels

    @property
    def factor(self) -> int:
        return 2 * int(self.pipe.vae_scale_factor)

    @property
    def multiple(self) -> int:
        return 1

    @property
    def own_sides(self) -> tuple[int, int]:
        return (self.pipe.default_sample_size // 2, self.pipe.default_sample_size // 2)

    def mu(self, n: int) -> float | None:
        from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

        dynamic = self.pipe.scheduler.config.get("use_dynamic_shifting")
        return compute_empirical_mu(self.tokens, n) if dynamic else None

    @torch.no_grad()
    def encode_text(self, prompt: Prompt) -> Sequence[Tensor]:
        return self.pipe.encode_prompt(prompt or "", device=self.device)

    def forward(self, x: Tensor, timesteps: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        hidden, text_ids = self.rows_of(prompts)
        ids = self.once(("ids", x.shape), lambda: self.pipe._prepare_latent_ids(x).to(x.device))
        out = self.network(
            hidden_states=self.pipe._pack_latents(x),
            encoder_hidden_states=hidden,
            txt_ids=text_ids,
            img_ids=ids,
            return_dict=False,
            **self.time_and_scale(x, timesteps),
        )[0]
        return self.pipe._unpack_latents_with_ids(out, ids)

    def affine(self, like: Tensor) -> tuple[Tensor, Tensor]:
        norm = self.pipe.vae.bn
        scale = (norm.running_var + self.pipe.vae.config.batch_norm_eps).sqrt()
        return scale.view(-1, 1, 1).to(like), norm.running_mean.view(-1, 1, 1).to(like)

    def decoded(self, rows: Tensor) -> Tensor:
        return super().decoded(self.pipe._unpatchify_latents(rows))

    def encoded(self, rows: Tensor) -> Tensor:
        return self.pipe._patchify_latents(super().encoded(rows))


class Flux2Klein(Flux2):
    """FLUX.2 klein (its model card): as FLUX.2, but told no guidance scale; guided as usual, no prompt being the empty one.

    Distilled ones the pipeline samples without guidance, whatever scale it is given.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("Flux2KleinPipeline", "Flux2KleinKVPipeline")

    @property
    def embeds_guidance(self) -> bool:
        return False
