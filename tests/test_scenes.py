"""Scenes: what is initialised is what is seen, and a gradient of the image is pulled back by the adjoint of the rendering."""

import pytest
import torch
from torch.autograd.functional import vjp

from sdi_bench import scenes
from sdi_bench.scenes import Image, Scene

ALL = [c() for c in vars(scenes).values() if isinstance(c, type) and hasattr(c, "render") and c is not Scene]
each = pytest.mark.parametrize("scene", ALL, ids=lambda scene: type(scene).__name__)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_image_is_among_the_scenes() -> None:
    assert Image() in ALL and all(isinstance(scene, Scene) for scene in ALL)


@each
def test_a_scene_shows_what_it_was_made_from(scene: Scene) -> None:
    x0 = draw(3, 1, 4, 4)
    assert torch.equal(scene.render(scene.init(x0)), x0)


@each
def test_pull_is_the_adjoint_of_the_rendering_s_derivative(scene: Scene) -> None:
    params, slope = scene.init(draw(2, 1, 4, 4)), draw(2, 1, 4, 4, seed=1)
    pulled = scene.pull(params, slope)
    torch.testing.assert_close(pulled, vjp(scene.render, params, slope)[1])
    # and against differences: <slope, render(p + h·d) - render(p - h·d)> / 2h = <pull(slope), d>; rounding 1e-16/h
    direction, h = draw(*params.shape, seed=2), 1e-4
    moved = (scene.render(params + h * direction) - scene.render(params - h * direction)) / (2 * h)
    assert float((slope * moved).sum()) == pytest.approx(float((pulled * direction).sum()), abs=1e-9)
