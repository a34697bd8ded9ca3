"""Any command line gets an answer, any damage is told or mended: tests/anything.py, of which a few are tried in every run."""

import time

import anything
import pytest

from sdi_bench import run

needs_time = pytest.mark.slow


@pytest.mark.parametrize("kind", [pytest.param("lines", marks=pytest.mark.slow), "boundary"])
def test_any_command_line_is_a_plan_or_one_line(kind: str) -> None:
    assert not anything.trial(kind, 5, seed=5)


@pytest.mark.slow
def test_damaged_folders_are_named_or_mended_and_never_believed() -> None:
    assert not anything.folders(3, seed=5)


@needs_time
@pytest.mark.parametrize("seed", range(4))
def test_more_of_them(seed: int) -> None:
    assert (
        not anything.trial("lines", 200, seed) and not anything.trial("boundary", 100, seed) and not anything.folders(15, seed)
    )


@pytest.mark.parametrize(
    "line",
    [
        "probe=[1,2]",  # a choice of a group that is no name: Hydra's TypeError
        "-m experiment=[1]",
        "model=mixture schedule=diffusers",  # an interpolation of what is not there, met in the job
        "--cfg",  # argparse's eight lines
        "--cfg nosuch",
        "-m --cfg results=x",
        "--config-name",
        "--info seeds=0 model=nosuch",
    ],
)
def test_what_once_had_no_answer(line: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = anything.answer(run, line.split(), 60)
    assert (found.status, found.fault) == (2, None)


def test_the_trial_sees_what_is_no_answer(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)

    def broken(*_: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr("sdi_bench.plans.parse_seeds", broken)
    assert "planted" in str(anything.answer(run, anything.DIGITS, 60).fault)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sdi_bench.plans.parse_seeds", lambda _: time.sleep(60))
    assert "no answer" in str(anything.answer(run, anything.DIGITS, 2).fault)
