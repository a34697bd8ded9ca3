"""Stable Diffusion XL."""

import pytest
import tiny_pipelines

from families import Family
from sdi_bench.models.checkpoints.families.stable_diffusion_xl import StableDiffusionXL

time_ids = StableDiffusionXL.time_ids


def no_size(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StableDiffusionXL, "time_ids", lambda self, dtype, width: 0 * time_ids(self, dtype, width))


FAMILIES = [Family("SDXL", tiny_pipelines.sdxl, no_size, "the network is told a size of zero")]
