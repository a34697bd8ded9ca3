"""The claims table: what is measured decides, and what is not measured says so."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from analysis import claims  # noqa: E402
from analysis.runs import Runs  # noqa: E402
from sdi_bench.draws import items_of  # noqa: E402
from sdi_bench.store import Listed, RunFolder, write_index  # noqa: E402

ITEMS = items_of([f"p{i}" for i in range(10)], range(2))
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    """One run that probed three kappas: b is 0.5 ± 0.1 above a, c is a but for rounding; the last place is worse for all."""
    folder = tmp_path_factory.mktemp("runs")
    a = RNG.normal(1, 0.3, (len(ITEMS), 4))
    residual = np.exp(np.stack([a, a + 0.5 + RNG.normal(0, 0.1, a.shape), a + RNG.normal(0, 1e-6, a.shape)], axis=2))
    residual[:, 3] *= 10
    run = RunFolder(folder / "run")
    run.write_probed(ITEMS, {"residual": residual}, {})
    run.write_text("config.yaml", yaml.safe_dump({"probe": {"kappas": {"a": 1, "b": 2, "c": 3}}}))
    write_index(folder, [Listed("residual toy", "path", "path", 1.0, run)])
    return Runs(folder)


def said(a: str, b: str, expects: str, **more) -> dict:
    sides = {"a": {"row": "path", "kappa": a}, "b": [{"row": "path", "kappa": b}]}
    return {"tiers": ["residual toy"], "array": "residual", "log": True, **sides, "expects": expects, **more}


@pytest.mark.parametrize(
    ("claim", "want"),
    [
        (said("a", "b", "lower"), "holds"),
        (said("b", "a", "lower"), "does not hold"),
        (said("a", "c", "lower"), "not distinguishable"),
        (said("a", "c", "equal", margin=0.1), "holds"),
        (said("a", "b", "equal", margin=0.1), "does not hold"),
    ],
)
def test_the_difference_decides(runs, claim, want) -> None:
    (row,) = claims.probed(claim, runs)
    assert row["outcome"] == want
    if {claim["a"]["kappa"], claim["b"][0]["kappa"]} == {"a", "b"}:
        assert abs(row["point"]) == pytest.approx(0.5, abs=0.05)


def test_p_values_are_held_together(runs) -> None:
    claim = said("a", "b", "lower")
    claim["b"] = [{"row": "path", "kappa": "b"}, {"row": "path", "kappa": "c"}]
    alone = claims.probed(said("a", "b", "lower"), runs)[0]["p"]
    assert claims.probed(claim, runs)[0]["p"] == pytest.approx(2 * alone)


def test_what_is_missing_is_said_and_the_rest_is_made(runs, tmp_path) -> None:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "verify.txt").write_text("V1a   holds   2.6   16   30  text\n")
    asked = [
        {"says": "one", "where": "x", "identity": ["V1a"]},
        {"says": "two", "where": "x", "evaluated": {"nowhere": "a claim"}},
        {"says": "three", "where": "x", "probe": said("a", "nothing", "lower")},
    ]
    frame = claims.table(asked, runs, tmp_path)
    assert frame["outcome"].tolist() == ["by construction", "not measured", "not measured"]
    assert frame["point"][0] == pytest.approx(2.6 / 16)
    assert "python -m sdi_bench.evaluate experiment=nowhere" in frame["what"][1]
    assert "kappa='nothing'" in frame["what"][2]
    assert "not measured" in claims.text(frame)


def test_tiers_of_another_experiment_are_judged_apart_and_rows_without_runs_stay(runs, tmp_path) -> None:
    claim = {"says": "c", "where": "x", "probe": said("a", "b", "lower"), "also": {"other": {"tiers": ["residual other"]}}}
    first = claims.table([claim], runs, tmp_path)
    assert first["on"].fillna("-").tolist() == ["toy", "-"] and first["outcome"].tolist() == ["holds", "not measured"]
    run = runs.tier("residual toy")[0].listed.folder
    write_index(tmp_path / "other", [Listed("residual other", "path", "path", 1.0, RunFolder(run.path))])
    (tmp_path / "other" / "run").symlink_to(run.path)
    both = claims.table([claim], runs, tmp_path)
    assert both["on"].tolist() == ["toy", "other"] and both["p"][0] == both["p"][1]  # not held together
    kept = claims.table([claim], Runs(tmp_path / "none"), tmp_path, both.assign(point=7.0))
    assert kept["point"][0] == 7.0 and kept["point"][1] == pytest.approx(both["point"][1])
    assert claims.table([claim], Runs(tmp_path / "none"), tmp_path)["outcome"].tolist() == ["not measured", "holds"]


def test_a_verdict_of_an_experiment_is_taken_over(runs, tmp_path) -> None:
    (tmp_path / "e").mkdir()
    about = {"claim": "c", "tier": "pairs digits", "a": "x", "b": "y", "gamma": 1.0, "measure": "m", "point": 0.1, "low": 0.0}
    rows = [
        about | {"expected": "equal", "verdict": "equal within 0.2", "high": 0.2, "p_holm": 1.0},
        about | {"expected": "higher", "verdict": "lower", "high": 0.2, "p_holm": 0.001},
        about | {"expected": "higher", "verdict": np.nan, "undefined": "n is too small"},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "e" / "claims.csv", index=False)
    assert [row["outcome"] for row in claims.evaluated("e", "c", tmp_path)] == ["holds", "does not hold", "not measured"]


def test_the_claims_that_ship_name_what_there_is() -> None:
    from sdi_bench.command_line import conf_dir, read_experiment
    from sdi_bench.command_line import experiments as sweeps_there

    experiments = {name: read_experiment(name) for name in sweeps_there()}
    for claim in yaml.safe_load((conf_dir() / "claims.yaml").read_text()):
        assert {"identity", "evaluated", "probe"} & set(claim), claim["says"]
        for experiment, says in claim.get("evaluated", {}).items():
            assert says in {known["says"] for known in experiments[experiment]["criteria"]["claims"]}
        for tier in claim.get("probe", {}).get("tiers", []):
            assert tier in experiments["understanding"]["tiers"]
        for experiment, other in claim.get("also", {}).items():
            for tier in other["tiers"]:
                assert tier in experiments[experiment]["tiers"]
