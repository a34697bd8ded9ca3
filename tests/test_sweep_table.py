"""One sweep, one table: a column for whatever is swept, numbers as of sweeps of their own, fit for a terminal."""

import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import exit_status
from hypothesis import given, settings
from hypothesis import strategies as st

from sdi_bench import captions, compare, jobs, picture_files, run
from sdi_bench.command_line import varied
from sdi_bench.store import RunFolder

SMALL = [
    "model=digits",
    "prompt=[3,8]",
    "seeds=0..4",
    "grid.n_levels=5",
    "reference.grid.n_levels=6",
    "metric=[contrast,energy]",
]
SWEPT = ["sampler=sds,sdi", "guidance.scale=1,3"]
NUMBERS = ["measure", "point", "low", "high", "n", "diverged", "undefined", "folder"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """A sweep of two samplers at two scales, and each scale in a folder of its own."""
    place = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        command = partial(exit_status, patch, run.main, "-m", *SMALL, f"results={place}")
        assert command(*SWEPT, "name=both", "--png") == 0
        for scale in (1, 3):
            assert command("sampler=sds,sdi", f"guidance.scale={scale}", f"name=alone{scale}") == 0
    return place


def table(folder: Path) -> pd.DataFrame:
    (path,) = folder.glob("sweep-*.csv")
    return pd.read_csv(path)


def test_one_sweep_makes_one_table_and_one_picture(swept) -> None:
    both = swept / "both"
    assert [len(list(both.glob(f"sweep-*.{kind}"))) for kind in ("csv", "txt", "png")] == [1, 1, 1]
    frame = table(both)
    assert list(dict.fromkeys(frame["run"])) == [
        *("sds scale=1", "sds scale=3", "sdi scale=1", "sdi scale=3", "ddim-6 scale=1", "ddim-6 scale=3", "data")
    ]
    assert list(frame.columns[:8]) == ["run", "model", "sampler", "kappa", "gamma", "levels", "gamma_inv", "n"]


def test_columns_say_what_the_runs_configurations_do(swept) -> None:
    frame = table(swept / "both").dropna(subset=["folder"]).drop_duplicates("run")
    assert len(frame) == 6
    kappas = {"fresh": "Fresh", "inversion": "Inversion"}
    for row in frame.to_dict("records"):
        config = yaml.safe_load((swept / "both" / row["folder"] / "config.yaml").read_text())["sampler"]
        assert row["gamma"] == config["guidance"]["scale"]
        grid = config["timeline"]["grid"] if "timeline" in config else config["grid"]
        assert row["levels"] == grid["n_levels"]
        if row["sampler"] == "ddim":
            assert "noise" not in config and pd.isna(row["kappa"])
            continue
        assert config["noise"]["_target_"].endswith(f".{kappas[row['kappa']]}")
        assert row["gamma_inv"] == config["noise"]["guidance_scale"] if row["sampler"] == "sdi" else pd.isna(row["gamma_inv"])


def as_alone(swept: Path, both: pd.DataFrame) -> bool:
    """Are the numbers of each run those of a sweep of its scale alone?"""

    def rows(frame: pd.DataFrame, run: str, columns: list[str]) -> list[list[str]]:
        return frame.loc[frame["run"] == run, columns].astype(str).values.tolist()

    for scale in (1, 3):
        alone = table(swept / f"alone{scale}")
        if any(rows(both, f"{name} scale={scale}", NUMBERS) != rows(alone, name, NUMBERS) for name in ("sds", "sdi", "ddim-6")):
            return False
    # data are measured once: where a law of theirs is known, at guidance 1
    return rows(both, "data", NUMBERS[:5]) == rows(table(swept / "alone1"), "data", NUMBERS[:5])


def test_numbers_are_those_of_each_scale_alone(swept) -> None:
    assert as_alone(swept, table(swept / "both"))


def test_a_planted_sweep_that_holds_all_against_one_reference_is_seen(monkeypatch, swept) -> None:
    grouped = jobs.grouped
    monkeypatch.setattr(jobs, "grouped", lambda plans: grouped([[pair[0], plans[0][1]] for pair in plans]))
    for path in (swept / "both").glob("sweep-*"):
        path.rename(path.with_name(f"kept-{path.name}"))
    try:
        assert exit_status(monkeypatch, run.main, "-m", *SMALL, *SWEPT, f"results={swept}", "name=both") == 0
        frame = table(swept / "both")
        frame["run"] = frame["run"].replace("ddim-6", "ddim-6 scale=1")
        assert not as_alone(swept, frame)
    finally:
        for path in (swept / "both").glob("sweep-*"):
            path.unlink()
        for path in (swept / "both").glob("kept-*"):
            path.rename(path.with_name(path.name.removeprefix("kept-")))


def test_names_of_runs_and_tables_are_as_before(monkeypatch, tmp_path) -> None:
    """Written by the code of before there was one table for several references."""
    words = ["prompt=[3,8]", "seeds=0..1", "grid.n_levels=4", "reference.grid.n_levels=6", "metric=[contrast]", "model=digits"]
    assert exit_status(monkeypatch, run.main, "-m", "sampler=sds,ddim", *words, f"results={tmp_path}") == 0
    assert {path.name for path in (tmp_path / "main").iterdir() if not path.name.startswith(".")} == {
        *(f"sweep-5b06f9ec.{kind}" for kind in ("csv", "txt", "png")),
        *("digits-sds-fresh-g1-5d37e89c109d", "digits-ddim-g1-bb41e4fa909b", "digits-ddim-6-g1-406a2ad8aa26"),
    }


def test_items_and_models_are_swept_too(monkeypatch, tmp_path) -> None:
    words = ["model=digits,gaussian", "seeds=0..1,2..3", "prompt=null", "grid.n_levels=5", "metric=[contrast]", "n_items=2"]
    assert exit_status(monkeypatch, run.main, "-m", "sampler=ddim", *words, "reference=null", f"results={tmp_path}") == 0
    frame = table(tmp_path / "main").drop_duplicates("run")
    assert {"model", "seeds"} <= set(frame) and len(frame[frame["sampler"].notna()]) == 4
    runs = frame[frame["run"].str.startswith("ddim ")]
    assert list(zip(runs["model"], runs["seeds"], strict=True)) == [
        (m, s) for m in ("digits", "gaussian") for s in ("0..1", "2..3")
    ]
    made = {path.name for path in (tmp_path / "main").glob("sweep-*.png")}
    assert len(made) == 2 and any(name.endswith("-points.png") for name in made)  # digits are pictures, points are none


def test_what_varies_is_told_of_each_job() -> None:
    assert varied([["a=1", "b='x, y'", "c=2"], ["a=2", "b='z'", "c=2"]]) == [{"a": "1", "b": "x, y"}, {"a": "2", "b": "z"}]
    assert varied([["a=1"]]) == [{}]


# ------------------------------------------------------------------------------------------------------------ a terminal


def made(n_runs: int, n_measures: int, letters: int) -> pd.DataFrame:
    rng = np.random.default_rng(n_runs * n_measures + letters)
    rows = []
    for i in range(n_runs):
        common = {
            "run": f"{'x' * letters}{i}",
            "sampler": "sds",
            "gamma": i / 2,
            "n": 8,
            "diverged": 0,
            "seconds": 0.1,
            "peak_mb": 9.0,
        }
        common |= {f"rows_{use}": 5.0 for use in compare.ROW_USES[:4]} | {"rows_training": 0.0}
        for k in range(n_measures):
            point = math.nan if k == 1 else rng.normal() * 10.0**k
            rows.append(common | {"measure": f"measure{k}", "point": point, "low": point - 0.1, "high": point + 0.1})
    return pd.DataFrame(rows)


def cells(text: str) -> list[list[str]]:
    """The columns of a table of one block or more, the runs' names but once."""
    found: list[list[str]] = []
    for block in text.split("\n\n"):
        head, _, *rows = block.splitlines()
        ends = [match.end() for match in re.finditer(r"\S(?=\s\s|$)", head)]  # of columns, to the right but for the first
        begins = [0, *(end for end in ends[:-1])]
        begins[1:2] = [max(len(row.split()[0]) for row in [head, *rows])] if len(ends) > 1 else []
        columns = [[row[k:end].strip() for row in [head, *rows]] for k, end in zip(begins, ends, strict=True)]
        found += columns[bool(found) :]
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 28), st.integers(60, 220))  # names of half the width are whole
def test_a_table_fits_and_nothing_of_it_is_lost(n_runs: int, n_measures: int, letters: int, width: int) -> None:
    frame = made(n_runs, n_measures, letters)
    whole, fitted = compare.render(frame), compare.render(frame, width)
    assert max(map(len, fitted.splitlines())) <= width
    for block in fitted.split("\n\n"):
        assert [part.split()[0] for part in block.splitlines()[2:]] == [f"{'x' * letters}{i}" for i in range(n_runs)]
    assert cells(fitted)[1:] == cells(whole)[1:]
    assert "measure1" not in fitted and "gamma" not in fitted


def test_a_planted_table_in_one_block_is_seen(monkeypatch) -> None:
    monkeypatch.setattr(compare, "blocks", lambda columns, width: [columns])
    assert max(map(len, compare.render(made(2, 9, 10), 80).splitlines())) > 80


def test_long_names_are_shortened_while_they_differ() -> None:
    names = [f"sds prompt=a {'very ' * 30}long one, {i}" for i in range(3)]
    short = compare.shortened(["run", *names], 40)
    assert len(set(short)) == 4 and max(map(len, short)) == 40
    assert compare.shortened([f"{'x' * 40}{i}{'y' * 40}" for i in range(2)], 20) == [
        f"{'x' * 40}{i}{'y' * 40}" for i in range(2)
    ]


def test_wide_has_a_column_for_each_setting() -> None:
    shown = compare.render(made(3, 4, 5), 80, wide=True)
    assert shown.splitlines()[0].split()[:4] == ["run", "sampler", "gamma", "n"] and "peak MB" in shown and "\n\n" not in shown
    assert [part.split()[2] for part in shown.splitlines()[2:]] == ["0", "0.5", "1"]


# -------------------------------------------------------------------------------------------------- pictures and events


def pngs_are_the_shards(place: Path) -> bool:
    """Is each PNG the picture of the prompt and seed that prompts.csv says, at 8 bits?"""
    (folder,) = place.glob("digits-sds-fresh-g1-*")
    there = picture_files.read_folder(folder / "png", "folder")
    told = pd.read_csv(folder / "png" / "prompts.csv", dtype=str).set_index("file_name")
    said = captions.captions(str(folder / "png" / "prompts.csv"), there, "png")
    held = RunFolder(folder)
    (chunk,) = held.chunks()
    images = held.read_shard(chunk).images
    for i, name in enumerate(there.names):
        prompt, seed = told.loc[name]
        (k,) = [k for k, item in enumerate(chunk) if (item.prompt, item.seed) == (prompt, int(seed))]
        want = np.round((np.clip(images[k], -1, 1) + 1) * 127.5) / 127.5 - 1
        if said[i] != prompt or not np.allclose(there.images[i], np.repeat(want, 3, axis=0), rtol=0, atol=1e-12):
            return False
    return len(there.names) == 10


def test_a_png_of_each_picture_with_its_prompt(swept) -> None:
    assert pngs_are_the_shards(swept / "both")
    assert len(list((swept / "both").glob("*/png/*.png"))) == 60 and not list((swept / "alone1").glob("*/png"))


def test_a_planted_png_of_another_item_is_seen(monkeypatch, swept, tmp_path) -> None:
    write = jobs.write_pngs
    monkeypatch.setattr(jobs, "write_pngs", lambda entry: write(replace(entry, images=entry.images[::-1])))
    words = ["-m", *SMALL, "sampler=sds", f"results={tmp_path}", "name=both", "--png", "reference=null"]
    assert exit_status(monkeypatch, run.main, *words) == 0
    assert not pngs_are_the_shards(tmp_path / "both")


def test_events_of_tensorboard_are_the_tables_numbers(monkeypatch, swept, tmp_path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="the extra tensorboard")
    words = ["-m", *SMALL, *SWEPT, f"results={swept}", "name=both", "--tensorboard"]
    for _ in range(2):  # again changes nothing
        assert exit_status(monkeypatch, run.main, *words) == 0
    frame = table(swept / "both").dropna(subset=["folder", "point"])
    for row in frame.to_dict("records"):
        found = events.EventAccumulator(str(swept / "both" / "tensorboard" / row["folder"]))
        found.Reload()
        (event,) = found.Scalars(f"measures/{row['measure']}")
        assert event.value == pytest.approx(row["point"], rel=1e-6)  # float32
        assert found.Tags()["images"] == ["samples"]


def test_what_cannot_be_shown_is_said_before_anything_runs(monkeypatch, capsys, tmp_path) -> None:
    for words, told in (
        (["model=mixture", "--png"], "--png: the samples of this model are no pictures"),
        (["model=digits", "sampler=sds", "probe=spread", "--wide"], "--wide: is about the table of a sweep"),
    ):
        assert exit_status(monkeypatch, run.main, *words, f"results={tmp_path}") == 2
        assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("**/shards/*"))
