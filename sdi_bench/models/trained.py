"""The trained prior that ships, or another that `sdi_bench.train` made: a diffusers folder of which the data are known."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import Float
from torch import Tensor

from ..data.shipped import HERE, shipped, sums
from ..data.world import World
from ..guidance import Prompt
from . import builtin
from .checkpoints import DiffusersFolder
from .checkpoints.families.stable_diffusion import StableDiffusion
from .checkpoints.opening import folder_of
from .local import WeightedImages

SHIPPED = "trained"
"""Its folder, beside the built-in world."""

RECIPE = "recipe.yaml"
"""What a folder was made by; `sdi_bench.train` leaves it there."""


@dataclass(frozen=True)
class Trained(StableDiffusion):
    """Stable Diffusion trained on a part of the built-in world.

    concepts: what it has seen; a prompt must name one. real: the world's pictures that a prompt means, as the model `builtin`
    has them: both are measured against the same. defaults: the prompts that are sampled when none is asked for.
    """

    concepts: tuple[str, ...] = field(kw_only=True)
    real: WeightedImages = field(repr=False, compare=False, kw_only=True)
    defaults: tuple[str, ...] = field(kw_only=True)

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.defaults

    def check_prompt(self, prompt: Prompt) -> None:
        said = (prompt or "").lower()
        if prompt is None or any(re.search(rf"\b{re.escape(concept)}(s|es)?\b", said) for concept in self.concepts):
            return
        near = [match for word in re.findall(r"\w+", said) for match in get_close_matches(word, self.concepts, n=1, cutoff=0.8)]
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"prompt={prompt!r}: {hint}it names none of the {len(self.concepts)} things that this model was trained on: "
            f"{', '.join(self.concepts[:8])}, ..."
        )

    def data(self, prompts: Sequence[Prompt], rng: np.random.Generator) -> Float[Tensor, "batch *image_shape"]:
        """As `HasData.data`: val pictures of this caption where there are any, else training pictures that fit the words."""
        return self.real.data(prompts, rng)

    def unseen(self, prompts: Sequence[Prompt]) -> bool:
        """As `HasData.unseen`."""
        return self.real.unseen(prompts)


def trained(
    path: str | Path | None = None,
    size: int = 32,
    prompts: Sequence[str] = (),
    dtype: str = "float32",
    device: str = "cpu",
) -> Trained:
    """The prior that ships, its files checked against SHA256SUMS, or another that `sdi_bench.train` made.

    size: pixels of its pictures. Raises ValueError, naming the field, if it does not open or is of another size.
    """
    if isinstance(prompts, str) or not isinstance(prompts, Sequence):
        raise ValueError(f"model.prompts={prompts!r}: must be a list of prompts")
    folder = ours() if path is None else folder_of(path)
    base = DiffusersFolder.of(folder, dtype, device)
    if not isinstance(base, StableDiffusion) or not (folder / RECIPE).is_file():
        raise ValueError(f"model.path={str(path)!r}: not made by sdi_bench.train (no {RECIPE}); use model=diffusers")
    if base.image_shape[1] != size:
        raise ValueError(f"model.size={size!r}: this model makes pictures of {base.image_shape[1]} pixels")
    domain = yaml.safe_load((folder / RECIPE).read_text())["pictures"]
    table = World.open().where("train", domain.get("domain")).table
    concepts = tuple(sorted(domain.get("concepts") or set(table["concept"])))
    parts = (base.pipe, base.dtype, base.device, base.at_first)
    return Trained(*parts, concepts=concepts, real=builtin.weighted_images(size), defaults=tuple(prompts))


@cache
def ours() -> Path:
    """The folder that ships, once all its files have been found right. Raises ValueError, naming the file, otherwise."""
    listed = [name for name in sums() if name.startswith(f"{SHIPPED}/")]
    if not listed:
        raise ValueError(f"{HERE / SHIPPED}: not in SHA256SUMS; install the package anew")
    for name in listed:
        shipped(name)
    return HERE / SHIPPED
