"""Scenes; one file, one yaml each."""

from .base import Look, Scene, Seen, Solid, surface
from .cameras import Around, Cameras, Rendered, View, Wording
from .image import CoordinateMlp, Image, Pixels
from .volume import Factorised, Volume, Voxel

__all__ = [
    "Around",
    "Cameras",
    "CoordinateMlp",
    "Factorised",
    "Image",
    "Look",
    "Pixels",
    "Rendered",
    "Scene",
    "Seen",
    "Solid",
    "View",
    "Volume",
    "Voxel",
    "Wording",
    "surface",
]
