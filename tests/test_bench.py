"""python -m sdi_bench.bench: what it counts is right, and bad input is a line. No time is held to."""

import json
import sys

import pytest
import torch

from sdi_bench import bench
from sdi_bench.grids import UniformT
from sdi_bench.models import Network
from sdi_bench.samplers import Annealed, Ddim, Distillation
from sdi_bench.sweeps import preflight


@pytest.fixture(autouse=True)
def one_thread_here_alone():
    n = torch.get_num_threads()
    yield
    torch.set_num_threads(n)


def test_a_row_is_a_picture_once_and_a_run_takes_longer_than_its_calls(monkeypatch) -> None:
    """By a clock that says what it is told: a second for all between two looks at it."""
    looks = iter(range(10**6))  # a second from look to look
    monkeypatch.setattr(bench.time, "process_time", lambda: float(next(looks)))
    model = Network(lambda x, t, prompts: 0 * x, (1, 2, 2))
    found = bench.rows_a_second({"exact": (model, ())}, [1, 6])
    assert found == {"exact": {"1": 1.0, "6": 6.0}}  # a batch a second
    # a run that asks n times looks 2n times between its ends: 2n + 1 seconds, n of them within the calls
    loops = bench.overheads({"ddim": Ddim(UniformT(4)), "sds": Distillation(Annealed(UniformT(3)))}, 0.001)
    assert [(of["rows"], of["overhead"]) for of in loops.values()] == [(4, 9 / 4), (3, 7 / 3), (50, 101 / 50)]
    assert list(loops) == ["ddim", "sds", bench.HAND]


def test_of_objects_each_step_counts_and_sds_is_one(monkeypatch, tmp_path) -> None:
    """Two items of two samplers, a second a step: as long as each other, and SDI of twice the rows and more."""
    words = [
        "model=digits",
        "prompt=[3,8]",
        "seeds=[0]",
        "guidance.scale=3",
        "grid.n_levels=6",
        "reference=null",
        "metric=[]",
        f"results={tmp_path}",
    ]
    plans = [plan for name in ("sds", "sdi") for (plan,) in preflight([*words, f"sampler={name}"])]
    looks = iter(range(10**6))
    monkeypatch.setattr(bench.time, "process_time", lambda: float(next(looks)))
    found = bench.objects_of(plans)
    assert list(found) == list(bench.SOLID[:2])
    first, second = found.values()
    assert first == {"seconds": 2.5, "times": 1.0, "rows": 12.0} and second["times"] == 1 and second["rows"] > 24
    text = bench.shown(
        {"size": 8, "ms": 1, "rows a second": {"a": {"1": 1.0}}, "loops": {}, "objects": {"number": 2, "by": found}}, {}
    )
    assert "2 objects at once" in text and "sds                      2.5    1.00      12" in text


def test_objects_are_those_of_the_table() -> None:
    plans = bench.solid(3)
    assert [len(plan.items) for plan in plans] == [3] * len(bench.SOLID)
    assert [plan.place for plan in plans] == [("objects", name) for name in bench.SOLID]


def test_what_is_compiled_is_held_against_what_is_not(monkeypatch) -> None:
    """By a clock that goes by the network's calls: two seconds, one once it is compiled."""
    now, compiled = 0.0, []

    class Slow(torch.nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor, prompts: object) -> torch.Tensor:
            nonlocal now
            now += 1.0 if compiled else 2.0
            return 0 * x

    network = Network(Slow(), (1, 2, 2))
    monkeypatch.setattr(bench, "trained", lambda: network)
    monkeypatch.setattr(bench.time, "process_time", lambda: now)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: compiled.append(how))
    found = bench.by_compiler([1, 3])
    assert found.pop("seconds") >= 0 and found == {"1": 2.0, "3": 2.0} and compiled == [{"dynamic": False}]
    rows = {"size": 8, "ms": 1, "rows a second": {"a": {"1": 1.0}}, "loops": {}}
    text = bench.shown(rows | {"torch.compile": found | {"seconds": 7}}, {})
    assert "torch.compile makes 2.00 (1), 2.00 (3) times the trained prior's rows a second (batch), after 7 s" in text

    def fails_later() -> torch.Tensor:
        if len(compiled) > 1:
            raise RuntimeError("no compiler\nat all")
        return torch.zeros(1)

    monkeypatch.setattr(bench, "asked_at", lambda *_: [fails_later])
    with pytest.raises(ValueError, match=r"compiled=true: torch\.compile fails here: no compiler$"):
        bench.by_compiler([1])


def test_another_day_is_held_against_where_both_have_a_figure() -> None:
    day = {"size": 32, "rows a second": {"a": {"1": 10.0, "8": 40.0}, "b": {"1": 5.0}}}
    today = {"size": 32, "rows a second": {"a": {"1": 30.0}, "c": {"1": 1.0}}, "loops": {}, "ms": 5.0}
    beside = bench.ratios(today, day)
    assert beside == {"a, 1": 3.0} and "30 (3.00x)" in bench.shown(today, beside)
    with pytest.raises(ValueError, match="made at size=64"):
        bench.ratios(today, day | {"size": 64})


def test_table_json_and_figure(monkeypatch, capsys, tmp_path) -> None:
    found = {
        "size": 32,
        "ms": 5.0,
        "rows a second": {"builtin, prompt": {"1": 10.0, "8": 40.0}},
        "loops": {"ddim": {"rows": 50.0, "overhead": 1.01}},
    }
    monkeypatch.setattr(bench, "measured", lambda *_: found)
    monkeypatch.setattr(sys, "argv", ["bench", f"out={tmp_path}"])
    assert bench.main() == 0
    assert json.loads((tmp_path / "bench.json").read_text()) == found and (tmp_path / "bench.png").stat().st_size > 1000
    assert "1.010" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["bench", f"against={tmp_path / 'bench.json'}"])
    assert bench.main() == 0 and "(1.00x)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("batch=3", "batch=3: no such setting; there are batches="),
        ("batches=0", "batches=0"),
        ("ms=x", "ms=x: must be numbers"),
        ("ms=-1", "ms=-1.0"),
        ("size=20", "model.size=20"),
        ("compiled=yes", "compiled='yes': must be true or false"),
        ("against=nowhere.json", "must be a bench.json"),
    ],
)
def test_bad_input_is_a_line_and_status_2(monkeypatch, capsys, word, said) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", word])
    assert bench.main() == 2
    err = capsys.readouterr().err
    assert err.startswith("sdi_bench.bench: ") and said in err and err.count("\n") == 1
