"""FLUX.1."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import tiny_pipelines
from torch import Tensor

from families import Family
from sdi_bench.models import DiffusersFolder
from sdi_bench.models.checkpoints.families.flux import Flux

SIZE = {"height": 16, "width": 24}
rows_of = Flux.rows_of


def tiny(guidance_embeds: bool, **scheduler: Any) -> Any:
    """FLUX.1 of random weights."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(2, 2, 4),
    )
    t5 = tiny_pipelines.t5()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
        vae=tiny_pipelines.vae(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=tiny_pipelines.text_encoder(11, projected=False),
        tokenizer=tiny_pipelines.tokenizer(),
        text_encoder_2=t5["text_encoder_3"],
        tokenizer_2=t5["tokenizer_3"],
        transformer=tiny_pipelines.lively(transformer, 12),
    )


def dev() -> Any:
    """Told a guidance scale; its time is shifted by the size of the picture."""
    return tiny(True, use_dynamic_shifting=True, shift=3.0, base_shift=0.5, max_shift=1.15)


def schnell() -> Any:
    """Told none; its time is not shifted."""
    return tiny(False, shift=1.0)


def true_guidance(**more: float) -> Callable[[float], Mapping[str, Any]]:
    return lambda gamma: {"true_cfg_scale": gamma, "negative_prompt": ["", ""], **more}


def packed(model: DiffusersFolder, x: Tensor) -> Tensor:
    return model.pipe._pack_latents(x, *x.shape)


def unpacked(model: DiffusersFolder, x: Tensor) -> Tensor:
    height, width = (model.factor * side for side in model.sides)
    return model.pipe._unpack_latents(x, height, width, model.factor)


def untold(patch: pytest.MonkeyPatch) -> None:
    """One guidance scale for all."""
    patch.setattr(Flux, "embedded_guidance", 1.0)


def to_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flux, "sigmas", lambda self, n: None)


def no_pooled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Flux,
        "rows_of",
        lambda self, prompts: [each * keep for each, keep in zip(rows_of(self, prompts), (1, 0, 1), strict=True)],
    )


HELD: dict[str, Any] = {"settings": SIZE, "pack": packed, "unpack": unpacked}
FAMILIES = [
    Family("FLUX.1 dev", dev, untold, "the network is told guidance 1", true_guidance(), **HELD),
    Family(
        "FLUX.1 dev, told 8",
        dev,
        no_pooled,
        "the pooled vector is zero",
        true_guidance(guidance_scale=8.0),
        **HELD | {"settings": SIZE | {"embedded_guidance": 8.0}},
    ),
    Family("FLUX.1 schnell", schnell, to_the_end, "the scheduler chooses its levels", true_guidance(), **HELD),
]
