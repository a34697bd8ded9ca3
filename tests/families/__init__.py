"""Families of checkpoints, a file each: a tiny pipeline with random weights, and how the pipeline's own call is asked.

`FAMILIES` of every file here is tried by tests/test_families.py and measured by tests/family_rows.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import sdi_bench as sb
from sdi_bench.draws import Item
from sdi_bench.models import DiffusersFolder
from sdi_bench.samplers import Sampler

N = 10
"""Levels of a path."""

Turn = Callable[[DiffusersFolder, Tensor], Tensor]
"""[batch, *shape] -> what the pipeline's call and its scheduler hold, or back."""


def same(model: DiffusersFolder, x: Tensor) -> Tensor:
    return x


def told(gamma: float) -> Mapping[str, Any]:
    return {"guidance_scale": gamma}


@dataclass(frozen=True, eq=False)
class Family:
    """make: the pipeline. call: what its call is told at a guidance scale, beside prompts, latents and the number of steps.

    items: what is sampled, a prompt and a seed each. gammas: guidance scales. settings: of `DiffusersFolder.of`. sampler: ours
    that does what the pipeline's scheduler does. pack, unpack: between ours and the latents that its call takes.
    pipe: what is called, and has the scheduler. n: levels. shown: the pictures that its call gives, in [0, 1].
    plant: breaks a convention of ours, so that the row turns red; why it does.
    """

    name: str
    make: Callable[[], Any]
    plant: Callable[[pytest.MonkeyPatch], None]
    why: str
    call: Callable[[float], Mapping[str, Any]] = told
    items: tuple[Item, ...] = (Item("a cat", 0), Item("two dogs", 1))
    gammas: tuple[float, ...] = (1.0, 3.0)
    settings: Mapping[str, Any] = field(default_factory=dict)
    sampler: Callable[[sb.Guidance], Sampler] = lambda guidance: sb.Ddim(sb.Own(N), guidance)
    pack: Turn = same
    unpack: Turn = same
    shown: Callable[[Any], Any] = lambda pictures: pictures
    pipe: Callable[[DiffusersFolder], Any] = lambda model: model.pipe
    n: int = N


def files() -> list[list[Family]]:
    """Those of each file."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    return [import_module(f"families.{name}").FAMILIES for name in names]


def families() -> list[Family]:
    """All of them."""
    return [family for each in files() for family in each]


def each(*names: str) -> pytest.MarkDecorator:
    """Of a test: these in every run, the others when slow ones are asked for. Without names the first of each file."""
    usual = set(names) or {found[0].name for found in files()}
    marks = {family.name: () if family.name in usual else pytest.mark.slow for family in families()}
    found = [pytest.param(family, id=family.name, marks=marks[family.name]) for family in families()]
    return pytest.mark.parametrize("family", found)
