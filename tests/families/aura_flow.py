"""AuraFlow."""

from typing import Any

import pytest
import tiny_pipelines

from families import Family
from sdi_bench.models.checkpoints.families.aura_flow import AuraFlow

rows_of = AuraFlow.rows_of


def umt5() -> dict[str, Any]:
    """The text encoder, and the tokenizer of SD3's."""
    from transformers import UMT5Config, UMT5EncoderModel

    tokenizer = tiny_pipelines.t5()["tokenizer_3"]
    config = UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return {"text_encoder": tiny_pipelines.lively(UMT5EncoderModel(config), 30), "tokenizer": tokenizer}


def tiny() -> Any:
    """AuraFlow of random weights; its table of positions is larger than the picture."""
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, FlowMatchEulerDiscreteScheduler

    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pos_embed_max_size=64,
    )
    return AuraFlowPipeline(
        **umt5(),
        vae=tiny_pipelines.vae(scaling_factor=0.13025),
        transformer=tiny_pipelines.lively(transformer, 31),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    )


def no_padding(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AuraFlow, "rows_of", lambda self, prompts: [hidden[:, :16] for hidden in rows_of(self, prompts)])


FAMILIES = [
    Family("AuraFlow", tiny, no_padding, "a text is without its padding", settings={"height": 16, "width": 24}),
]
