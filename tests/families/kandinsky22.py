"""Kandinsky 2.2."""

from typing import Any

import pytest
import tiny_pipelines
import torch
from torch import Tensor

import sdi_bench as sb
from families import Family, N
from sdi_bench.models import DiffusersFolder
from sdi_bench.models.checkpoints.families.kandinsky22 import Kandinsky22

TABLE: dict[str, Any] = {"beta_schedule": "linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}
rows_of = Kandinsky22.rows_of


def prior() -> dict[str, Any]:
    """From a text to an image's embedding of 16 numbers."""
    from diffusers import PriorTransformer, UnCLIPScheduler
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes = {"hidden_size": 16, "intermediate_size": 32, "projection_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    eyes = CLIPVisionModelWithProjection(CLIPVisionConfig(image_size=8, patch_size=4, **sizes))
    transformer = PriorTransformer(num_attention_heads=2, attention_head_dim=8, num_layers=1, embedding_dim=16)
    return {
        "prior_prior": tiny_pipelines.lively(transformer, 50),
        "prior_image_encoder": tiny_pipelines.lively(eyes, 51),
        "prior_text_encoder": tiny_pipelines.text_encoder(52, projected=True),
        "prior_tokenizer": tiny_pipelines.tokenizer(),
        "prior_scheduler": UnCLIPScheduler(prediction_type="sample", clip_sample_range=5.0),
        "prior_image_processor": CLIPImageProcessor(),
    }


def tiny(scheduler: Any) -> Any:
    """Kandinsky 2.2 of random weights: MoVQ's decoder looks at the latents themselves in its norms."""
    from diffusers import KandinskyV22CombinedPipeline, UNet2DConditionModel, VQModel

    unet = UNet2DConditionModel(
        **tiny_pipelines.UNET,
        in_channels=4,
        out_channels=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        resnet_time_scale_shift="scale_shift",
        cross_attention_dim=16,
        attention_head_dim=4,
        encoder_hid_dim=16,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
    )
    movq = VQModel(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        vq_embed_dim=4,
        num_vq_embeddings=12,
        norm_num_groups=4,
        norm_type="spatial",
    )
    parts = {"unet": tiny_pipelines.lively(unet, 53), "movq": tiny_pipelines.lively(movq, 54), "scheduler": scheduler}
    return KandinskyV22CombinedPipeline(**parts, **prior())


def ddim() -> Any:
    from diffusers import DDIMScheduler

    return tiny(DDIMScheduler(**TABLE, set_alpha_to_one=False))


def ddpm() -> Any:
    from diffusers import DDPMScheduler

    return tiny(DDPMScheduler(**TABLE))


class Combined:
    """The combined pipeline, with our seeds for its prior: the latents that it is given are its decoder's.

    Its own call gives them to the prior.
    """

    def __init__(self, model: DiffusersFolder) -> None:
        self.pipe = model.pipe

    @property
    def scheduler(self) -> Any:
        return self.pipe.decoder_pipe.scheduler

    @scheduler.setter
    def scheduler(self, other: Any) -> None:
        self.pipe.decoder_pipe.scheduler = other

    def set_progress_bar_config(self, disable: bool) -> None:
        self.pipe.set_progress_bar_config(disable=disable)

    def __call__(self, prompt: list[str], latents: Tensor, **options: Any) -> Any:
        drawn = [torch.Generator().manual_seed(Kandinsky22.seed(one)) for one in prompt]
        decoder = self.pipe.decoder_pipe
        prepare = decoder.prepare_latents
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoder, "prepare_latents", lambda *args: prepare(*args[:4], latents, args[5]))
            return self.pipe(prompt, generator=drawn, **options)


def shown(pictures: Tensor) -> Tensor:
    """Its tensors are pictures in [-1, 1], though its arrays are in [0, 1]."""
    return (pictures / 2 + 0.5).clamp(0, 1)


def halves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Kandinsky22, "rows_of", lambda self, prompts: [0.5 * images for images in rows_of(self, prompts)])


HELD: dict[str, Any] = {"settings": {"height": 16, "width": 24}, "pipe": Combined, "shown": shown}
FAMILIES = [
    Family("Kandinsky 2.2", ddim, halves, "an embedding is halved", **HELD),
    Family(
        "Kandinsky 2.2, DDPM",
        ddpm,
        halves,
        "an embedding is halved",
        gammas=(4.0,),
        sampler=lambda guidance: sb.Ddpm(sb.Own(N), guidance),
        **HELD,
    ),
]
