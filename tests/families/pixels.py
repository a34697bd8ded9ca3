"""DDPM and DDIM, on pixels."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines

import sdi_bench as sb
from families import Family, Item, N
from sdi_bench.models.checkpoints.families.pixels import Pixels
from sdi_bench.models.checkpoints.folder import DiffusersFolder


def ddim() -> Any:
    from diffusers import DDIMPipeline

    return DDIMPipeline(**tiny_pipelines.pixel().components)


class Flat:
    """A pipeline that is saved as the oldest folders are (google/ddpm-cifar10-32): its one network beside model_index.json."""

    def save_pretrained(self, folder: Path) -> None:
        from diffusers import UNet2DModel

        pipe = tiny_pipelines.pixel()
        blocks = {name: pipe.unet.config[name] for name in ("down_block_types", "up_block_types")}
        old = {"flip_sin_to_cos": False, "freq_shift": 1, "downsample_padding": 0, "attention_head_dim": None}
        pipe.unet = tiny_pipelines.lively(UNet2DModel(**tiny_pipelines.UNET, **blocks, **old), 14)
        pipe.save_pretrained(folder, safe_serialization=False)
        for part in ("unet", "scheduler"):
            for file in (folder / part).iterdir():
                shutil.move(file, folder)
            (folder / part).rmdir()
        path = folder / "scheduler_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"clip_sample": True}))


def early(patch: pytest.MonkeyPatch) -> None:
    timestep = DiffusersFolder.timestep
    patch.setattr(Pixels, "timestep", lambda self, level: timestep(self, level) + 1)


def told(gamma: float) -> dict[str, Any]:
    return {"batch_size": 2}


def by_ddpm(guidance: sb.Guidance) -> sb.Ddpm:
    return sb.Ddpm(sb.Own(N), guidance)


UNCONDITIONAL: dict[str, Any] = {"call": told, "items": (Item(None, 0), Item(None, 1)), "gammas": (1.0,)}

FAMILIES = [
    Family("DDIM", ddim, early, "time is one entry late", **UNCONDITIONAL),
    Family("DDPM", tiny_pipelines.pixel, early, "time is one entry late", sampler=by_ddpm, **UNCONDITIONAL),
    Family("DDPM, flat folder", Flat, early, "time is one entry late", sampler=by_ddpm, **UNCONDITIONAL),
]
