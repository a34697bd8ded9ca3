"""Lumina-Image 2."""

import re
from typing import Any

import pytest
from tiny_pipelines import lively
from torch import Tensor

from families import Family
from sdi_bench.models.checkpoints.families.lumina2 import Lumina2

rows_of = Lumina2.rows_of


def tokenizer(known: str) -> Any:
    """Gemma's, but it knows single letters and the words of one text only."""
    from tokenizers import AddedToken
    from transformers import GemmaTokenizer

    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyz▁"]
    found = GemmaTokenizer({word: i for i, word in enumerate(words)}, [], add_bos_token=True)
    found.add_tokens([AddedToken(word, normalized=False) for word in sorted(set(re.findall(r" ?\w{2,}", known)))])
    return found


def text_encoder(seed: int, vocab_size: int) -> Any:
    """16 numbers a token."""
    from transformers import Gemma2Config, Gemma2Model

    sizes = {"hidden_size": 16, "intermediate_size": 32, "head_dim": 8, "num_attention_heads": 2, "num_key_value_heads": 1}
    return lively(Gemma2Model(Gemma2Config(**sizes, num_hidden_layers=2, vocab_size=vocab_size)), seed)


def make(**scheduler: Any) -> Any:
    """Latents of 4 x 8 x 8 for images of 64 x 64: the pipeline counts on 8 pixels a cell."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, Lumina2Pipeline, Lumina2Transformer2DModel

    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    sizes: dict[str, Any] = {
        "block_out_channels": (4, 4, 4, 4),
        "norm_num_groups": 2,
        "latent_channels": 4,
        "layers_per_block": 1,
    }
    vae = AutoencoderKL(**blocks, **sizes, scaling_factor=0.3611, shift_factor=0.1159)
    transformer = Lumina2Transformer2DModel(
        sample_size=8,
        in_channels=4,
        hidden_size=32,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(4, 6, 6),
        axes_lens=(300, 16, 16),
        cap_feat_dim=16,
    )
    pipe = Lumina2Pipeline(
        transformer=lively(transformer, 2),
        scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
        vae=lively(vae, 1),
        text_encoder=None,
        tokenizer=None,
    )
    words = tokenizer(f"{pipe.system_prompt} <Prompt Start> ")
    words.padding_side = "right"
    pipe.register_modules(tokenizer=words, text_encoder=text_encoder(3, len(words)))
    return pipe


def no_mask(patch: pytest.MonkeyPatch) -> None:
    def unmasked(self: Lumina2, prompts: Any) -> list[Tensor]:
        hidden, mask = rows_of(self, prompts)
        return [hidden, mask | 1]

    patch.setattr(Lumina2, "rows_of", unmasked)


def other_lengths(patch: pytest.MonkeyPatch) -> None:
    def of_channels(self: Lumina2, guided: Tensor, conditional: Tensor) -> Tensor:
        return guided * (conditional.norm(dim=1, keepdim=True) / guided.norm(dim=1, keepdim=True))

    patch.setattr(Lumina2, "amended", of_channels)


FAMILIES = [
    Family("Lumina-Image-2", lambda: make(shift=6.0), no_mask, "the network looks at what prompts are filled up with"),
    Family(
        "Lumina-Image-2/dynamic",
        lambda: make(use_dynamic_shifting=True),
        other_lengths,
        "guidance keeps the lengths along the channels",
        gammas=(4.0,),
        settings={"height": 48, "width": 64},
    ),
]
