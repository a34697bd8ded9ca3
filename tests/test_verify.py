"""The equivalence suite: the same rows that `python -m sdi_bench.verify` prints."""

import json
import math
from pathlib import Path

import pytest
import torch

from sdi_bench import verify
from sdi_bench.verify.__main__ import main
from sdi_bench.verify.rows import Row, Worst

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", verify.CHECKS)
def test_the_identity_holds(name: str) -> None:
    rows = list(verify.rows(name))
    assert rows
    for row in rows:
        assert row.id.startswith(name)
        assert row.deviation <= row.tolerance, f"{row.id} at {row.worst}: {row.statement}"
        assert row.holds, row
        assert row.why
        assert row.cases > 0


def row_of(worst: Worst, tolerance: float = 1.0) -> Row:
    return worst.row("V0", "", "", tolerance, "")


def test_a_nan_on_either_side_fails_and_cannot_be_outvoted() -> None:
    nan, one = torch.tensor([math.nan]), torch.tensor([1.0])
    for got, expected in ((nan, one), (one, nan), (nan, nan), (one / 0, one / 0)):
        worst = Worst()
        worst.compare("first", one, one)
        worst.compare("bad", got, expected)
        worst.compare("later", one, one + 0.5)
        assert not row_of(worst).holds
        assert row_of(worst).worst == "bad"


def test_nothing_compared_fails() -> None:
    assert not row_of(Worst()).holds
    empty = Worst()
    empty.add("a", torch.empty(0))
    assert not row_of(empty).holds


def test_the_command_prints_rows_and_fails_if_one_fails(monkeypatch, capsys) -> None:
    good = Row("V9a", "a = b", "eq. 0", 3, 30, 1e-16, 1e-15, "rounding", "here")
    bad = Row("V9b", "c = d", "eq. 0", 3, 30, math.nan, 1e-15, "rounding", "there")
    for rows, status in (([good], 0), ([good, bad], 1), ([], 1)):
        monkeypatch.setattr("sdi_bench.verify.__main__.rows", lambda only, full, rows=rows: iter(rows))
        assert main(["--json"]) == status
        assert [row["holds"] for row in json.loads(capsys.readouterr().out)] == [row.holds for row in rows]
        assert main([]) == status
        printed = capsys.readouterr().out
        assert ("FAILS" in printed) == (status == 1 and bool(rows))
