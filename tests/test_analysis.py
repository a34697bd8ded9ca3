"""Tables and figures from csv alone: what they show is what the files say."""

import re
import sys
from itertools import chain, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from analysis import benchmark2d, family, sanity, trained  # noqa: E402
from analysis.text import lines  # noqa: E402
from sdi_bench.command_line import read_experiment  # noqa: E402
from sdi_bench.evaluate import TABLES, read_table  # noqa: E402
from sdi_bench.prompts import read  # noqa: E402

PUBLISHED = ROOT / "results" / "benchmark2d"


def fixture() -> dict[str, pd.DataFrame]:
    """Two samplers, three gammas, a curve with its lowest KD at 2 for ddim and at 1 for sdi."""
    rows = []
    for tier, run, gamma in product(("test256", "tune"), ("ddim", "sdi"), (1.0, 2.0, 7.5)):
        for measure in ("kd_effnet", "rprec", "sharpness", "saturation"):
            point = abs(gamma - (2 if run == "ddim" else 1)) / 10
            rows.append(
                {"tier": tier, "run": run, "gamma": gamma, "n": 9, "diverged": 0, "measure": measure, "point": point}
                | {"low": point - 0.01, "high": point + 0.01, "flagged": False, "seconds": 0.5, "command": "c"}
                | {f"rows_{use}": 50.0 for use in ("conditional", "unconditional", "inversion", "other")}
            )
    rows[0] |= {"point": np.nan, "low": np.nan, "high": np.nan}
    rows[1] |= {"flagged": True}
    pair = {
        "tier": "seeds",
        "a": "sdi",
        "b": "ddim",
        "gamma": 7.5,
        "measure": "sharpness",
        "point": 0.3,
        "low": 0.2,
        "high": 0.4,
    }
    pair |= {"effect": 1.5, "p": 0.01, "p_holm": 0.02, "verdict": "higher"}
    claim = {key: value for key, value in pair.items() if key != "tier"} | {"claim": "SDI matches", "expected": "equal"}
    return {"measures": pd.DataFrame(rows), "differences": pd.DataFrame([pair]), "claims": pd.DataFrame([claim])}


def test_the_tables_say_what_the_csv_say() -> None:
    text = benchmark2d.tables(**fixture())
    shown = [line.split() for line in text.splitlines() if line.startswith(("ddim ", "sdi "))]
    assert shown[0][:5] == ["ddim", "1", "-", "0.100", "±0.010!"]
    assert "own best gamma, chosen on the tuning prompts by KD to real tuning pictures: ddim 2, sdi 1" in " ".join(text.split())
    assert "sdi - ddim" in text and "higher" in text and "SDI matches" in text


def test_best_is_where_the_measure_is_lowest_on_the_tuning_prompts_alone() -> None:
    measures = fixture()["measures"]
    measures.loc[(measures["tier"] == "test256") & (measures["gamma"] == 7.5), "point"] = -9.0
    assert benchmark2d.best(measures, "kd_effnet") == {"ddim": 2.0, "sdi": 1.0}


def test_the_figures_are_drawn(tmp_path) -> None:
    frames = fixture()
    benchmark2d.draw_curves(benchmark2d.prepare_curves(frames["measures"]), tmp_path / "gamma.png")
    benchmark2d.draw_kappas(benchmark2d.prepare_kappas(frames["differences"]), tmp_path / "kappa.png")
    for name in ("gamma", "kappa"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20


@pytest.mark.skipif(not (PUBLISHED / "measures.csv").exists(), reason="not published yet")
def test_the_published_tables_come_from_the_published_csv() -> None:
    frames = {name: read_table(PUBLISHED / f"{name}.csv") for name in TABLES}
    assert (PUBLISHED / "tables.txt").read_text() == benchmark2d.tables(**frames)
    assert frames["measures"]["command"].str.startswith("python -m sdi_bench.run experiment=benchmark2d tier=").all()


def test_lines_are_aligned() -> None:
    assert lines(["a", "bb"], [["ccc", "d"]]) == "a    bb\n-------\nccc   d"


def test_a_turn_is_told_from_a_rise() -> None:
    def rows(*points: float) -> pd.DataFrame:
        return pd.DataFrame(
            {"grade": range(len(points)), "point": points, "low": np.array(points) - 0.1, "high": np.array(points) + 0.1}
        )

    assert sanity.told(rows(0, 1, 2)) == ("rises", "1")
    assert sanity.told(rows(2, 1, 0)) == ("falls", "1")
    assert sanity.told(rows(0, 1, 0)) == ("turns", "1")
    assert sanity.told(rows(0, 0.02, 0.03)) == ("flat", "never")


def test_spoilt_sets_are_what_they_say() -> None:
    found = {(harm, grade): given for harm, grade, given in sanity.spoilt(32)}
    for (harm, grade), given in found.items():
        assert given.images.shape == (sanity.N, 3, 32, 32) and len(given.items) == sanity.N, (harm, grade)
        if grade == 0:
            assert np.array_equal(given.images, found["noise", 0].images), harm
    assert np.allclose(np.ptp(found["fading", 1].images, axis=1), 0, atol=2 / 255 + 1e-9)
    assert len(set(found["mode dropping", 0.9].labels)) < 0.2 * len(set(found["noise", 0].labels))
    copies, real = found["copying", 1].images, found["copying", 1].real
    assert real is not None and np.allclose(copies, real[: sanity.N])
    given = found["copying", 0.25]
    assert [item.prompt for item in given.items[sanity.N // 4 :]] == [
        i.prompt for i in found["noise", 0].items[sanity.N // 4 :]
    ]


def test_the_trained_prior_stands_beside_the_builtin_one(tmp_path) -> None:
    rows = []
    for (tier, model), run, gamma in product(trained.MODELS.items(), ("sds", "sdi", "previous"), (1.0, 3.0)):
        for measure in trained.BESIDE:
            about = {"tier": tier, "a": run, "b": "ddim", "gamma": gamma, "measure": measure}
            rows.append(about | {"point": 0.1 if model == "trained" else -0.1, "low": -0.2, "high": 0.2})
    table = trained.prepare_beside(pd.DataFrame([*rows, rows[0] | {"tier": "kappas"}, rows[0] | {"measure": "tclip"}]))
    assert len(table) == 2 * 2 * 2 * len(trained.BESIDE) and set(table["run"]) == {"sds", "sdi"}
    assert table.groupby("model")["point"].first().to_dict() == {"trained": 0.1, "builtin": -0.1}
    trained.draw_beside(table, tmp_path / "beside.png")
    with Image.open(tmp_path / "beside.png") as picture:
        assert picture.size[0] > 1000


def test_all_samplers_have_the_items_that_are_shown() -> None:
    assert set(trained.PROMPTS) <= set(read("furniture")[:128])


def test_the_frontier_has_all_rows_of_the_network(tmp_path) -> None:
    rows = []
    for tier, (k, run), measure in product(("steps", "rows"), enumerate(chain(*family.KINDS.values())), family.QUALITY):
        about = {
            "tier": tier,
            "run": run,
            "gamma": 3.0,
            "measure": measure,
            "point": 0.01 * k,
            "low": 0.01 * k - 0.1,
            "high": 0.3,
        }
        uses = {"rows_conditional": 50.0, "rows_inversion": 400.0, "rows_training": 7.0}
        rows.append(about | uses | {"rows_unconditional": 50.0, "rows_other": 49.0 if tier == "steps" else 50.0})
    other = [rows[0] | {"gamma": 1.0}, rows[0] | {"tier": "seeds"}, rows[0] | {"measure": "rprec"}, rows[0] | {"point": np.nan}]
    table = family.prepare_frontier(pd.DataFrame([*rows, *other]))
    assert len(table) == len(rows)
    assert table.groupby("equal")["spent"].unique().map(list).to_dict() == {"rows": [557.0], "steps": [556.0]}
    family.draw_frontier(table, tmp_path / "frontier.png")
    with Image.open(tmp_path / "frontier.png") as picture:
        assert picture.size[0] > 500


def test_every_method_of_the_family_has_a_colour_and_the_items_that_are_shown() -> None:
    tiers = read_experiment("family")["tiers"]
    assert set(chain(*family.KINDS.values())) == {row for tier in tiers.values() for row in tier["rows"]}
    for tier, places in family.SHOWN.items():
        fewest = [re.search(r"n_items=(\d+)", row) for row in tiers[tier]["rows"].values()]
        assert max(places) < min(int(few[1]) for few in fewest if few)


def test_tables_of_the_trained_prior_have_a_block_for_what_was_measured() -> None:
    found = fixture()
    measures = found["measures"].assign(tier=found["measures"]["tier"].map({"test256": "furniture", "tune": "tune"}))
    text = trained.tables(measures, found["differences"].assign(tier="furniture"), found["claims"])
    assert "tune: the trained prior over guidance" in text and text.count("rows c/u/inv/oth") == 4  # text and look, two tiers
    assert "PSNR" not in text and "furniture: differences from ddim at the same gamma" in text
