"""FLUX.2."""

from collections.abc import Mapping
from typing import Any

import pytest
import tiny_pipelines
import torch
from torch import Tensor

from families import Family
from sdi_bench.models import DiffusersFolder
from sdi_bench.models.checkpoints.families.flux2 import Flux2

SIZE = {"height": 16, "width": 24}
WORDS = ["[INST]", "[/INST]", "<pad>"]
CHAT = (
    "{% for one in messages %}[INST]{{ one['role'] }} "
    "{{ one['content'] if one['content'] is string else one['content'][0]['text'] }}[/INST]{% endfor %}"
)
"""A template of conversations, which have text alone or a list of parts."""

mu, rows_of = Flux2.mu, Flux2.rows_of


def letters() -> dict[str, int]:
    """A vocabulary of single bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    return {word: i for i, word in enumerate([*sorted(ByteLevel.alphabet()), *WORDS])}


def sizes(layers: int) -> dict[str, Any]:
    """Of a language model whose hidden states are looked at up to this one."""
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8}
    return {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": layers, "vocab_size": len(letters()), **heads}


def mistral() -> dict[str, Any]:
    """FLUX.2 dev's text encoder, and a tokenizer in the place of its processor, which would need torchvision."""
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration, Qwen2Tokenizer

    seeing = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 8}
    config = Mistral3Config(
        text_config={"model_type": "mistral", **sizes(30)},
        vision_config={"model_type": "pixtral", "image_size": 28, "patch_size": 14, **seeing},
    )
    words = Qwen2Tokenizer(letters(), [], pad_token="<pad>", chat_template=CHAT, padding_side="left")
    return {"text_encoder": tiny_pipelines.lively(Mistral3ForConditionalGeneration(config), 13), "tokenizer": words}


def qwen() -> dict[str, Any]:
    """FLUX.2 klein's text encoder and tokenizer."""
    from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

    words = Qwen2Tokenizer(letters(), [], pad_token="<pad>", chat_template=CHAT)
    return {"text_encoder": tiny_pipelines.lively(Qwen3ForCausalLM(Qwen3Config(**sizes(27))), 14), "tokenizer": words}


def tiny(guidance_embeds: bool) -> dict[str, Any]:
    """What all FLUX.2 have, with random weights."""
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel

    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    vae = AutoencoderKLFlux2(**blocks, block_out_channels=(8, 16), norm_num_groups=4, latent_channels=4, sample_size=16)
    generator = torch.Generator().manual_seed(15)
    vae.bn.running_mean.copy_(torch.randn(16, generator=generator))
    vae.bn.running_var.copy_(torch.rand(16, generator=generator) + 0.5)
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_guidance_channels=16,
        axes_dims_rope=(2, 2, 2, 2),
        guidance_embeds=guidance_embeds,
    )
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        "vae": tiny_pipelines.lively(vae, 16),
        "transformer": tiny_pipelines.lively(transformer, 17),
    }


def dev() -> Any:
    """Told a guidance scale."""
    from diffusers import Flux2Pipeline

    return Flux2Pipeline(**tiny(True), **mistral())


def klein() -> Any:
    """Told none."""
    from diffusers import Flux2KleinPipeline

    return Flux2KleinPipeline(**tiny(False), **qwen())


def klein_kv() -> Any:
    """The one that remembers pictures it is given; here it is given none."""
    from diffusers import Flux2KleinKVPipeline

    return Flux2KleinKVPipeline(**tiny(False), **qwen())


def none(gamma: float) -> Mapping[str, Any]:
    """As the pipeline has it."""
    return {}


def unpacked(model: DiffusersFolder, x: Tensor) -> Tensor:
    return x.mT.reshape(len(x), *model.shape)


def at_fifty(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flux2, "mu", lambda self, n: mu(self, 50))


def untold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flux2, "embedded_guidance", 1.0)


def no_places(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Flux2, "rows_of", lambda self, prompts: [each * keep for each, keep in zip(rows_of(self, prompts), (1, 0), strict=True)]
    )


HELD: dict[str, Any] = {"settings": SIZE, "unpack": unpacked}
FAMILIES = [
    Family("FLUX.2 dev", dev, at_fifty, "time is shifted as for 50 levels", none, gammas=(1.0,), **HELD),
    Family(
        "FLUX.2 dev, told 8",
        dev,
        untold,
        "the network is told guidance 1",
        lambda gamma: {"guidance_scale": 8.0},
        gammas=(1.0,),
        **HELD | {"settings": SIZE | {"embedded_guidance": 8.0}},
    ),
    Family("FLUX.2 klein", klein, no_places, "words have no places", **HELD),
    Family("FLUX.2 klein KV", klein_kv, at_fifty, "time is shifted as for 50 levels", none, gammas=(1.0,), **HELD),
]
