"""Stable Diffusion XL, plain and distilled."""

from typing import Any

import pytest
import tiny_pipelines

from families import Family
from sdi_bench.models.checkpoints.distilled import Distillable
from sdi_bench.models.checkpoints.families.stable_diffusion_xl import StableDiffusionXL

time_ids = StableDiffusionXL.time_ids


def no_size(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StableDiffusionXL, "time_ids", lambda self, dtype, width: 0 * time_ids(self, dtype, width))


def distilled() -> Any:
    """A network that is told a guidance scale, of an odd width, so that its embedding ends in a zero."""
    pipe = tiny_pipelines.sdxl()
    kept = ("addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim", "cross_attention_dim")
    pipe.unet = tiny_pipelines.conditional_unet(**{name: pipe.unet.config[name] for name in kept}, time_cond_proj_dim=9)
    return pipe


def untold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Distillable, "embeds_guidance", False)


FAMILIES = [
    Family("SDXL", tiny_pipelines.sdxl, no_size, "the network is told a size of zero"),
    Family("SDXL, distilled", distilled, untold, "no guidance scale is told", call=lambda gamma: {}, gammas=(1.0,)),
]
