"""Scenes and schedules on a device that is not the CPU's, which is pretended: a tensor made without a device is found."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from pretend import DEVICE, Pretend

import sdi_bench as sb
from sdi_bench.draws import PhiloxDraws, items_of
from sdi_bench.predictor import Cost
from sdi_bench.sampling import Job
from sdi_bench.scenes import CoordinateMlp, Factorised, Pixels, Scene, Voxel, surface
from sdi_bench.schedules import Karras, RectifiedFlow, scaled_linear

ITEMS = tuple(items_of(["a"], [0, 1]))


NET = sb.Network(lambda x, t, prompts: 0.9 * x, (3, 8, 8))


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """A device that is none."""
    with Pretend():
        yield torch.device(DEVICE)


@pytest.mark.parametrize("scene", [CoordinateMlp(), Pixels(), Voxel(resolutions=[4], n_samples=4), Factorised(resolution=4)])
def test_a_scene_stays_where_its_parameters_are(scene: Scene) -> None:
    with elsewhere() as device:
        draws = PhiloxDraws(ITEMS, device)
        params = scene.init(NET, draws, len(ITEMS)).to(device)
        view = scene.view(draws, 1)
        seen = scene.see(params, view, NET)
        assert seen.x0.device == device
        assert seen.pull(torch.ones_like(seen.x0)).device == device
        assert scene.pictures(params, NET).device == device
    again = scene.init(NET, PhiloxDraws(ITEMS), len(ITEMS))
    here = scene.view(PhiloxDraws(ITEMS), 1)
    assert torch.equal(scene.see(again, here, NET).x0, torch.Tensor.cpu(seen.x0))


@pytest.mark.parametrize("schedule", [scaled_linear(), Karras(), RectifiedFlow()])
def test_a_level_is_where_it_was_asked_for(schedule) -> None:
    with elsewhere() as device:
        sigma = torch.tensor([0.5, 2.0], dtype=torch.float64, device=device)
        for level in (schedule.at_sigma(sigma), schedule.level(torch.tensor([0.2, 0.7], device=device))):
            assert {part.device for part in (level.a, level.b, level.t)} == {device}


def midpoint() -> Any:
    """CONTRIBUTING's sampler, from there."""
    code = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text().split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {"__package__": "sdi_bench.samplers", "__name__": "sdi_bench.samplers"}
    exec(code, scope)
    return scope["Midpoint"](sb.UniformT(4))


@pytest.mark.parametrize("sampler", [sb.Ddim(sb.UniformT(4)), sb.Heun(sb.UniformT(4)), midpoint()])
def test_a_sampler_stays_where_its_network_is(sampler: Any) -> None:
    *_, here = Job(NET, sampler, scaled_linear()).states(ITEMS, Cost())
    with elsewhere() as device:
        *_, last = Job(NET, sampler, scaled_linear(), str(device)).states(ITEMS, Cost())
        assert last.x0.device == device
    assert torch.equal(last.x0, here.x0)


def test_a_surface_is_found_from_parameters_elsewhere() -> None:
    scene = Voxel(resolutions=[4], n_samples=8, bias=3.0, n_views=8)
    with elsewhere() as device:
        found = surface(scene, torch.zeros(1, scene.n_params, device=device), size=8)
    assert len(found) and (surface(scene, torch.zeros(1, scene.n_params), size=8) == found).all()
