"""Networks that metrics look through; none may be used inside an optimisation that it also judges."""

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..data.shipped import shipped

SHAPES = ((3, 64, 64), (3, 32, 32))
"""Of the pictures that the networks are asked about."""


def weights(name: str) -> dict[str, Tensor]:
    """Tensors of the shipped file weights/<name>.safetensors, as float32. Raises ValueError if it is missing or damaged."""
    return {key: value.to(torch.float32) for key, value in load_file(shipped(f"weights/{name}.safetensors")).items()}
