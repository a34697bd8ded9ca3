"""Stable Diffusion 3."""

import pytest
import tiny_pipelines

from families import Family
from sdi_bench.models.checkpoints.families.stable_diffusion_3 import StableDiffusion3

rows_of = StableDiffusion3.rows_of


def no_pooled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        StableDiffusion3,
        "rows_of",
        lambda self, prompts: [each * keep for each, keep in zip(rows_of(self, prompts), (1, 0), strict=True)],
    )


FAMILIES = [Family("SD3", tiny_pipelines.sd3, no_pooled, "the pooled vector is zero")]
