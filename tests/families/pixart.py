"""PixArt-alpha and PixArt-Sigma."""

from collections.abc import Mapping
from typing import Any

import pytest
import tiny_pipelines

from families import Family
from sdi_bench.models.checkpoints.families.pixart import PixArtAlpha, PixArtSigma

TABLE: dict[str, Any] = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
added_of, rows_of = PixArtAlpha.added_of, PixArtSigma.rows_of


def parts(**sizes: Any) -> dict[str, Any]:
    """All but the scheduler; the network's variance is learned."""
    from diffusers import PixArtTransformer2DModel

    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=24,
        caption_channels=32,
        **sizes,
    )
    text_encoder, tokenizer = tiny_pipelines.t5().values()
    network = tiny_pipelines.lively(transformer, 20)
    return {"tokenizer": tokenizer, "text_encoder": text_encoder, "vae": tiny_pipelines.vae(), "transformer": network}


def alpha() -> Any:
    """Told its resolution; as published, of order 1 for DDIM."""
    from diffusers import DPMSolverMultistepScheduler, PixArtAlphaPipeline

    return PixArtAlphaPipeline(**parts(sample_size=128), scheduler=DPMSolverMultistepScheduler(**TABLE, solver_order=1))


def sigma() -> Any:
    """Not told it."""
    from diffusers import DDIMScheduler, PixArtSigmaPipeline

    return PixArtSigmaPipeline(**parts(sample_size=8), scheduler=DDIMScheduler(**TABLE, clip_sample=False))


def call(gamma: float) -> Mapping[str, Any]:
    return {"guidance_scale": gamma, "use_resolution_binning": False}


def square(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        PixArtAlpha,
        "added_of",
        lambda self, rows: {**added_of(self, rows), "aspect_ratio": 0 * added_of(self, rows)["aspect_ratio"] + 1},
    )


def no_mask(patch: pytest.MonkeyPatch) -> None:
    def unmasked(self: PixArtSigma, prompts: Any) -> list[Any]:
        hidden, mask = rows_of(self, prompts)
        return [hidden, 0 * mask + 1]

    patch.setattr(PixArtSigma, "rows_of", unmasked)


FAMILIES = [
    Family("PixArt-alpha", alpha, square, "the aspect ratio is 1", call, settings={"height": 16, "width": 24}),
    Family("PixArt-Sigma", sigma, no_mask, "the text has no mask", call),
]
