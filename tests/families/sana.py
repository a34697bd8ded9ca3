"""Sana."""

from collections.abc import Mapping
from string import ascii_lowercase
from typing import Any

import pytest
import tiny_pipelines
from torch import Tensor

from families import Family
from sdi_bench.models.checkpoints.families.sana import Sana

FLOW: dict[str, Any] = {
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 3.0,
}
"""The published scheduler's."""
rows_of = Sana.rows_of


def gemma() -> dict[str, Any]:
    """A text encoder and its tokenizer, which knows single letters only."""
    from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *ascii_lowercase]
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    config = Gemma2Config(vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, **heads)
    tokenizer = GemmaTokenizer({word: i for i, word in enumerate(words)}, add_bos_token=True)
    return {"text_encoder": tiny_pipelines.lively(Gemma2Model(config), 30), "tokenizer": tokenizer}


def dc_ae() -> Any:
    """Latents of 16 x 16 for images of 32 x 32."""
    from diffusers import AutoencoderDC

    sides = [f"{side}_{name}" for side in ("encoder", "decoder") for name in ("layers_per_block", "block_out_channels")]
    sizes: dict[str, Any] = dict(zip(sides, [(1, 1), (8, 16)] * 2, strict=True))
    views = {"encoder_qkv_multiscales": ((), (5,)), "decoder_qkv_multiscales": ((), (5,))}
    blocks = dict.fromkeys(("encoder_block_types", "decoder_block_types"), ("ResBlock", "EfficientViTBlock"))
    model = AutoencoderDC(latent_channels=4, attention_head_dim=8, scaling_factor=0.41407, **sizes, **views, **blocks)
    return tiny_pipelines.lively(model, 31)


def sana(scheduler: Any, **more: Any) -> Any:
    """With this scheduler."""
    from diffusers import SanaPipeline, SanaTransformer2DModel

    heads = {"num_attention_heads": 2, "attention_head_dim": 8, "num_cross_attention_heads": 2, "cross_attention_head_dim": 8}
    sizes = {"in_channels": 4, "out_channels": 4, "num_layers": 2, "cross_attention_dim": 16, "caption_channels": 16}
    transformer = tiny_pipelines.lively(SanaTransformer2DModel(sample_size=16, **sizes, **heads, **more), 32)
    return SanaPipeline(**gemma(), vae=dc_ae(), transformer=transformer, scheduler=scheduler)


def published() -> Any:
    """With the published scheduler, of order 1 for Euler."""
    from diffusers import DPMSolverMultistepScheduler

    return sana(DPMSolverMultistepScheduler(**FLOW, solver_order=1))


def euler() -> Any:
    """With the scheduler of flows, and time in other units."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return sana(FlowMatchEulerDiscreteScheduler(shift=3.0), timestep_scale=0.5, interpolation_scale=1)


def call(gamma: float) -> Mapping[str, Any]:
    return {"guidance_scale": gamma, "use_resolution_binning": False}


def sized(gamma: float) -> Mapping[str, Any]:
    return {**call(gamma), "height": 32, "width": 32}


def no_instruction(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Sana, "default", lambda self, name: None)


def no_mask(patch: pytest.MonkeyPatch) -> None:
    def unmasked(self: Sana, prompts: Any) -> list[Tensor]:
        hidden, mask = rows_of(self, prompts)
        return [hidden, 0 * mask + 1]

    patch.setattr(Sana, "rows_of", unmasked)


FAMILIES = [
    Family("Sana", published, no_instruction, "the text encoder is not instructed", sized),
    Family("Sana/Euler", euler, no_mask, "the text has no mask", call, settings={"height": 32, "width": 64}),
]
