"""What analysis.deviations says of the switches, against numbers laid down by hand."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from analysis import deviations  # noqa: E402
from sdi_bench.command_line import options, read_experiment  # noqa: E402
from sdi_bench.draws import Item  # noqa: E402

NAMES = ["released", "less levels"]


def probed() -> SimpleNamespace:
    """Four items at t .98, .5 and .26; the other kappa is the released one scaled by 1.2, 1.4 and 1.6."""
    rng = np.random.default_rng(0)
    released = rng.normal(size=(4, 3, 2, 2)) * np.array([1, 5, 0.2, 3])[:, None, None, None]
    kappa = np.stack([released, released * np.array([1.2, 1.4, 1.6])[:, None, None]], axis=2)
    residual = np.stack([np.full((4, 3), 0.3), np.tile([0.3, 0.4, 0.1], (4, 1))], axis=2)
    arrays = {"kappa": kappa.astype("float32"), "residual": residual, "sigma": np.tile([5.0, 1.0, 0.1], (4, 1))}
    config = {
        "probe": {"kappas": dict.fromkeys(NAMES), "n_levels": 3},
        "sampler": {"grid": {"n_levels": 5, "t_max": 0.98, "t_min": 0.02}},
    }
    items = [Item(prompt, seed) for prompt in ("a chair", "a sofa") for seed in (0, 1)]
    return SimpleNamespace(row="on DDIM's path", config=config, probed=(items, arrays | {"rows": np.full((4, 3, 2), 22.0)}))


def kappas_are_told(module: ModuleType) -> None:
    found = pd.DataFrame(module.kappa_changes(probed())).set_index(["kappa", "measure", "t"])["point"]
    for t, change, residual in ((0.98, 0.2, 0.0), (0.5, 0.4, 0.1), (0.26, 0.6, -0.2)):
        assert found["less levels", "change", t] == pytest.approx(change, rel=1e-6)  # kept in float32
        assert found["less levels", "residual", t] == pytest.approx(residual, abs=1e-12)
        assert found["released", "of_8", t] == pytest.approx(0.3)
        assert found["released", "change", t] == 0


def frames() -> dict[str, pd.DataFrame]:
    rows = [
        {"tier": "trained", "run": run, "gamma": 8.5, "n": 256, "diverged": 0, "measure": measure, "point": 0.5}
        | {"low": 0.4, "high": 0.6, "seconds": 1.0, "rows_conditional": 300.0, "rows_unconditional": 300.0}
        | {"rows_inversion": 15.0, "rows_other": 0.0, "rows_training": 0.0}
        for run in NAMES
        for measure in ("lpips", "sharpness")
    ]
    gap = {"tier": "trained", "a": "less levels", "b": "released", "gamma": 8.5, "measure": "sharpness"}
    gap |= {"point": -0.75, "low": -1.0, "high": -0.5}
    kappa = {
        "tier": "kappa trained",
        "at": "on DDIM's path",
        "kappa": "less levels",
        "t": 0.5,
        "measure": "change",
        "rows": 22.0,
    }
    kappa |= {"point": 0.3, "low": 0.2, "high": 0.4, "n": 4}
    made = [kappa, kappa | {"measure": "residual", "point": 0.01, "low": 0.0, "high": 0.02}]
    made += [row | {"kappa": "released", "measure": name} for row, name in zip(made, ("change", "of_8"), strict=True)]
    made += [made[2] | {"measure": "residual"}]
    return {
        "measures": pd.DataFrame(rows),
        "differences": pd.DataFrame([gap]),
        "claims": pd.DataFrame(),
        "kappas": pd.DataFrame(made),
    }


def differences_are_of_the_released_loop(module: ModuleType) -> None:
    (line,) = [line for line in module.tables(**frames()).splitlines() if line.startswith("less levels  ") and " 615 " in line]
    assert "0.75 ±0.25" in line and "-0.75" not in line  # released less this row
    assert "0.30 ±0.10" in line and "0.50 ±0.10" in line  # kappa's change, LPIPS


PLANTED: list[tuple[Callable[[ModuleType], None], str, str]] = [
    (kappas_are_told, "/ rms(kappas[:, k0])", "/ rms(kappas[:, k])"),
    (kappas_are_told, "residuals[:, k] - residuals[:, k0]", "residuals[:, k0] - residuals[:, k]"),
    (kappas_are_told, "span * i / n_steps", "span * i / (n_steps + 1)"),
    (differences_are_of_the_released_loop, 'cell(-row["point"]', 'cell(row["point"]'),
]


@pytest.mark.parametrize("check", [kappas_are_told, differences_are_of_the_released_loop])
def test_it_is_so(check: Callable[[ModuleType], None]) -> None:
    check(deviations)


@pytest.mark.parametrize(("check", "old", "new"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_bug_is_seen(check: Callable[[ModuleType], None], old: str, new: str) -> None:
    source = Path(deviations.__file__).read_text()
    assert source.count(old) == 1
    wrong = ModuleType("analysis.deviations")
    wrong.__dict__.update({"__package__": "analysis", "__file__": deviations.__file__})
    exec(source.replace(old, new), wrong.__dict__)
    with pytest.raises((AssertionError, KeyError)):
        check(wrong)


def test_every_switch_has_a_row_and_a_claim() -> None:
    said = read_experiment("deviations")
    asked = {claim[side] for claim in said["criteria"]["claims"] for side in ("a", "b") if claim["tier"] == "trained"}
    for name in options("deviation"):
        assert said["tiers"]["trained"]["rows"][f"less {name}"] == f"preset=released_2d deviation=[{name}]"
        assert f"less {name}" in asked


@pytest.mark.skipif(not (deviations.FOLDER / "measures.csv").exists(), reason="not published yet")
def test_the_published_tables_come_from_the_published_csv() -> None:
    found = [deviations.read_table(deviations.FOLDER / f"{name}.csv") for name in (*deviations.TABLES, "kappa")]
    assert (deviations.FOLDER / "tables.txt").read_text() == deviations.tables(*found)
