"""Stable Diffusion, plain, with another codec, and distilled."""

from dataclasses import replace
from typing import Any

import pytest
import tiny_pipelines

import sdi_bench as sb
from families import Family, N, told
from sdi_bench.models.checkpoints.distilled import Distillable
from sdi_bench.models.checkpoints.families.stable_diffusion import StableDiffusion

rows_of, embedded = StableDiffusion.rows_of, Distillable.embedded_guidance.fget


def negative(gamma: float) -> dict[str, Any]:
    return {"guidance_scale": gamma, "negative_prompt": ["rain", "rain"]}


def against_rain(guidance: sb.Guidance) -> sb.Ddim:
    return sb.Ddim(sb.Own(N), replace(guidance, negative="rain"))


def with_tiny_codec() -> Any:
    import diffusers

    pipe = tiny_pipelines.sd()
    blocks = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    vae = diffusers.AutoencoderTiny(**blocks, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1), scaling_factor=0.7)
    pipe.vae = tiny_pipelines.lively(vae, 13)
    return pipe


def distilled() -> Any:
    """Stable Diffusion's pipeline with a network that is told a guidance scale."""
    pipe = tiny_pipelines.sd()
    pipe.unet = tiny_pipelines.conditional_unet(cross_attention_dim=16, time_cond_proj_dim=8)
    return pipe


def lcm() -> Any:
    """set_alpha_to_one=False is what Stable Diffusion's folders say, and what this scheduler does not look at."""
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    scheduler = LCMScheduler(set_alpha_to_one=False)
    return LatentConsistencyModelPipeline(**distilled().components | {"scheduler": scheduler}, requires_safety_checker=False)


def other_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StableDiffusion, "rows_of", lambda self, prompts: rows_of(self, prompts[::-1]))


def off_by_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Distillable, "embedded_guidance", property(lambda self: embedded(self) + 1))


FAMILIES = [
    Family("SD", tiny_pipelines.sd, other_rows, "prompts of another row"),
    Family(
        "SD, negative prompt",
        tiny_pipelines.sd,
        other_rows,
        "prompts of another row",
        call=negative,
        sampler=against_rain,
        gammas=(3.0, 7.5),
    ),
    Family("SD, AutoencoderTiny", with_tiny_codec, other_rows, "prompts of another row"),
    Family("SD, distilled", distilled, off_by_one, "gamma is told, not gamma - 1", call=lambda gamma: {}, gammas=(1.0,)),
    Family(
        "SD, distilled, gamma 4",
        distilled,
        off_by_one,
        "gamma is told, not gamma - 1",
        call=lambda gamma: told(4.0),
        gammas=(1.0,),
        settings={"embedded_guidance": 4.0},
    ),
    Family(
        "LCM",
        lcm,
        off_by_one,
        "gamma is told, not gamma - 1",
        call=lambda gamma: {},
        gammas=(1.0,),
        sampler=lambda guidance: sb.Distillation(sb.Annealed(sb.Own(N)), sb.Fresh(), guidance),
    ),
]
