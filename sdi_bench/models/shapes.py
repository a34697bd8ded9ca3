"""A prior whose truth in 3D is known: the optimal denoiser of the views of a few shapes, given the angle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from .. import require
from ..data.cameras import VIEWS
from ..data.world import SIZE, World
from .builtin import CAMERA, angles, scaled
from .local import Local
from .words import Words

NAME = "shape"
"""What the shapes are called in a prompt: all of them alike."""

N_VIEWS = len({camera.azimuth for camera in VIEWS})
"""Of each shape, around it."""


@dataclass(frozen=True)
class Shapes(Local):
    """images: the views of one shape after the other. "shape, 45 degrees" means that view of every shape, with equal weight."""

    @property
    def truths(self) -> Float[Tensor, "shapes views *shape"]:
        """The views of each shape, float64 in [-1, 1], in the order of their angles."""
        return self.seen(self.images).unflatten(0, (-1, N_VIEWS))


def shapes(
    concepts: Sequence[str] = ("armchair",),
    n: int = 1,
    blends: int = 0,
    size: int = 32,
    width: float = 0.02,
    windows: Sequence[Sequence[float]] = ((0.0, SIZE),),
    prompts: Sequence[str] = (NAME,),
) -> Shapes:
    """The first n models of these concepts in the built-in world, of whatever split, from the eight angles around them.

    blends: between each of them and the next, so many mixtures of their pictures in even shares: modes far apart become a chain
    of close ones. They count as shapes.
    windows: as of `builtin.local`; one window over the whole picture gives the optimal denoiser of these views.
    Raises ValueError, naming the field, for concepts that are not there, fewer models of them, or blends of a single one.
    """
    require.count("model.n", n)
    require.count("model.blends", blends, least=0)
    if blends and n == 1:
        raise ValueError(f"model.blends={blends}: there is nothing to blend; model.n must be at least 2")
    world = World.open().where(domain="object")
    for concept in concepts:
        if concept not in set(world.table["concept"]):
            raise ValueError(f"model.concepts: {concept!r} is no object of the built-in world, as armchair, sofa and chair are")
    table = world.table[world.around & world.table["concept"].isin(list(concepts))]
    instances = list(dict.fromkeys(table["instance"]))
    if n > len(instances):
        raise ValueError(f"model.n={n}: there are {len(instances)} models of {', '.join(concepts)}")
    some = table[table["instance"].isin(instances[:n])].sort_values(["instance", "azimuth"])
    chosen = world.rows(some.index.to_numpy())
    images = chained(chosen.images.reshape(n, N_VIEWS, *chosen.images.shape[1:]), blends)
    times = len(images) // N_VIEWS
    views = tuple(chosen.table["view"][:N_VIEWS])
    fields = {"name": (NAME,) * len(images), "view": views * times, CAMERA: angles(chosen)[:N_VIEWS] * times}
    words = Words(fields, dict.fromkeys(fields, 1.0), 0.01, times, len(images))
    return Shapes(images, words, SIZE // size, width, defaults=tuple(prompts), windows=scaled(windows, size))


def chained(shapes: UInt8[np.ndarray, "shapes views 3 h w"], blends: int) -> UInt8[np.ndarray, "pictures 3 h w"]:
    """Each shape's views, and so many blends of them with the next one's after them."""
    if not blends:
        return shapes.reshape(-1, *shapes.shape[2:])
    share = (np.arange(blends + 1) / (blends + 1)).reshape(-1, 1, 1, 1, 1)
    parts = [np.round((1 - share) * a + share * b).astype(np.uint8) for a, b in zip(shapes, shapes[1:], strict=False)]
    return np.concatenate([*parts, shapes[-1:]]).reshape(-1, *shapes.shape[2:])
