"""Ground truth in 3D: some twenty CC0 models with a colour at every vertex, posed as `cameras` has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from .shipped import shipped

STEPS = 65535
"""Stored coordinates are whole numbers: 0 is -1, STEPS is 1."""


@dataclass(frozen=True)
class Mesh:
    """Triangles inside the unit sphere, +Y up, front to +Z; sRGB colours, unlit; instance, concept: as of the pictures."""

    vertices: Float64[np.ndarray, "n 3"]
    faces: Int64[np.ndarray, "m 3"]
    colours: UInt8[np.ndarray, "n 3"]
    instance: str
    concept: str


@cache
def open_meshes() -> Mapping[str, Mesh]:
    """name -> mesh, in alphabetical order; accurate to 1/STEPS."""
    with np.load(shipped("meshes.npz")) as file:
        return MappingProxyType(
            {
                str(name): Mesh(
                    vertices=file[f"{name}/vertices"] * (2 / STEPS) - 1,
                    faces=file[f"{name}/faces"].astype(np.int64),
                    colours=file[f"{name}/colours"],
                    instance=str(instance),
                    concept=str(concept),
                )
                for name, instance, concept in file["index"]
            }
        )
