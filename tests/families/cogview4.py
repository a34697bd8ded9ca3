"""CogView4."""

from typing import Any

import pytest
import tiny_pipelines

from families import Family
from sdi_bench.draws import Item
from sdi_bench.models.checkpoints.families.cogview4 import CogView4
from sdi_bench.models.checkpoints.folder import DiffusersFolder

LONG = (Item("a cat on a red mat", 0), Item("two dogs in a green park", 1))
"""Of 32 tokens each, a letter a token; no prompt has 16."""


def glm() -> dict[str, Any]:
    """The text encoder, and a tokenizer of single letters that puts two marks before a text and pads it there."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import GlmConfig, GlmModel, PreTrainedTokenizerFast

    words = ["<|endoftext|>", "<unk>", "[gMASK]", "<sop>", *"abcdefghijklmnopqrstuvwxyz "]
    whole = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    whole.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    whole.post_processor = processors.TemplateProcessing("[gMASK] <sop> $A", special_tokens=[("[gMASK]", 2), ("<sop>", 3)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=whole, pad_token="<|endoftext|>", unk_token="<unk>", padding_side="left"
    )
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8}
    config = GlmConfig(vocab_size=len(words), num_key_value_heads=1, pad_token_id=0, eos_token_id=0, **sizes)
    return {"tokenizer": tokenizer, "text_encoder": tiny_pipelines.lively(GlmModel(config), 40)}


def tiny(**scheduler: Any) -> Any:
    """CogView4 of random weights."""
    from diffusers import CogView4Pipeline, CogView4Transformer2DModel, FlowMatchEulerDiscreteScheduler

    transformer = CogView4Transformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        text_embed_dim=16,
        time_embed_dim=16,
        condition_dim=8,
        sample_size=16,
        rope_axes_dim=(16, 16),
    )
    return CogView4Pipeline(
        **glm(),
        vae=tiny_pipelines.vae(scaling_factor=0.9),
        transformer=tiny_pipelines.lively(transformer, 41),
        scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
    )


def dynamic() -> Any:
    """Its time is shifted by the size of the picture, as published."""
    return tiny(use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75, time_shift_type="linear")


def static() -> Any:
    """Its time is shifted by a number of the scheduler's."""
    return tiny(shift=3.0)


def told_sigma(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CogView4, "timestep", DiffusersFolder.timestep)


def filled_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CogView4, "forward", CogView4.of_one_length)


FAMILIES = [
    Family("CogView4", dynamic, told_sigma, "the network is told the shifted time", settings={"height": 16, "width": 48}),
    Family("CogView4, long texts", static, filled_up, "short texts are filled up", items=LONG, gammas=(3.0, 6.0)),
]
