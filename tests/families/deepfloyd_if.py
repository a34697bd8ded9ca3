"""DeepFloyd IF, first stage: sampled by DDPM, as its folder has it, and by DDIM."""

from typing import Any

import pytest
import tiny_pipelines
from torch import Tensor

import sdi_bench as sb
from families import Family, N
from sdi_bench.models.checkpoints.families.deepfloyd_if import DeepFloydIF
from sdi_bench.models.checkpoints.folder import DiffusersFolder

SCHEDULER = {
    "beta_schedule": "squaredcos_cap_v2",
    "thresholding": True,
    "dynamic_thresholding_ratio": 0.95,
    "sample_max_value": 1.5,
    "variance_type": "fixed_small",
}
"""What the folder says, but for variance_type=learned_range: of that our DDPM knows nothing."""


def tiny(name: str) -> Any:
    """A UNet of pixels, which looks at T5's text and pools it beside the time, and makes a variance as well."""
    import diffusers

    unet = diffusers.UNet2DConditionModel(
        **tiny_pipelines.UNET,
        down_block_types=["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
        in_channels=3,
        out_channels=6,
        resnet_time_scale_shift="scale_shift",
        cross_attention_norm="group_norm",
        attention_head_dim=4,
        cross_attention_dim=32,
        encoder_hid_dim=32,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
    )
    scheduler = getattr(diffusers, name).from_config(diffusers.DDPMScheduler(**SCHEDULER).config)
    text_encoder, tokenizer = tiny_pipelines.t5().values()
    return diffusers.IFPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        unet=tiny_pipelines.lively(unet, 11),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


def no_text(patch: pytest.MonkeyPatch) -> None:
    rows_of = DeepFloydIF.rows_of
    patch.setattr(DeepFloydIF, "rows_of", lambda self, prompts: [0 * each for each in rows_of(self, prompts)])


def no_threshold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DiffusersFolder, "rules", sb.models.base.NO_RULES)


def shown(pictures: Tensor) -> Tensor:
    """With output_type="pt" they are in [-1, 1]."""
    return (pictures / 2 + 0.5).clamp(0, 1)


FAMILIES = [
    Family(
        "DeepFloyd IF",
        lambda: tiny("DDPMScheduler"),
        no_text,
        "the text is zero",
        sampler=lambda guidance: sb.Ddpm(sb.Own(N), guidance),
        gammas=(1.0, 7.0),
        shown=shown,
    ),
    Family(
        "DeepFloyd IF, DDIM",
        lambda: tiny("DDIMScheduler"),
        no_threshold,
        "x0 is not thresholded",
        gammas=(1.0, 7.0),
        shown=shown,
    ),
]
