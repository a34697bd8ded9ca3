"""A tiny Stable Diffusion's weights under the names, and in the shapes, in which the first one was published (CompVis's)."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

WEIGHTS = "diffusion_pytorch_model.safetensors"
LAYERS = 1
"""Of a block, in `tiny_pipelines`."""

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
VAE = {
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "group_norm": "norm",
}


def replaced(key: str, names: dict[str, str]) -> str:
    for new, old in names.items():
        key = key.replace(f"{new}.", f"{old}.")
    return key


def unet(keys: list[str]) -> dict[str, str]:
    """diffusers' key -> the original's."""
    blocks = {}
    for i in range(2):
        for j in range(LAYERS + 1):
            blocks[f"down_blocks.{i}.resnets.{j}"] = f"input_blocks.{(LAYERS + 1) * i + j + 1}.0"
            blocks[f"down_blocks.{i}.attentions.{j}"] = f"input_blocks.{(LAYERS + 1) * i + j + 1}.1"
            blocks[f"up_blocks.{i}.resnets.{j}"] = f"output_blocks.{(LAYERS + 1) * i + j}.0"
            blocks[f"up_blocks.{i}.attentions.{j}"] = f"output_blocks.{(LAYERS + 1) * i + j}.1"
        blocks[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{(LAYERS + 1) * (i + 1)}.0.op"
        attends = any(f"up_blocks.{i}.attentions" in key for key in keys)
        blocks[f"up_blocks.{i}.upsamplers.0.conv"] = f"output_blocks.{(LAYERS + 1) * i + LAYERS}.{1 + attends}.conv"
    found = {key: replaced(key, UNET | blocks) for key in keys}
    return {key: replaced(name, RESNET) if ".resnets." in key else name for key, name in found.items()}


def vae(keys: list[str]) -> dict[str, str]:
    """diffusers' key -> the original's."""
    blocks = {}
    for i in range(2):
        for j in range(LAYERS + 1):
            blocks[f"down_blocks.{i}.resnets.{j}"] = f"down.{i}.block.{j}"
            blocks[f"up_blocks.{i}.resnets.{j}"] = f"up.{1 - i}.block.{j}"
        blocks[f"down_blocks.{i}.downsamplers.0.conv"] = f"down.{i}.downsample.conv"
        blocks[f"up_blocks.{i}.upsamplers.0.conv"] = f"up.{1 - i}.upsample.conv"
    return {key: replaced(key, VAE | blocks) for key in keys}


def original(folder: Path) -> dict[str, Tensor]:
    """All weights of the pipeline in a folder, for one file."""
    networks, codec = load_file(folder / "unet" / WEIGHTS), load_file(folder / "vae" / WEIGHTS)
    words = load_file(folder / "text_encoder" / "model.safetensors")
    found = {f"model.diffusion_model.{name}": networks[key] for key, name in unet(list(networks)).items()}
    for key, name in vae(list(codec)).items():
        attends = "attentions" in key and key.endswith("weight") and codec[key].ndim == 2
        found[f"first_stage_model.{name}"] = codec[key][:, :, None, None].contiguous() if attends else codec[key]
    for key, tensor in words.items():
        found[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = tensor
    return found
