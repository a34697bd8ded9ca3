"""HunyuanDiT."""

from collections.abc import Mapping
from string import ascii_lowercase
from typing import Any

import pytest
import tiny_pipelines

from families import Family
from sdi_bench.models.checkpoints.families.hunyuan_dit import HunyuanDiT

rotary = HunyuanDiT.rotary


def bert() -> dict[str, Any]:
    """The first text encoder and its tokenizer, which knows single letters only."""
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ascii_lowercase, *("##" + letter for letter in ascii_lowercase)]
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    encoder = tiny_pipelines.lively(BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=77, **sizes)), 40)
    return {"text_encoder": encoder, "tokenizer": BertTokenizer({word: i for i, word in enumerate(words)})}


def vae() -> Any:
    """Eight pixels a cell, as the pipeline has it."""
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    sizes = {"block_out_channels": (4, 4, 4, 8), "norm_num_groups": 2, "latent_channels": 4, "sample_size": 64}
    return tiny_pipelines.lively(AutoencoderKL(**blocks, **sizes, scaling_factor=0.13025), 41)


def hunyuan(**more: Any) -> Any:
    """With the published scheduler's table, for DDIM."""
    from diffusers import DDIMScheduler, HunyuanDiT2DModel, HunyuanDiTPipeline

    transformer = HunyuanDiT2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        patch_size=2,
        sample_size=8,
        hidden_size=16,
        num_layers=4,
        mlp_ratio=2.0,
        cross_attention_dim=16,
        cross_attention_dim_t5=32,
        pooled_projection_dim=16,
        **more,
    )
    text_encoder, tokenizer = tiny_pipelines.t5().values()
    table = tiny_pipelines.TABLE | {"beta_end": 0.03, "prediction_type": "v_prediction"}
    return HunyuanDiTPipeline(
        vae=vae(),
        **bert(),
        transformer=tiny_pipelines.lively(transformer, 42),
        scheduler=DDIMScheduler(**table),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder_2=text_encoder,
        tokenizer_2=tokenizer,
    )


def newer() -> Any:
    """Version 1.2, which is not told sizes."""
    return hunyuan(use_style_cond_and_image_meta_size=False)


def call(gamma: float) -> Mapping[str, Any]:
    return {"guidance_scale": gamma, "use_resolution_binning": False}


def no_size(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HunyuanDiT, "sizes", [0] * 6)


def no_places(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HunyuanDiT, "rotary", lambda self: [0 * each for each in rotary(self)])


FAMILIES = [
    Family("HunyuanDiT", hunyuan, no_size, "the network is told a size of zero", call),
    Family("HunyuanDiT/1.2", newer, no_places, "no places of patches", call, settings={"height": 64, "width": 96}),
]
