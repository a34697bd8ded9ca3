"""Qwen-Image."""

import re
from typing import Any

import pytest
from tiny_pipelines import lively
from torch import Tensor

from families import Family
from sdi_bench.models import DiffusersFolder
from sdi_bench.models.checkpoints.families.qwen_image import QwenImage

rows_of = QwenImage.rows_of
SCHEDULER: dict[str, Any] = {
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 0.9,
    "base_image_seq_len": 256,
    "max_image_seq_len": 8192,
    "shift_terminal": 0.02,
}
"""As the published checkpoint has it."""


def tokenizer(known: str) -> Any:
    """Qwen's, but it knows single bytes and the words of one text only."""
    from tokenizers import AddedToken
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    letters = ["<|endoftext|>", *sorted(ByteLevel.alphabet())]
    found = Qwen2Tokenizer({letter: i for i, letter in enumerate(letters)}, [], model_max_length=2048)
    words = sorted(set(re.findall(r"<\|\w+\|>|\n| ?\w+|[^\w\s]", known)))
    found.add_tokens([AddedToken(word, normalized=False) for word in words])
    return found


def text_encoder(seed: int, vocab_size: int) -> Any:
    """16 numbers a token."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    text = {**sizes, "num_hidden_layers": 2, "vocab_size": vocab_size, "rope_parameters": rope}
    ends: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    config = Qwen2_5_VLConfig(text_config={**text, **ends}, vision_config=vision)
    return lively(Qwen2_5_VLForConditionalGeneration(config), seed)


def make(**scheduler: Any) -> Any:
    """Latents of 8 x 12 for images of 32 x 48."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )

    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[-0.7571, -0.7089, 0.9113, 0.1075],
        latents_std=[2.8184, 1.4541, 2.3275, 0.6558],
    )
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    pipe = QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
        vae=lively(vae, 1),
        text_encoder=None,
        tokenizer=None,
        transformer=lively(transformer, 2),
    )
    words = tokenizer(pipe.prompt_template_encode)
    pipe.register_modules(tokenizer=words, text_encoder=text_encoder(3, len(words)))
    return pipe


def call(gamma: float) -> dict[str, Any]:
    return {"true_cfg_scale": gamma, "negative_prompt": [" ", " "]}


def pack(model: DiffusersFolder, x: Tensor) -> Tensor:
    return model.pipe._pack_latents(x, *x.shape)


def unpack(model: DiffusersFolder, packed: Tensor) -> Tensor:
    return model.pipe._unpack_latents(packed, *model.image_shape[1:], model.pipe.vae_scale_factor)[:, :, 0]


def no_mask(patch: pytest.MonkeyPatch) -> None:
    def unmasked(self: QwenImage, prompts: Any) -> list[Tensor]:
        hidden, mask = rows_of(self, prompts)
        return [hidden, mask | True]

    patch.setattr(QwenImage, "rows_of", unmasked)


def no_lengths(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(QwenImage, "amended", lambda self, guided, conditional: guided)


SIZE = {"settings": {"height": 32, "width": 48}}
COMMON: dict[str, Any] = {"call": call, "pack": pack, "unpack": unpack, **SIZE}
FAMILIES = [
    Family(
        "Qwen-Image",
        lambda: make(**SCHEDULER),
        no_mask,
        "the network looks at what shorter prompts are filled up with",
        **COMMON,
    ),
    Family("Qwen-Image/shift", lambda: make(shift=3.0), no_lengths, "guidance changes lengths", gammas=(4.0,), **COMMON),
]
