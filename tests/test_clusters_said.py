"""What ± is over: the clusters of what is compared, of every command the same, and told."""

import sys

import numpy as np
import pandas as pd
import pytest

from sdi_bench import compare, invert
from sdi_bench.draws import Item
from sdi_bench.measuring import clustered
from sdi_bench.models import Empirical


def test_a_distance_counts_the_clusters_that_have_not_diverged() -> None:
    items = [Item(name, 0) for name in "abcdefg"]
    a, b = np.zeros((7, 2)), np.ones((7, 2))
    a[0], b[6] = np.nan, 1e3
    found = compare.distance(a, b, clustered(items))
    assert (found["point"], found["clusters"], found["n_clusters"]) == (1.0, "prompts", 5)
    assert compare.distance(np.full_like(a, np.nan), b, clustered(items))["undefined"] == "every item diverged in one of them"


def test_a_round_trip_is_over_the_clusters_of_its_model(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["invert", "model=digits", "grid.n_levels=3", "seeds=0..4", f"output={tmp_path}"])
    invert.main()
    assert "± is half of a 95 % interval over 5 seeds." in capsys.readouterr().out
    items = [Item(prompt, seed) for seed in range(5) for prompt in Empirical.of().prompts]
    arrays = np.load(tmp_path / "round_trip.npz")
    found = compare.distance(arrays["back"], arrays["source"], clustered(items, Empirical.of()))
    assert (found["clusters"], found["n_clusters"]) == ("seeds", 5)
    assert found["high"] - found["low"] != pytest.approx(0, abs=1e-3)


def test_a_table_begins_with_what_a_row_is() -> None:
    frame = compare.framed([{"run": "a", "measure": "rms", "n_used": 3, "undefined": "nothing is left"}])
    assert list(frame)[:3] == ["run", "measure", "n_used"] and set(compare.VALUE) < set(frame)
    assert list(compare.framed([])) == list(compare.VALUE)
    assert isinstance(frame, pd.DataFrame) and frame["point"].isna().all()
