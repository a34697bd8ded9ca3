"""The scripts of tests/benchmarks that time checkpoints, on a tiny one: they run, and what they count is right."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sdi_bench

HERE = Path(__file__).parent / "benchmarks"


def script(name: str) -> ModuleType:
    """One of them as a module."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(module: ModuleType, words: str, monkeypatch, capsys) -> str:
    """What it prints."""
    monkeypatch.setattr(sys, "argv", ["script", *words.split()])
    module.main()
    return capsys.readouterr().out


def test_of_a_checkpoint(monkeypatch, capsys) -> None:
    out = said(script("checkpoint"), "--made tiny-sdxl --levels 2 --rounds 1 --samplers ddim sdi", monkeypatch, capsys)
    rows = [line.split() for line in out.splitlines() if line.startswith(("ddim", "sdi"))]
    assert [row[:3] for row in rows] == [[name, "float32", "1"] for name in ("ddim", "sdi")]
    assert [int(row[3]) for row in rows] == [2, 3]  # two levels; sdi inverts once, over a short way
    assert all(float(row[4]) > 0 and float(row[5]) > 0 for row in rows)
    held, weights = (float(word) for word in out.splitlines()[-1].replace(",", "").split() if word.isdigit())
    assert held > weights >= 0


@pytest.mark.slow
def test_beside_itself(monkeypatch, capsys) -> None:
    out = said(script("beside"), f"{Path(sdi_bench.__file__).parents[1]} --levels 2 --rounds 2", monkeypatch, capsys)
    (line,) = [line for line in out.splitlines() if line.startswith("sdi")]
    assert float(line.split("ms a call, now ")[1].split(";")[0]) > 0
