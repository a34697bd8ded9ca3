"""What a run keeps of its way is what its states say, whatever the batch, and costs no network row, no wait and no bit."""

import inspect
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pretend import DEVICE, Pretend
from test_report import sweep

import sdi_bench as sb
from sdi_bench import jobs, trace
from sdi_bench.draws import Item, items_of
from sdi_bench.models import Empirical
from sdi_bench.predictor import Cost
from sdi_bench.samplers import Sampler, State
from sdi_bench.samplers.distillation import Annealed, Distillation
from sdi_bench.sampling import Job
from sdi_bench.schedules import scaled_linear
from sdi_bench.store import RunFolder, Shard

ITEMS = items_of(["3", "8"], range(3))
GRID = sb.UniformT(9)
SAMPLERS: dict[str, Sampler] = {"ddim": sb.Ddim(GRID), "sds": Distillation(Annealed(GRID))}


def states(name: str, items: list[Item] = ITEMS) -> list[State]:
    return list(Job(Empirical.of(), SAMPLERS[name], scaled_linear()).states(items, Cost()))


def kept(found: list[State], module: Any = trace) -> dict[str, np.ndarray]:
    made = module.Trace(len(found))
    for state in found:
        made.see(state)
    return made.arrays()


def check(found: list[State], arrays: dict[str, np.ndarray]) -> None:
    """Of DDIM, kappa is the prediction before and the gradient what x0 loses (arXiv 2405.15891, eq. 10); of SDS with full
    steps the same gradient, and kappa is the one that was drawn. float32: 1e-6; float16 of all 64 pixels: 1e-3.
    """
    for k, (before, state) in enumerate(zip(found, found[1:], strict=False)):
        gradient = (before.x0 - state.x0).flatten(1)
        noise = (before.eps if state.kappa is None else state.kappa).flatten(1)
        parts = torch.stack([gradient, noise, state.eps.flatten(1) - noise], dim=1)
        assert arrays["index"][k] == k + 1
        assert np.allclose(arrays["sigma"][:, k], float(state.level.sigma[0]))
        assert np.allclose(arrays["rms"][:, k], parts.square().mean(dim=2).sqrt(), rtol=1e-6, atol=1e-9)
        assert np.allclose(arrays["values"][:, k], parts[:, :2], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_is_kept_is_what_the_states_say(name: str) -> None:
    found = states(name)
    check(found, kept(found))


@pytest.mark.parametrize(
    ("name", "was", "planted"),
    [
        ("ddim", "eps - gradient / sigma[..., None]", "eps + gradient / sigma[..., None]"),
        ("ddim", "gradient = noise - gradient", "gradient = gradient - noise"),
        ("sds", "(state.gradient, state.kappa)", "(state.gradient, state.eps)"),
        ("sds", "math.sqrt(eps.shape[2])", "eps.shape[2]"),
    ],
)
def test_a_planted_bug_is_seen(name: str, was: str, planted: str) -> None:
    source = inspect.getsource(trace)
    assert source.count(was) == 1
    wrong = ModuleType("sdi_bench.trace")
    wrong.__dict__["__package__"] = "sdi_bench"
    exec(source.replace(was, planted), wrong.__dict__)
    found = states(name)
    with pytest.raises(AssertionError):
        check(found, kept(found, wrong))


def test_an_items_trace_is_its_own_and_goes_on_where_it_was_broken_off() -> None:
    found = states("sds")
    whole = kept(found)
    alone = kept(states("sds", ITEMS[4:5]))
    for name in ("sigma", "rms", "values"):
        assert np.allclose(whole[name][4:5], alone[name], rtol=1e-5, atol=1e-6)
    first = trace.Trace(len(found))
    for state in found[:5]:
        first.see(state)
    second = trace.Trace(len(found), first.arrays())
    for state in found[5:]:
        second.see(state)
    for name, array in second.arrays().items():
        assert array.dtype == whole[name].dtype and np.array_equal(array, whole[name])


def test_many_states_and_large_pictures_keep_little(monkeypatch) -> None:
    monkeypatch.setattr(trace, "AT_ONCE", 1)  # each state is worked out at once
    level = scaled_linear().level(torch.tensor([0.5], dtype=torch.float64))
    draw = torch.Generator().manual_seed(0)
    made = trace.Trace(1001)
    x0, kappa = torch.randn(2, 2, 4, 64, 64, generator=draw, dtype=torch.float64)
    for k in range(1001):
        made.see(State(k, level, x0, x0, kappa, gradient=x0))
    arrays = made.arrays()
    assert len(arrays["index"]) == trace.LEVELS and arrays["index"][-1] == 1000
    assert sum(array.nbytes for array in arrays.values()) < 2 * 10_000  # 10 KB an item
    assert np.allclose(arrays["rms"][:, :, 1], 1, atol=0.05)
    for shape in ((4, 64, 64), (1, 10, 10), (3, 32, 32), (2,)):
        places = range(math.prod(shape))[trace.spread_over(shape)]
        columns = {k % shape[-1] for k in places}
        assert len(places) <= trace.VALUES and len(columns) > 0.4 * shape[-1]  # whole rows apart they would meet one column
        assert places[-1] > 0.9 * (math.prod(shape) - 1)


def test_a_device_is_not_waited_for() -> None:
    with Pretend() as device:
        x0 = torch.ones(2, 3, 8, 8, dtype=torch.float64, device=DEVICE)
        level = scaled_linear().level(torch.tensor([0.5], device=DEVICE, dtype=torch.float64))
        made, before = trace.Trace(9), (device.copies, device.waits)
        for k in range(9):
            made.see(State(k, level, x0, x0, x0, gradient=x0))
        assert (device.copies, device.waits) == before
        arrays = made.arrays()
        assert device.waits <= before[1] + 3
    assert np.allclose(arrays["rms"][:, :, 0], 1)


def test_samples_names_and_rows_are_those_of_a_run_without(tmp_path: Path, monkeypatch) -> None:
    words = ("model=digits", "sampler=sds", "prompt=[3]", "seeds=0..2", "reference=null", "metric=[contrast]")
    with_it = sweep(tmp_path / "with", *words)
    monkeypatch.setattr(jobs.Trace, "see", lambda self, state: None)
    without = sweep(tmp_path / "without", *words)
    (one,), (other,) = (sorted(folder.glob("digits*")) for folder in (with_it, without))
    assert one.name == other.name
    runs = RunFolder(one), RunFolder(other)
    (items,) = runs[0].chunks()
    a, b = (run.read_shard(items) for run in runs)
    assert np.array_equal(a.images, b.images) and a.rows == b.rows
    assert runs[0].read_trace(items)["values"].shape == (3, 5, 2, 64) and runs[1].read_trace(items) == {}


def test_a_shard_of_before_opens(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "old")
    run.write_shard(Shard(tuple(ITEMS), np.zeros((6, 1, 8, 8)), {}, 1.0, 1.0))
    assert run.read_trace(ITEMS) == {} and len(run.read_shard(ITEMS).images) == 6
