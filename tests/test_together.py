"""Runs that ask their model together get what each would get alone, for fewer calls."""

import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from commands import exit_status
from test_sweeps import SMALL, images
from torch import Tensor

from sdi_bench import run, together
from sdi_bench.draws import Item
from sdi_bench.grids import UniformT
from sdi_bench.guidance import Guidance
from sdi_bench.levels import Level, abreast
from sdi_bench.models import Empirical, Network
from sdi_bench.models.base import Conds, Denoiser, Prediction
from sdi_bench.noise import Inversion
from sdi_bench.predictor import Cost
from sdi_bench.samplers import Annealed, Ddim, Distillation, RandomT
from sdi_bench.sampling import Job
from sdi_bench.schedules import scaled_linear

GUIDED = Guidance(3.0)
SAMPLERS = {
    "ddim": Ddim(UniformT(12), guidance=GUIDED),
    "sds": Distillation(Annealed(UniformT(6)), guidance=GUIDED),
    "sdi": Distillation(Annealed(UniformT(5)), noise=Inversion(guidance_scale=0.0), guidance=GUIDED),
    "each row at its own level": Distillation(RandomT(n_steps=7), guidance=GUIDED),
    "without guidance": Ddim(UniformT(9)),
}
Found = tuple[Tensor, Cost]


def forward(x: Tensor, t: Tensor, prompts: Sequence[str | None]) -> Tensor:
    """A network whose answer depends on all that it is told."""
    words = torch.tensor([len(prompt or "") for prompt in prompts], dtype=x.dtype).reshape(-1, 1, 1, 1)
    return torch.tanh(x.flip(-1) * (1 + t.to(x.dtype).reshape(-1, 1, 1, 1)) + 0.1 * words)


def items_of(k: int, n: int) -> list[Item]:
    """Of the k-th run: n of them, other ones than those of the other runs."""
    return [Item(str((k + i) % 10), 10 * k + i) for i in range(n)]


def sampled(model: Denoiser, name: str, k: int) -> Found:
    """The last x0 of a run, and what it cost; runs differ in their numbers of items."""
    cost = Cost()
    for state in Job(model, SAMPLERS[name], scaled_linear()).states(items_of(k, k + 1), cost):
        last = state.x0
    return last, cost


def runs() -> list[Callable[[Denoiser], Found]]:
    return [partial(sampled, name=name, k=k) for k, name in enumerate(SAMPLERS)]


def counted(model: Denoiser, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each call of the model, its rows."""
    calls: list[int] = []
    plain = type(model).predict

    def predict(self: Denoiser, x: Tensor, level: Level, conds: Conds) -> Prediction:
        calls.append(len(x) * len(conds))
        return plain(self, x, level, conds)

    monkeypatch.setattr(type(model), "predict", predict)
    return calls


def test_a_model_in_closed_form_answers_the_same_and_is_called_less_often(monkeypatch) -> None:
    model = Empirical.of(width=0.2)
    calls = counted(model, monkeypatch)
    alone = [each(model) for each in runs()]
    n_alone, rows = len(calls), sum(calls)
    calls.clear()
    met = together.together(model, runs())
    for (x0, cost), (other, spent) in zip(alone, met, strict=True):
        torch.testing.assert_close(other, x0, rtol=0, atol=1e-12)  # sums of a batch of another size
        assert cost == spent
    assert sum(calls) == rows
    assert len(calls) < 0.6 * n_alone, "of guided and unguided rows a call each"


def test_a_network_is_told_each_rows_own_level_and_prompt() -> None:
    model = Network(forward, (1, 8, 8), dtype=torch.float64)
    for name, (x0, cost), (other, spent) in zip(
        SAMPLERS, [each(model) for each in runs()], together.together(model, runs()), strict=True
    ):
        assert cost == spent
        torch.testing.assert_close(other, x0, rtol=0, atol=1e-10, msg=name)


def test_levels_lie_one_after_the_other() -> None:
    schedule = scaled_linear()
    one, three = schedule.level(0.5), schedule.level(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
    found = abreast([one, three], [2, 3])
    assert found.t.tolist() == [0.5, 0.5, 0.1, 0.2, 0.3] and found.told is None
    assert torch.equal(found.sigma[:2], one.sigma.expand(2)) and torch.equal(found.sigma[2:], three.sigma)
    told = abreast([replace(one, told=one.t), replace(three, told=10 * three.t)], [2, 3]).told
    assert told is not None and told.tolist() == [0.5, 0.5, *(10 * three.t).tolist()]


def test_seconds_of_a_call_are_shared_by_rows(monkeypatch) -> None:
    """A run is charged for its own rows; the rest of a call it has waited."""
    model, now = Empirical.of(width=0.2), 0.0
    monkeypatch.setattr(together, "clock", lambda _: now)
    meeting = together.Meeting(model, 2)
    asked = [together.Question(torch.zeros(n, *model.shape), scaled_linear().level(0.5), [["3"] * n]) for n in (1, 3)]
    plain = type(model).predict

    def predict(*given: object) -> Prediction:
        nonlocal now
        now += 8.0
        return plain(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(type(model), "predict", predict)
    meeting.reply(asked)
    assert [question.took for question in asked] == [2.0, 6.0]


def test_what_cannot_be_asked_at_once_is_asked_one_by_one_and_only_the_bad_one_fails() -> None:
    def picky(x: Tensor, t: Tensor, prompts: Sequence[str | None]) -> Tensor:
        if "7" in prompts:
            raise RuntimeError("no such word")
        return forward(x, t, prompts)

    model, ends = Network(picky, (1, 8, 8)), []

    def one(model: Denoiser, prompt: str) -> None:
        net = Job(model, Ddim(UniformT(4)), scaled_linear())
        if prompt == "7":
            with pytest.raises(RuntimeError, match="no such word"):
                next(net.states([Item(prompt, 0)], Cost()))
            return
        for _ in net.states([Item(prompt, 0)], Cost()):
            pass
        ends.append(prompt)

    together.together(model, [partial(one, prompt=prompt) for prompt in ("3", "7", "5")])
    assert sorted(ends) == ["3", "5"]


def test_where_one_run_cannot_go_on_the_others_end() -> None:
    ended = []

    def long(model: Denoiser) -> None:
        try:
            for _ in Job(model, Ddim(UniformT(200)), scaled_linear()).states([Item("3", 0)], Cost()):
                pass
        except KeyboardInterrupt:
            ended.append("stopped")
            raise

    def broken(model: Denoiser) -> None:
        for state in Job(model, Ddim(UniformT(200)), scaled_linear()).states([Item("3", 0)], Cost()):
            if state.index == 3:
                raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        together.together(Empirical.of(width=0.2), [long, broken, long])
    assert ended == ["stopped", "stopped"]


def test_a_gradient_is_of_its_own_run() -> None:
    model = Network(forward, (1, 8, 8), dtype=torch.float64)

    def slope(model: Denoiser, value: float) -> Tensor:
        x = torch.full((1, 1, 8, 8), value, dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            model.predict(x, scaled_linear().level(0.5), [["3"]]).eps.square().sum().backward()
        assert x.grad is not None
        return x.grad

    alone = [slope(model, value) for value in (0.1, 0.2)]
    met = together.together(model, [partial(slope, value=value) for value in (0.1, 0.2)])
    assert all(torch.equal(a, b) for a, b in zip(alone, met, strict=True))


def test_a_sweep_makes_the_same_runs(tmp_path, monkeypatch) -> None:
    words = ["-m", *SMALL, "sampler=sds,sdi,ddim", "seeds=0..4"]
    for n in (1, 2, 3):
        assert exit_status(monkeypatch, run.main, *words, f"together={n}", f"results={tmp_path / str(n)}") == 0
    ours = images(tmp_path / "1")
    for n in (2, 3):
        theirs = images(tmp_path / str(n))
        assert ours.keys() == theirs.keys() and all(np.allclose(ours[shard], theirs[shard], 0, 1e-12) for shard in ours)


def test_one_run_and_its_reference_ask_together_too(tmp_path, monkeypatch) -> None:
    words = [*[word for word in SMALL if word != "reference=null"], "sampler=sds", "seeds=0..4", "reference.grid.n_levels=9"]
    for n in (1, 2):
        assert exit_status(monkeypatch, run.main, *words, f"together={n}", f"results={tmp_path / str(n)}") == 0
    ours, theirs = images(tmp_path / "1"), images(tmp_path / "2")
    assert len(ours) == 2 and ours.keys() == theirs.keys()
    assert all(np.allclose(ours[shard], theirs[shard], 0, 1e-12) for shard in ours)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["together=0"], "together=0: must be a whole number >= 1"),
        (["together=two"], "together='two': must be a whole number >= 1"),
        (["together=2", "hydra/launcher=submitit_local"], "together=2: runs ask together that one process makes"),
    ],
)
def test_what_cannot_be_is_refused(words, why, tmp_path, monkeypatch, capsys) -> None:
    if "hydra/launcher=submitit_local" in words:
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    assert exit_status(monkeypatch, run.main, "-m", *SMALL, "sampler=sds,ddim", *words, f"results={tmp_path}") == 2
    assert why in capsys.readouterr().err


def test_runs_take_turns() -> None:
    """What one does between its calls takes no time from another, nor is it charged to it."""
    now = [0, 0]

    def one(model: Denoiser) -> None:
        for _ in range(5):
            model.predict(torch.zeros(1, *model.shape), scaled_linear().level(0.5), [["3"]])
            now[0] += 1
            now[1] = max(now)
            time.sleep(0.002)
            now[0] -= 1

    together.together(Empirical.of(width=0.2), [one, one, one])
    assert now == [0, 1]


@dataclass
class Small:
    """A model that has room for four rows."""

    shape: tuple[int, ...] = (1, 2, 2)
    prompts: tuple[str, ...] = ()
    fingerprint: str = ""
    calls: list[int] = field(default_factory=list)
    held: Any = None

    def predict(self, x: Tensor, level: Level, conds: Conds) -> Prediction:
        assert self.held is None or self.held() is None, "what the failed call had is still held"
        self.calls.append(len(x) * len(conds))
        layer = x.clone()
        if len(x) > 4:
            self.held = weakref.ref(layer)
            raise torch.OutOfMemoryError
        return Prediction(layer[None], layer[None])

    def check_prompt(self, prompt: str | None) -> None:
        """Anything goes."""


def test_what_does_not_fit_at_once_is_not_tried_again() -> None:
    def three_times(model: Denoiser, n: int) -> None:
        for _ in range(3):
            found = model.predict(torch.full((n, 1, 2, 2), float(n)), scaled_linear().level(0.5), [["3"] * n])
            assert found.eps.shape == (1, n, 1, 2, 2) and bool((found.eps == n).all())

    small = Small()
    together.together(small, [partial(three_times, n=n) for n in (2, 3)])
    assert small.calls[0] == 5 and sorted(small.calls[1:]) == [2, 2, 2, 3, 3, 3]


def test_whatever_a_call_raises_nobody_waits_for_ever() -> None:
    class Ends(Small):
        def predict(self, *_: object) -> Prediction:
            raise SystemExit(5)

    with pytest.raises(SystemExit):
        together.together(Ends(), runs()[:2])


@pytest.mark.parametrize(
    "more", [["seeds=[0,1,2],[5,6,7]"], ["seeds=0..129", "hydra.sweeper.shards=1"], ["seeds=0..99", "n_items=64,80"]]
)
def test_jobs_of_one_run_do_not_meet(more, tmp_path, monkeypatch) -> None:
    """They write into one folder."""
    for n in (1, 3):
        words = ["-m", *SMALL, "sampler=ddim,sds", *more, f"together={n}", f"results={tmp_path / str(n)}"]
        assert exit_status(monkeypatch, run.main, *words) == 0
    ours, theirs = images(tmp_path / "1"), images(tmp_path / "3")
    assert len(ours) >= 4 and ours.keys() == theirs.keys()
    assert all(np.allclose(ours[shard], theirs[shard], 0, 1e-12) for shard in ours)
