"""A file a family: how its network is asked."""

from ..folder import DiffusersFolder
from .pixels import Pixels
from .stable_diffusion import StableDiffusion
from .stable_diffusion_3 import StableDiffusion3
from .stable_diffusion_xl import StableDiffusionXL

__all__ = ["KINDS"]

KINDS: dict[str, type[DiffusersFolder]] = {
    "DDPMPipeline": Pixels,
    "DDIMPipeline": Pixels,
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
    "StableDiffusion3Pipeline": StableDiffusion3,
}
"""diffusers' pipelines -> how their networks are asked."""
