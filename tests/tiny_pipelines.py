"""Tiny pipelines of diffusers with random weights, made on the spot and saved as folders: nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

UNET: dict[str, Any] = {"sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
TABLE: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
}
"""DDIM on Stable Diffusion's table, without clipping."""


def lively(module: nn.Module, seed: int = 0) -> nn.Module:
    """All weights drawn anew, so that text and time matter and no layer starts at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.ndim > 1:
                p.copy_(noise / p[0].numel() ** 0.5)
            else:
                p.copy_(noise / 10 + (1 if "norm" in name and name.endswith("weight") else 0))
    return module.eval()


def tokenizer() -> Any:
    """CLIP's, but it knows single bytes only."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({word: i for i, word in enumerate(words)}, [], model_max_length=77)


def text_encoder(seed: int, projected: bool) -> nn.Module:
    """16 numbers a token; projected: and 16 for the whole text, as SDXL's second encoder and SD3's first two give."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    ends = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    sizes = {"hidden_size": 16, "intermediate_size": 32, "projection_dim": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = CLIPTextConfig(vocab_size=514, **sizes, **ends)
    return lively((CLIPTextModelWithProjection if projected else CLIPTextModel)(config), seed)


def vae(**factors: float) -> nn.Module:
    """Latents of 8 x 8 for images of 16 x 16."""
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    sizes = {"block_out_channels": (8, 16), "norm_num_groups": 4, "latent_channels": 4, "sample_size": 16}
    return lively(AutoencoderKL(**blocks, **sizes, **factors), 1)


def conditional_unet(**more: Any) -> nn.Module:
    """A UNet of latents that looks at text."""
    from diffusers import UNet2DConditionModel

    blocks = {
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    }
    return lively(UNet2DConditionModel(**UNET, **blocks, in_channels=4, out_channels=4, attention_head_dim=2, **more), 2)


def pixel(**scheduler: Any) -> Any:
    """DDPM: a UNet of pixels and its scheduler."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    blocks = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
    unet = lively(UNet2DModel(**UNET, **blocks, attention_head_dim=4), 3)
    return DDPMPipeline(unet, DDPMScheduler(clip_sample=False, **scheduler))


def sd(**scheduler: Any) -> Any:
    """Stable Diffusion."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=text_encoder(4, projected=False),
        tokenizer=tokenizer(),
        unet=conditional_unet(cross_attention_dim=16),
        scheduler=DDIMScheduler(**TABLE | scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl(**scheduler: Any) -> Any:
    """Stable Diffusion XL: two text encoders, six time ids; no prompt is zeros."""
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline

    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 40}
    return StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025),
        text_encoder=text_encoder(5, projected=False),
        text_encoder_2=text_encoder(6, projected=True),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=conditional_unet(cross_attention_dim=32, **added),
        scheduler=DDIMScheduler(**TABLE | scheduler),
        add_watermarker=False,
    )


def t5() -> dict[str, Any]:
    """SD3's third text encoder and its tokenizer, which knows single letters only."""
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -1.0) for letter in "abcdefghijklmnopqrstuvwxyz▁")]
    config = T5Config(vocab_size=len(words), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return {"text_encoder_3": lively(T5EncoderModel(config), 10), "tokenizer_3": T5TokenizerFast(words, extra_ids=0)}


def sd3(with_t5: bool = False, **scheduler: Any) -> Any:
    """Stable Diffusion 3, usually without T5."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        out_channels=4,
        pos_embed_max_size=8,
    )
    return StableDiffusion3Pipeline(
        transformer=lively(transformer, 7),
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0} | scheduler),
        vae=vae(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=text_encoder(8, projected=True),
        tokenizer=tokenizer(),
        text_encoder_2=text_encoder(9, projected=True),
        tokenizer_2=tokenizer(),
        **t5() if with_t5 else {"text_encoder_3": None, "tokenizer_3": None},
    )


MAKERS: dict[str, Callable[..., Any]] = {"pixel": pixel, "sd": sd, "sdxl": sdxl, "sd3": sd3}


def save(name: str, folder: Path, **scheduler: Any) -> Path:
    """The pipeline of this name as a folder."""
    MAKERS[name](**scheduler).save_pretrained(folder)
    return folder
