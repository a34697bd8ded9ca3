"""Z-Image."""

from typing import Any

import pytest
import tiny_pipelines
from tiny_pipelines import lively
from torch import Tensor

from families import Family, qwen_image
from sdi_bench.models.checkpoints.families.z_image import ZImage

forward = ZImage.forward
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
"""How the chat goes that its text encoder was trained on."""


def text_encoder(seed: int, vocab_size: int) -> Any:
    """16 numbers a token."""
    from transformers import Qwen3Config, Qwen3Model

    sizes = {"hidden_size": 16, "intermediate_size": 32, "head_dim": 8, "num_attention_heads": 2, "num_key_value_heads": 1}
    return lively(Qwen3Model(Qwen3Config(**sizes, num_hidden_layers=2, vocab_size=vocab_size)), seed)


def make(**scheduler: Any) -> Any:
    """Latents of 8 x 12 for images of 16 x 24."""
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 16, 16],
    )
    words = qwen_image.tokenizer("<|im_start|>user\n<|im_end|>assistant<think></think>")
    words.chat_template = TEMPLATE
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
        vae=tiny_pipelines.vae(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=text_encoder(3, len(words)),
        tokenizer=words,
        transformer=lively(transformer, 2),
    )


def call(gamma: float) -> dict[str, Any]:
    """Its scale is what goes beyond the conditional output: it guides with cond + scale · (cond - uncond)."""
    return {"guidance_scale": gamma - 1}


def other_time(patch: pytest.MonkeyPatch) -> None:
    def reversed_time(self: ZImage, x: Tensor, timesteps: Tensor, prompts: Any) -> Tensor:
        return forward(self, x, 1000 - timesteps, prompts)

    patch.setattr(ZImage, "forward", reversed_time)


FAMILIES = [
    Family(
        "Z-Image",
        lambda: make(shift=3.0),
        other_time,
        "the network is told a time that runs the other way",
        call,
        settings={"height": 16, "width": 24},
    )
]
