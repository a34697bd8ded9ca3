"""The networks of a recipe, its tokenizer, and the pipeline they make. All of diffusers and transformers, as they are."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .recipe import Haar, Recipe, Text

SCHEDULER: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
}
"""Stable Diffusion 2's, but that the last step ends at the clean picture."""

OLD = "text_model."
"""What names of CLIP's text weights begin with in releases of transformers before 5, which reads both and writes without."""


def tokenizer(text: Text, said: Iterable[str]) -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer with a vocabulary of these captions: their frequent words are a token each."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    bare = CLIPTokenizer({word: i for i, word in enumerate(words)}, [], model_max_length=text.n_tokens)
    return bare.train_new_from_iterator(sorted(set(said)), text.n_words, show_progress=False)


def kept_tokenizer(text: Text, said: Iterable[str], folder: Path) -> CLIPTokenizer:
    """`tokenizer`, kept in a folder: the library breaks ties at random, and a run that goes on needs the words it had."""
    if not folder.is_dir():
        made = tokenizer(text, said)
        made.save_pretrained(folder.with_suffix(".new"))
        folder.with_suffix(".new").rename(folder)
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def save_words(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """The vocabulary also in the two files that older releases of transformers read."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")


def old_names(path: Path) -> None:
    """Text weights under the names that transformers 4 looks for: under others it warns, and makes random ones."""
    save_file({OLD + name.removeprefix(OLD): value for name, value in load_file(path).items()}, path, {"format": "pt"})


def text_encoder(text: Text, words: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text model for these tokens."""
    ends = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    sizes = {"hidden_size": text.width, "intermediate_size": 4 * text.width, "projection_dim": text.width}
    depth = {"num_hidden_layers": text.layers, "num_attention_heads": text.heads, "max_position_embeddings": text.n_tokens}
    return CLIPTextModel(CLIPTextConfig(vocab_size=len(words), **sizes, **depth, **ends))


def codec(recipe: Recipe) -> Any:
    """The autoencoder, not trained, or the patches; its scaling factor is set once it is known."""
    if isinstance(recipe.codec, Haar):
        from ..models.patches import Patches

        return Patches(recipe.codec.factor, block_out_channels=(0,) * recipe.codec.factor.bit_length())
    settings, n = recipe.codec, len(recipe.codec.channels)
    return AutoencoderKL(
        block_out_channels=tuple(settings.channels),
        down_block_types=("DownEncoderBlock2D",) * n,
        up_block_types=("UpDecoderBlock2D",) * n,
        layers_per_block=settings.layers,
        latent_channels=settings.latents,
        norm_num_groups=settings.groups,
        sample_size=recipe.pictures.size,
        mid_block_add_attention=False,
    )


def unet(recipe: Recipe) -> UNet2DConditionModel:
    """The denoiser, not trained."""
    settings, (channels, side, _) = recipe.unet, recipe.shape
    looks = list(settings.attention)
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(settings.channels),
        down_block_types=tuple("CrossAttnDownBlock2D" if look else "DownBlock2D" for look in looks),
        up_block_types=tuple("CrossAttnUpBlock2D" if look else "UpBlock2D" for look in reversed(looks)),
        layers_per_block=settings.layers,
        cross_attention_dim=recipe.text.width,
        # diffusers' attention_head_dim is the number of heads
        attention_head_dim=tuple(max(1, width // settings.head) for width in settings.channels),
        norm_num_groups=settings.groups,
    )


def pipeline(
    codec: nn.Module, text: CLIPTextModel, words: CLIPTokenizer, unet: UNet2DConditionModel
) -> StableDiffusionPipeline:
    """Stable Diffusion of these parts, without a safety checker."""
    made = StableDiffusionPipeline(
        vae=codec,
        text_encoder=text,
        tokenizer=words,
        unet=unet,
        scheduler=DDIMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


def save(pipe: StableDiffusionPipeline, folder: Path) -> None:
    """The pipeline as a folder of float16 weights, which opens in float32; the pipeline's own are rounded to them, too."""
    dtypes = {name: part.dtype for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    for name in dtypes:
        getattr(pipe, name).to(torch.float16)
    pipe.save_pretrained(folder)
    for name, dtype in dtypes.items():
        getattr(pipe, name).to(dtype)
    save_words(pipe.tokenizer, folder / "tokenizer")
    old_names(folder / "text_encoder" / "model.safetensors")
    said = folder / "text_encoder" / "config.json"  # transformers opens in the dtype that stands here, diffusers in float32
    said.write_text(json.dumps(json.loads(said.read_text()) | {"dtype": "float32"}, indent=2, sort_keys=True) + "\n")
