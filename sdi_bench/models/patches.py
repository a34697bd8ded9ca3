"""Pixels as latents: orthonormal Haar patches in the place of a VAE, so that a pipeline of latents works on pixels.

diffusers finds this class by the name that model_index.json gives, wherever sdi_bench is installed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


class Exactly(NamedTuple):
    """A posterior without spread."""

    mean: Tensor

    def mode(self) -> Tensor:
        """The only value."""
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The only value."""
        return self.mean


class Encoded(NamedTuple):
    """As diffusers' AutoencoderKLOutput."""

    latent_dist: Exactly


def haar(k: int) -> Float[Tensor, "k k"]:
    """The orthonormal Haar basis of k numbers, k a power of 2, rows from coarse to fine."""
    basis = torch.ones(1, 1, dtype=torch.float64)
    while len(basis) < k:
        coarse = torch.kron(basis, torch.tensor([[1.0, 1.0]], dtype=torch.float64))
        fine = torch.kron(torch.eye(len(basis), dtype=torch.float64), torch.tensor([[1.0, -1.0]], dtype=torch.float64))
        basis = torch.cat([coarse, fine]) / 2**0.5
    return basis


class Patches(ModelMixin, ConfigMixin):
    """patch x patch pixels of 3 channels <-> 3·patch² channels of one cell, an isometry: no pixel is lost, distances stay.

    patch: 2, 4 or 8. scaling_factor: as of a VAE, the pipeline's latents are scaling_factor times these.
    """

    config_name = "config.json"
    basis: Tensor

    @register_to_config
    def __init__(
        self, patch: int = 2, out_channels: int = 3, scaling_factor: float = 1.0, block_out_channels: Sequence[int] = (0, 0)
    ) -> None:
        super().__init__()
        square = torch.kron(haar(patch), haar(patch)).reshape(patch**2, 1, patch, patch)
        self.register_buffer("basis", square.to(torch.float32))

    def kernel(self, like: Tensor) -> Tensor:
        """The basis for each colour apart, in the dtype at hand."""
        return self.basis.to(like).repeat(self.config.out_channels, 1, 1, 1)

    def encode(self, pixels: Float[Tensor, "n 3 h w"], return_dict: bool = True) -> Any:
        """As AutoencoderKL.encode."""
        mean = functional.conv2d(pixels, self.kernel(pixels), stride=self.config.patch, groups=self.config.out_channels)
        return Encoded(Exactly(mean)) if return_dict else (Exactly(mean),)

    def decode(
        self, latents: Float[Tensor, "n c h w"], return_dict: bool = True, generator: torch.Generator | None = None
    ) -> Any:
        """As AutoencoderKL.decode."""
        made = functional.conv_transpose2d(
            latents, self.kernel(latents), stride=self.config.patch, groups=self.config.out_channels
        )
        if not return_dict:
            return (made,)
        from diffusers.models.autoencoders.vae import DecoderOutput

        return DecoderOutput(sample=made)
