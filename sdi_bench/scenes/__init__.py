"""Scenes; one file, one yaml each."""

from .base import Scene, Seen
from .cameras import Around, Cameras, Rendered, View, Wording
from .image import CoordinateMlp, Image, Pixels
from .volume import Factorised, Volume, Voxel

__all__ = [
    "Around",
    "Cameras",
    "CoordinateMlp",
    "Factorised",
    "Image",
    "Pixels",
    "Rendered",
    "Scene",
    "Seen",
    "View",
    "Volume",
    "Voxel",
    "Wording",
]
