"""Measuring apart from making: finished runs, folders of pictures, pairs of runs, and what is refused."""

import math
import shlex
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import exit_status
from PIL import Image

from sdi_bench import command_line, evaluate, run, sweeps
from sdi_bench.data.world import World
from sdi_bench.draws import Item
from sdi_bench.jobs import Plan
from sdi_bench.measuring import Samples, clustered, compared, diverged, measure, rounded
from sdi_bench.metrics import Contrast, Rms
from sdi_bench.metrics.base import Context, Hits, Metric, UndefinedError
from sdi_bench.stats import Statistic, mean_of, share

WORDS = ["model=digits", "reference=null", "prompt=[3,8]", "seeds=0..3", "grid.n_levels=4", "metric=[]"]
VAL = World.open().where("val")


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    return exit_status(monkeypatch, evaluate.main, *words)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["run", "-m", "sampler=ddim,sds", *WORDS, f"results={folder}"])
        run.main()
    return {path.name.split("-")[1]: str(path) for path in folder.glob("main/digits-*")}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("pictures")
    for i, image in enumerate(VAL.pixels(32)[:24]):
        Image.fromarray(np.round((image + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)).save(folder / f"{i}.png")
    return str(folder)


# ------------------------------------------------------------------------------------------------------------- runs


def test_finished_runs_are_measured_with_pairs_and_cost(monkeypatch, tmp_path, runs, capsys) -> None:
    table = tmp_path / "table.csv"
    words = [runs["ddim"], runs["sds"], "metric=[contrast,rms]", f"paired={runs['ddim']}", f"output={table}", "uint8=false"]
    assert command(monkeypatch, *words) == 0
    frame = pd.read_csv(table).set_index(["run", "measure"])
    ddim, sds = (Path(runs[name]).name for name in ("ddim", "sds"))
    assert frame.loc[(ddim, "rms"), "point"] == 0
    assert frame.loc[(sds, "rms"), "point"] > 0.1
    assert set(frame["n"]) == {8} and set(frame["rows_conditional"]) == {4.0} and set(frame["gamma"]) == {1.0}
    ours, theirs = (evaluate.open_folder(Path(runs[name]), "folder") for name in ("sds", "ddim"))
    gaps = np.sqrt(np.square(ours.images - theirs.images).mean(axis=(1, 2, 3)))
    assert frame.loc[(sds, "rms"), "point"] == pytest.approx(gaps.mean(), rel=1e-12)
    assert "contrast" in capsys.readouterr().out


def test_a_folder_of_pictures_is_measured_against_real_ones(monkeypatch, pictures, capsys) -> None:
    assert command(monkeypatch, pictures, "metric=[kd_effnet,fd_effnet,rprec]", f"real={pictures}") == 0
    said = capsys.readouterr().out
    assert "n 24, diverged 0" in said and "kd_effnet" in said
    assert "n below floor (1280)" in said and "samples without a prompt" in said


def test_eight_bits_are_what_a_file_keeps(pictures) -> None:
    images = np.random.default_rng(0).uniform(-1.3, 1.3, (24, 3, 32, 32))
    held = np.round((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    assert np.array_equal(rounded(images), held / 127.5 - 1)
    assert np.isnan(rounded(np.full((1, 1, 1, 1), np.nan))).all()
    found = evaluate.open_folder(Path(pictures), "folder")
    assert np.array_equal(rounded(found.images), found.images)


def test_clusters_are_concepts() -> None:
    items = [Item(prompt, seed) for prompt in VAL.table["caption"][:40] for seed in (0, 1)]
    found = clustered(items)
    assert list(found.labels) == [concept for concept in VAL.table["concept"][:40] for _ in range(2)]
    assert found.over == "concepts"


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("make", "words", "said"),
    [
        (lambda folder: None, [], "holds neither a finished run (shards/) nor pictures (.png"),
        (lambda folder: (folder / "shards").mkdir(), [], "config.yaml cannot be read"),
        (lambda folder: whole(folder), ["real=/nowhere"], "real='/nowhere': must be one of train, val"),
        (lambda folder: whole(folder), ["paired=/nowhere"], "paired='/nowhere': no such folder"),
        (lambda folder: whole(folder), ["metric=[clip_score]"], "metric.clip_score.folder=None: must be a folder with a CLIP"),
        (lambda folder: whole(folder), ["metric=[contrst]"], "metric=contrst: did you mean contrast?"),
        (lambda folder: whole(folder), ["reel=val"], "reel: no such setting; did you mean real?"),
    ],
)
def test_bad_input_is_one_line(monkeypatch, tmp_path, capsys, make, words, said) -> None:
    make(tmp_path)
    assert command(monkeypatch, str(tmp_path), *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("sdi_bench.evaluate: ") and said in error and error.count("\n") == 1


def whole(folder: Path) -> None:
    for i in range(3):
        Image.new("RGB", (32, 32), (i, 2, 3)).save(folder / f"{i}.png")


def test_no_folder_no_experiment_and_other_items_are_refused(monkeypatch, tmp_path, runs, pictures, capsys) -> None:
    for words, said in (
        ([], "folder: none is given"),
        (["/nowhere"], "folder='/nowhere': no such folder"),
        (["experiment=benchmark4d"], "experiment='benchmark4d': did you mean benchmark2d or benchmark3d?"),
        ([runs["ddim"], pictures], "folder: the runs are of different sizes"),
        ([pictures, f"paired={runs['ddim']}"], "nothing says which belong together; what would do: two runs of the same items"),
        ([runs["ddim"], f"paired={pictures}"], "nothing says which belong together"),
    ):
        assert command(monkeypatch, *words) == 2
        assert said in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------- the diverged


class Bright(Metric):
    """Share of samples whose mean is above 0."""

    unit = "share"

    def statistic(self, context: Context) -> Statistic:
        return Hits((context.images.mean(axis=(1, 2, 3)) > 0).astype(float))


class Spread(Metric):
    """Something of whole sets."""

    unit = "pixel"
    of_sets = True

    def statistic(self, context: Context) -> Statistic:
        return mean_of(context.images.std(axis=(1, 2, 3)))


def given(images: np.ndarray) -> Samples:
    items = [Item("a", i) for i in range(len(images))]
    return Samples(images, items, np.arange(len(images)) // 2, truth=np.random.default_rng(1).standard_normal((50, 1, 4, 4)))


def test_diverged_items_are_misses_and_flag_what_is_of_sets() -> None:
    images = np.random.default_rng(0).standard_normal((40, 1, 4, 4)) + 1
    images[[3, 7]] = np.nan
    images[11] = 1e9
    found = measure(given(images), {"bright": Bright(), "spread": Spread(), "contrast": Contrast()})
    hits = np.where(diverged(images), False, np.nanmean(images, axis=(1, 2, 3)) > 0)
    assert found["bright"]["point"] == hits.mean() < 37.5 / 40
    assert (found["bright"]["low"], found["bright"]["high"]) == share(hits, np.arange(40) // 2)[1:]
    assert [found[name]["flagged"] for name in ("bright", "spread", "contrast")] == [False, True, False]
    assert {values["n_used"] for values in found.values()} == {37}
    assert not measure(given(np.abs(images[:3] % 2)), {"spread": Spread()})["spread"]["flagged"]


def test_all_diverged_says_so() -> None:
    found = measure(given(np.full((4, 1, 4, 4), np.nan)), {"spread": Spread()})
    assert found["spread"]["undefined"] == "all 4 items diverged" and found["spread"]["flagged"]


# --------------------------------------------------------------------------------------------------------------- pairs


def test_a_difference_is_of_the_items_that_diverged_in_neither() -> None:
    rng = np.random.default_rng(0)
    a, b, pair = rng.standard_normal((3, 40, 1, 4, 4))
    a[0], b[39] = np.nan, 1e6
    first, second = (Samples(x, given(x).items, given(x).labels, paired=pair) for x in (a, b))
    gap = compared(first, second, Rms()).difference
    want = [np.sqrt(np.square(x - pair).mean(axis=(1, 2, 3)))[1:39] for x in (a, b)]
    assert gap.estimate.point == pytest.approx((want[0] - want[1]).mean(), rel=1e-12)
    swapped = compared(second, first, Rms()).difference
    assert swapped.estimate.point == pytest.approx(-gap.estimate.point, rel=1e-12)
    other = Samples(b, [Item("a", i + 1) for i in range(40)], second.labels)
    with pytest.raises(ValueError, match="40 and 40 items are not the same"):
        compared(first, other, Rms())


def test_runs_of_which_one_has_fewer_items_are_compared_on_those() -> None:
    rng = np.random.default_rng(0)
    many, few = given(rng.standard_normal((40, 1, 4, 4))), given(rng.standard_normal((30, 1, 4, 4)))
    few = few.only(np.arange(30) >= 12)
    first, second = evaluate.shared(many, few)
    assert list(first.items) == list(second.items) == list(many.items[12:30])
    assert np.array_equal(first.images, many.images[12:30]) and np.array_equal(second.images, few.images)
    with pytest.raises(UndefinedError, match="no item in common"):
        evaluate.shared(many.only(np.arange(40) < 12), few)


def test_verdicts_adjust_over_all_that_is_claimed_together() -> None:
    rng = np.random.default_rng(0)
    same = Samples(
        rng.standard_normal((80, 1, 4, 4)), [Item("a", i) for i in range(80)], np.arange(80), paired=np.zeros((80, 1, 4, 4))
    )
    far = Samples(2 * same.images, same.items, same.labels, paired=same.paired)
    pairs = [{"measure": "rms"} | evaluate.against(some, same, Rms(), 0.01) for some in (same, far)]
    pairs += [{"measure": "none", "undefined": "why"}]
    found = evaluate.verdicts(pd.DataFrame(pairs))
    assert list(found["verdict"][:2]) == ["equal within 0.01", "higher"] and pd.isna(found["verdict"][2])
    assert found["p_holm"][0] == 1 and math.isnan(found["p_holm"][2])
    assert found["p_holm"][1] == pytest.approx(2 * found["p"][1])
    said = [*({**pair, "later": False} for pair in pairs), *({**pair, "later": True} for pair in [pairs[1]] * 3)]
    apart = evaluate.verdicts(pd.DataFrame(said))
    assert list(apart["p_holm"][:2]) == list(found["p_holm"][:2])  # what was asked later changes no verdict
    np.testing.assert_allclose(apart["p_holm"][3:], 3 * found["p"][1])


def test_comparisons_of_runs_that_no_table_has_are_not_kept() -> None:
    row = {"tier": "test", "a": "sds", "b": "ddim", "gamma": 1.0, "point": 0.1}
    earlier = {"measures": pd.DataFrame(), "differences": pd.DataFrame([row]), "claims": pd.DataFrame([row])}
    assert all(frame.empty for frame in evaluate.of_before("test", [], earlier).values())


def test_of_runs_that_are_not_here_what_was_measured_before_stays() -> None:
    """And of it what has to do with them alone: the others are measured again."""
    plans = [Mock(spec=Plan, folder=Mock(path=Path(name)), items=[0], label=name, gamma=1.0) for name in "abc"]
    measures = pd.DataFrame([{"tier": "test", "results": name, "n": 1, "run": name, "gamma": 1.0} for name in "abz"])
    pairs = pd.DataFrame([{"tier": "test", "a": a, "b": b, "gamma": 1.0} for a, b in ("ab", "bb", "az", "bc")])
    earlier = {"measures": measures, "differences": pairs, "claims": pairs}
    found = evaluate.of_before("test", plans, earlier, plans[:1])
    assert list(found["measures"]["run"]) == ["a"]
    for table in ("differences", "claims"):
        assert found[table][["a", "b"]].values.tolist() == [["a", "b"]]
    everything = evaluate.of_before("test", plans, earlier)
    assert list(everything["measures"]["run"]) == ["a", "b"] and len(everything["claims"]) == 2


@pytest.mark.slow
def test_an_experiment_is_measured_tier_by_tier(monkeypatch, tmp_path) -> None:
    """A small one of the same form: its rows, its floor of other seeds, its claims, its commands."""
    conf = tmp_path / "conf"
    conf.mkdir()
    for path in command_line.conf_dir().iterdir():
        if path.name != "experiment":
            (conf / path.name).symlink_to(path)
    (conf / "experiment").mkdir()
    claim = {"says": "caching is DDIM", "a": "previous", "b": "ddim", "gamma": 1, "tier": "test", "expects": {"rms": "equal"}}
    other = claim | {"says": "guidance does nothing", "a": "ddim", "gamma": 2, "gamma_b": 1}
    small = {
        "common": "model=digits metric=[] reference=null grid.n_levels=4 prompt=[3,8]",
        "criteria": {"margins": {"rms": 0.05, "contrast": 0.05}, "claims": [claim, other]},
        "tiers": {
            "test": {
                **{"all": "seeds=0..5", "samples": "floor", "paired": "fine", "baseline": "ddim", "at": 1},
                **{"metrics": ["contrast", "rms"], "compared": ["rms"]},
                "rows": {
                    "ddim": "sampler=ddim guidance.scale=1,2",
                    "fine": "sampler=ddim grid.n_levels=8",
                    "previous": "sampler=sds noise@sampler.noise=previous",
                    "later": "sampler=sds",
                },
            },
            "floor": {"all": "seeds=100..105", "metrics": ["contrast"], "rows": {"ddim": "sampler=ddim"}},
        },
    }
    said = "# @package _global_\n" + yaml.safe_dump({"hydra": {"mode": "MULTIRUN", "sweeper": small}}, sort_keys=False)
    (conf / "experiment" / "small.yaml").write_text(said)
    for module in (run, sweeps, evaluate, command_line):
        monkeypatch.setattr(module, "conf_dir", lambda: conf)
    for row in ("ddim", "fine", "previous"):
        monkeypatch.setattr(sys, "argv", ["run", "experiment=small", f"row={row}", f"results={tmp_path}"])
        run.main()
    assert command(monkeypatch, "experiment=small", f"results={tmp_path}") == 0
    tables = {name: pd.read_csv(tmp_path / "small" / f"{name}.csv") for name in ("measures", "differences", "claims")}
    rows = tables["measures"]
    assert set(zip(rows["tier"], rows["run"], rows["gamma"], strict=True)) == {
        ("test", "ddim", 1.0),
        ("test", "ddim", 2.0),
        ("test", "fine", 1.0),
        ("test", "previous", 1.0),
        ("floor", "ddim", 1.0),
    }
    assert set(rows["command"][rows["run"] == "fine"]) == {"python -m sdi_bench.run experiment=small tier=test row=fine"}
    gaps = tables["differences"].set_index("a")
    assert gaps.loc["previous", "point"] == pytest.approx(0, abs=1e-9)  # V1
    assert gaps.loc["previous", "verdict"] == "equal within 0.05"
    apart = rows[(rows["run"] == "ddim") & (rows["measure"] == "rms") & (rows["tier"] == "test")].set_index("gamma")["point"]
    judged, at_two = tables["claims"].to_dict("records")
    for found in (gaps.loc["ddim"], at_two):  # at another gamma than what it is held against
        assert (found["gamma"], found["gamma_b"]) == (2, 1)
        assert found["point"] == pytest.approx(apart[2] - apart[1], rel=1e-4) and found["point"] > 0.01
    assert (judged["claim"], judged["expected"], judged["verdict"]) == ("caching is DDIM", "equal", "equal within 0.05")
    # one tier alone: the other keeps its rows, with p-values over all; so it does when its runs are gone, but of the same items
    assert command(monkeypatch, "experiment=small", "tier=floor", f"results={tmp_path}") == 0
    for name, table in tables.items():
        again = pd.read_csv(tmp_path / "small" / f"{name}.csv")
        pd.testing.assert_frame_equal(again, table, rtol=1e-5)
    gone = rows[(rows["tier"] == "test") & (rows["run"] == "ddim") & (rows["gamma"] == 1)]["results"].iloc[0]
    for folder in (tmp_path / "small").glob("digits-*"):
        folder.rename(folder.with_name(f"away-{folder.name}"))
    changed = rows.assign(n=[100 if name == gone else n for name, n in zip(rows["results"], rows["n"], strict=True)])
    changed[changed["tier"] == "test"].to_csv(tmp_path / "small" / "measures.csv", index=False)
    assert command(monkeypatch, "experiment=small", f"results={tmp_path}") == 0
    kept = pd.read_csv(tmp_path / "small" / "measures.csv")
    assert set(zip(kept["run"], kept["gamma"], strict=True)) == {("ddim", 2.0), ("fine", 1.0), ("previous", 1.0)}
    assert (tmp_path / "small" / "differences.csv").stat().st_size <= 1  # ddim, which they were taken from, is not among them
    (tmp_path / "small" / "claims.csv").write_text('"a')
    assert command(monkeypatch, "experiment=small", f"results={tmp_path}") == 2
    for name, table in tables.items():
        table.to_csv(tmp_path / "small" / f"{name}.csv", index=False)
    # said on the command line: another model, whose settings the experiment's say nothing of, and another grid
    words = ["model=gaussian", "grid.n_levels=6", "prompt=[wide]"]
    monkeypatch.setattr(sys, "argv", ["run", "experiment=small", "row=ddim", "tier=test", f"results={tmp_path}", *words])
    run.main()
    assert command(monkeypatch, "experiment=small", "tier=test", f"results={tmp_path}", f"also={words}") == 0
    rows = pd.read_csv(tmp_path / "small" / "measures.csv")
    assert set(rows["rows_conditional"]) == {6.0} and set(rows["n"]) == {6}
    assert rows["command"][0].endswith(shlex.join(words))
