"""Undefined is neither zero nor a crash: reasons, intervals that n can carry, their clusters, counts, what is absent."""

import importlib.util
import math
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import exit_status
from PIL import Image
from scipy import stats as scipy_stats

from analysis import benchmark2d, benchmark3d, trained
from sdi_bench import command_line, compare, evaluate, run
from sdi_bench.data.world import World
from sdi_bench.draws import Item, items_of
from sdi_bench.measuring import Samples, clustered, compared, measure
from sdi_bench.metrics import Context, Hits, Metric, Rms, Sights, UndefinedError
from sdi_bench.metrics.base import Part, blank
from sdi_bench.metrics.known import trained as known_views
from sdi_bench.models import Empirical
from sdi_bench.models.shapes import shapes
from sdi_bench.report import plots, tables
from sdi_bench.stats import UNTOLD, Statistic, clusters_of, difference, equivalent, jackknife, mean_of, share, verdict

WANT_FILES = {"fid", "kid", "clip_fid", "clip_score", "clip_score_b", "clip_iqa", "reward"}
if importlib.util.find_spec("cleanfid") is None:
    WANT_FILES |= {"frechet"}
NAMES = sorted(path.stem for path in (command_line.conf_dir() / "metric").glob("*.yaml") if path.stem not in WANT_FILES)
METRICS = evaluate.chosen(NAMES)

OBJECTS = ("fire extinguisher", "grand piano", "teddy bear", "motorbike", "cactus", "table")
ANGLES = np.arange(0.0, 360, 45)
SIDES = ("front", "front", "side", "back", "back", "back", "side", "front")
DATA = np.stack([known_views(name, 32)[0] for name in OBJECTS]).astype(np.float64)
"""Six objects from eight angles, each the truth itself."""


def around(images: np.ndarray, **more: object) -> Samples:
    """Objects [n, 8, 3, 32, 32] as they are measured, held against everything: data, real and DDIM pictures, the paired."""
    n, real = len(images), DATA.reshape(-1, 3, 32, 32)
    items = [Item(f"a {name}, {side} view", k) for k, name in enumerate(OBJECTS[:n]) for side in SIDES]
    sights = Sights(np.repeat(np.arange(n), 8), np.tile(ANGLES, n), lambda k: np.zeros((0, 3)))
    about = {"truth": real, "real": real, "samples": real + 0.01, "paired": real[: 8 * n], "same_law": True, "sights": sights}
    flat = images.reshape(-1, *images.shape[2:])
    return Samples(flat, items, np.repeat(np.arange(n), 8), **(about | {"raw": flat} | more))


def pixel(images: np.ndarray) -> np.ndarray:
    """White but for one level of 255 in one pixel."""
    found = np.ones_like(images)
    found[..., 0, 5, 7] -= 2 / 255
    return found


ABSENT = {
    "white": np.ones_like,
    "grey": lambda images: np.full_like(images, 0.3),
    "one colour": lambda images: np.zeros_like(images) + np.array([0.1, -0.7, 0.3])[:, None, None],
}
DEGENERATE = ABSENT | {
    "data": lambda images: images,
    "one pixel": pixel,
    "one object white": lambda images: np.concatenate([np.ones_like(images[:1]), images[1:]]),
    "some NaN": lambda images: np.concatenate([np.full_like(images[:1], np.nan), images[1:]]),
    "all NaN": lambda images: np.full_like(images, np.nan),
    "one again and again": lambda images: np.repeat(images[:1, :1], len(images), 0).repeat(8, 1),
    "one object": lambda images: images[:1],
}


@cache
def measured(kind: str) -> dict[str, dict]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return measure(around(DEGENERATE[kind](DATA)), METRICS)


@pytest.mark.parametrize("kind", DEGENERATE)
def test_no_metric_crashes_warns_or_says_nothing_of_degenerate_samples(kind: str) -> None:
    found = measured(kind)
    assert set(found) == set(METRICS)
    for name, values in found.items():
        assert not values.get("failed"), (name, values["undefined"])
        assert ("point" in values) != ("undefined" in values) and values["n_used"] <= 6
        if "point" in values:
            assert math.isfinite(values["point"]), name
            assert math.isnan(values["low"]) == math.isnan(values["high"])
            if values["n_clusters"] < 5:
                assert math.isnan(values["low"]), name
        else:
            assert len(values["undefined"]) > 10, name
    if kind == "all NaN":
        assert {values["undefined"] for values in found.values()} == {"all 6 objects diverged"}


CROWDED = {"precision", "precision_ddim", "density", "density_ddim"}
"""Flat colours lie in the balls of outliers, as their authors' definition has it and our docstring says; recall sees them."""


@pytest.mark.parametrize("kind", ABSENT)
def test_what_is_not_there_is_never_better_than_data(kind: str) -> None:
    found, data = measured(kind), measured("data")
    better = []
    for name in set(METRICS) - CROWDED:
        ideal = METRICS[name].ideal
        if "point" not in found[name] or ideal is None or "point" not in data[name]:
            continue
        gaps = [-values["point"] if ideal == math.inf else abs(values["point"] - ideal) for values in (found[name], data[name])]
        if gaps[0] < gaps[1] - 1e-9:
            better.append((name, found[name]["point"], data[name]["point"]))
    assert not better
    for name in ("contrast", "sharpness", "laplacian"):
        assert "minus infinity" in found[name]["undefined"]
    if kind == "white":
        assert found["floaters"]["undefined"] == "no picture shows an object"
        assert found["janus"]["undefined"] == "no back shows an object"
        assert "undefined" in found["mixed"] and "undefined" in found["parted"]
        assert found["silhouette"]["point"] == 0 and found["chamfer"]["point"] == 2 and found["rprec"]["point"] == 0


def test_an_object_that_is_not_there_has_no_say_in_what_objects_are_like() -> None:
    found = measured("one object white")
    assert found["mixed"]["n_used"] == found["floaters"]["n_used"] == 5 and found["to_shape"]["n_used"] == 6
    rest = measure(around(DATA[1:], **alone(1)), {"floaters": METRICS["floaters"]})
    assert found["floaters"]["point"] == pytest.approx(rest["floaters"]["point"])


def alone(first: int) -> dict[str, object]:
    n = len(OBJECTS) - first
    return {"paired": None, "sights": Sights(np.repeat(np.arange(n), 8), np.tile(ANGLES, n))}


def test_no_real_picture_is_of_one_colour() -> None:
    world = World.open()
    assert not any(blank(world.where(split).pixels(32)).any() for split in ("val", "tune"))
    assert blank(np.full((1, 3, 4, 4), 0.3) + np.array([0.0, 0.5, -0.2])[:, None, None]).all()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"truth": np.full((4, 3, 32, 32), np.inf)}, "the data are not finite"),
        ({"truth": np.zeros((0, 3, 32, 32))}, "there are no data"),
        ({"truth": np.full((4, 3, 32, 32), 0.3)}, "the data have no contrast"),
        ({"truth": None, "real": None}, "data cannot be drawn, and no real pictures"),
    ],
)
def test_data_that_are_none_are_nothing_to_compare_with(more: dict, said: str) -> None:
    assert said in measure(around(DATA, **more), {"contrast": METRICS["contrast"]})["contrast"]["undefined"]


@pytest.mark.parametrize("real", [np.zeros((0, 3, 32, 32)), np.full((5, 3, 32, 32), np.nan), None])
def test_an_empty_or_infinite_real_set_is_said(real) -> None:
    found = measure(around(DATA, real=real), METRICS)
    assert all("real pictures" in found[name]["undefined"] for name in ("kd_effnet", "precision", "recall", "coverage"))


# ------------------------------------------------------------------------------------------------- one metric's failure


class Breaks(Metric):
    unit = "x"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def statistic(self, context: Context) -> Statistic:
        raise self.error


def flat(images: np.ndarray, **more: object) -> Samples:
    items = [Item("a", i) for i in range(len(images))]
    return Samples(images, items, clustered(items).labels, **more)


@pytest.mark.parametrize(
    ("error", "said", "fault"),
    [
        (UndefinedError("why not"), "why not", False),
        (ValueError("metric.x: no such file"), "metric.x: no such file", False),
        (np.linalg.LinAlgError("SVD did not converge"), "LinAlgError: SVD did not converge", False),
        (MemoryError("no 5 GiB"), "MemoryError: no 5 GiB", False),
        (IndexError("out of bounds"), "it failed, see the traceback (IndexError: out of bounds)", True),
    ],
)
def test_one_metric_that_fails_does_not_lose_the_others(error, said: str, fault: bool, capsys) -> None:
    images = np.random.default_rng(0).standard_normal((6, 1, 4, 4))
    found = measure(flat(images, paired=images + 1), {"bad": Breaks(error), "rms": Rms()})
    assert found["bad"]["undefined"] == said and found["rms"]["point"] == pytest.approx(1)
    assert found["bad"].get("failed", False) == (not isinstance(error, UndefinedError))
    assert ("Traceback" in capsys.readouterr().err) == fault  # a bug of ours is shown as one
    with pytest.raises(KeyboardInterrupt):
        measure(flat(images), {"bad": Breaks(KeyboardInterrupt())})  # type: ignore[arg-type]


def command(monkeypatch: pytest.MonkeyPatch, module, *words: str) -> int:
    return exit_status(monkeypatch, module.main, *words)


NO_DATA = "the model's data cannot be drawn, and no real pictures are given"


@pytest.mark.parametrize(
    ("metrics", "status", "said"),
    [
        ("[rprec,tclip]", 1, ["rprec            - (samples without a prompt", "tclip            - ("]),
        (
            "[clipped,contrast]",
            0,
            ["clipped          0.000", f"contrast         - ({NO_DATA})", "no ±: fewer"],
        ),
        ("[]", 0, ["nothing was asked for"]),
    ],
)
def test_evaluate_says_why_and_writes_it(monkeypatch, tmp_path, capsys, metrics: str, status: int, said: list[str]) -> None:
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / "pictures" / f"{i}.png")
    words = [str(tmp_path / "pictures"), f"metric={metrics}", f"output={tmp_path / 'table.csv'}"]
    assert command(monkeypatch, evaluate, *words) == status
    shown = capsys.readouterr().out
    assert all(line in shown for line in said)
    frame = pd.read_csv(tmp_path / "table.csv")
    assert set(compare.VALUE) <= set(frame) and len(frame) == len([m for m in metrics.strip("[]").split(",") if m])
    assert frame["point"].notna().equals(frame["undefined"].isna()) and frame["low"].isna().all()


def test_a_run_of_which_nothing_can_be_measured_says_so_and_stays(monkeypatch, tmp_path, capsys) -> None:
    words = ["model=gaussian", "prompt=[wide]", "seeds=0..2", "grid.n_levels=3", "reference=null", f"results={tmp_path}"]
    assert command(monkeypatch, run, *words, "metric=[contrast,view]") == 1
    assert "no contrast, view for ddim, data: the samples are not pictures." in capsys.readouterr().out.replace("colour ", "")
    assert command(monkeypatch, run, *words, "metric=[contrast,energy]") == 0
    assert command(monkeypatch, run, *words, "metric=[]") == 0
    assert "nothing was asked for" in capsys.readouterr().out


# ----------------------------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_fewer_than_five_clusters_give_the_value_alone_everywhere(n: int) -> None:
    values = np.random.default_rng(n).standard_normal(3 * n)
    labels = np.repeat(np.arange(n), 3)
    gap = difference(values, np.zeros(3 * n), labels)
    found = [jackknife(mean_of(values), clusters_of(labels)), share(values > 0, labels), gap.estimate]
    assert [one.point for one in found] == pytest.approx([values.mean(), (values > 0).mean(), values.mean()])
    assert {math.isfinite(end) for one in found for end in one[1:]} == {n >= 5}
    assert math.isnan(gap.p) == math.isnan(gap.effect) == math.isnan(equivalent(gap, 1.0).p) == (n < 5)
    assert (verdict(gap, 1e9, gap.p) == UNTOLD) == (n < 5)
    assert ("±" in compare.cell(*found[0])) == (n >= 5)


@pytest.mark.parametrize("n", [1, 2, 4, 6])
def test_a_few_pictures_are_measured_without_interval(n: int) -> None:
    images = np.random.default_rng(0).standard_normal((n, 3, 32, 32))
    names = ["rms", "psnr", "clipped", "novelty", "energy", "kd_effnet", "diversity", "vendi", "coverage"]
    given = flat(images, paired=images + 0.5, truth=DATA[:, 0], same_law=True, real=DATA[:, 0])
    found = measure(given, {name: METRICS[name] for name in names})
    single = {"energy", "kd_effnet", "diversity", "vendi", "coverage"} if n == 1 else {"coverage"} if n < 6 else set()
    assert {name for name in names if "undefined" in found[name]} == single
    assert {math.isfinite(values["low"]) for values in found.values() if "point" in values} == {n >= 5}
    assert found["rms"]["point"] == pytest.approx(0.5)


class Some(Metric):
    """The mean of a few samples of known values."""

    unit = "x"

    def __init__(self, used: np.ndarray) -> None:
        self.used = used

    def statistic(self, context: Context) -> Statistic:
        return Part(mean_of(context.images.mean(axis=(1, 2, 3))), self.used)


@pytest.mark.parametrize("n_used", [3, 7])
def test_samples_without_a_say_carry_no_interval(n_used: int) -> None:
    """Seven of twenty: Student's t of those seven alone, by scipy. With all twenty clusters it would be of 19 degrees."""
    images = np.random.default_rng(0).standard_normal((20, 1, 2, 2))
    found = measure(flat(images), {"some": Some(np.arange(20) < n_used)})["some"]
    means = images.mean(axis=(1, 2, 3))[:n_used]
    assert (found["n_used"], found["n_clusters"]) == (n_used, n_used) and found["point"] == pytest.approx(means.mean())
    if n_used < 5:
        assert math.isnan(found["low"])
    else:
        want = scipy_stats.t.interval(0.95, n_used - 1, means.mean(), scipy_stats.sem(means))
        assert (found["low"], found["high"]) == pytest.approx(want)
    gap = compared(flat(images), flat(images - 1), Some(np.arange(20) < n_used))
    assert gap.n_clusters == n_used and gap.difference.estimate.point == pytest.approx(1)
    assert math.isnan(gap.difference.p) == (n_used < 5)


# ------------------------------------------------------------------------------------------------------------ clusters

CAPTIONS = list(dict.fromkeys(World.open().where("val", "object").table["caption"]))
DIGITS = Empirical.of()


def test_clusters_are_what_was_drawn() -> None:
    for items, model, over, n in (
        (items_of(["a", "b", "c", "d", "e"], range(3)), None, "prompts", 5),
        (items_of(["a", "b", "c", "d"], range(30)), shapes(n=1), "seeds", 30),
        (items_of(["a", "b", "c", "d"], range(3)), shapes(n=1), "seeds", 3),
        (items_of([None], range(30)), None, "pictures", 30),
        (items_of(list(DIGITS.prompts), range(32)), DIGITS, "seeds", 32),
        (items_of(list(DIGITS.prompts), range(4)), DIGITS, "items", 40),
        (items_of(["3"], range(3)), DIGITS, "items", 3),
        (items_of(CAPTIONS[:60], range(2)), None, "concepts", len({CONCEPTS[c] for c in CAPTIONS[:60]})),
    ):
        found = clustered(items, model)
        assert (found.over, len(set(found.labels))) == (over, n)
    assert (
        len(set(clustered([Item("a", 0), *items_of(["b", "c", "d", None], range(2))]).labels)) == 6
    )  # unconditional ones alone


CONCEPTS = dict(zip(World.open().table["caption"], World.open().table["concept"], strict=True))


@pytest.mark.parametrize("sampled", [True, False])
def test_intervals_over_what_was_drawn_cover_and_over_the_other_do_not(sampled: bool) -> None:
    """Means over prompts x seeds where prompts differ: of text the mean over all prompts is asked, of a law that of its own."""
    rng, n, held = np.random.default_rng(0), 800, {"right": 0, "wrong": 0}
    items = items_of([str(k) for k in range(10)], range(10))
    right = clustered(items, None if sampled else DIGITS).labels
    wrong = clustered(items, DIGITS if sampled else None).labels
    classes = rng.standard_normal(10)
    wide = {"right": 0.0, "wrong": 0.0}
    for _ in range(n):
        means = rng.standard_normal(10) if sampled else classes
        values = np.repeat(means, 10) + rng.standard_normal(100)
        for name, labels in (("right", right), ("wrong", wrong)):
            found = jackknife(mean_of(values), clusters_of(labels))
            held[name] += found.low <= (0 if sampled else classes.mean()) <= found.high
            wide[name] += found.half / n
    assert abs(held["right"] / n - 0.95) < 0.025  # three standard errors
    assert held["wrong"] / n < 0.6 if sampled else wide["wrong"] > 1.5 * wide["right"]


def test_two_commands_never_give_different_intervals(monkeypatch, tmp_path, capsys) -> None:
    metrics = "metric=[contrast,sharpness,energy,sliced_w2,modes,nearest]"
    made = [
        "model=digits",
        "sampler=sds",
        "grid.n_levels=5",
        "reference=null",
        "prompt=[1,3,8]",
        "seeds=0..5",
        metrics,
        f"results={tmp_path}",
    ]
    assert command(monkeypatch, run, *made) == 0
    (folder,) = [path.parent for path in tmp_path.glob("main/*/shards")]
    assert command(monkeypatch, evaluate, str(folder), metrics, f"output={tmp_path / 'table.csv'}") == 0
    assert capsys.readouterr().out.count("± is half of a 95 % interval over") == 2
    first = pd.read_csv(next(tmp_path.glob("main/sweep-*.csv")))
    first, second = first[first["run"] == "sds"], pd.read_csv(tmp_path / "table.csv")
    columns = ["measure", "point", "low", "high", "n", "diverged", "clusters", "n_clusters"]
    pd.testing.assert_frame_equal(first[columns], second[columns], check_exact=True)


# -------------------------------------------------------------------------------------------------------------- counts


class Bright(Metric):
    unit = "share"
    of_sets = True

    def statistic(self, context: Context) -> Statistic:
        return Hits(np.asarray(context.images.mean(axis=(1, 2, 3)) > -9, dtype=float))


def test_counts_count_objects() -> None:
    some = DATA.copy()
    some[2, 3, 0, 0, 0] = np.nan  # one pixel of one view
    given = around(some)
    found = measure(given, {"bright": Bright(), "to_shape": METRICS["to_shape"]})
    assert [(values["n_used"], values["flagged"]) for values in found.values()] == [(5, True), (5, False)]
    assert found["bright"]["point"] == pytest.approx(5 / 6)  # all eight views of it are misses
    made = evaluate.Finished("x", tuple(given.items), given.images, clustered(given.items), n_views=8, sights=given.sights)
    assert made.counts == {"n": 6, "diverged": 1}
    cost = {"rows": dict.fromkeys(compare.ROW_USES, 12), "seconds": 3.0, "peak_mb": 1.0}
    entry = compare.Entry("x", made.items, made.images, found, made.clusters, cost, Path("f"), n_views=8)
    frame = compare.tidy([entry], None)
    assert set(frame["n"]) == {6} and set(frame["diverged"]) == {1} and set(frame["seconds"]) == {0.5}
    assert set(frame["rows_other"]) == {2} and "1/6" in compare.render(frame)


# ----------------------------------------------------------------------------------------- tables, differences, figures


def test_tables_say_over_which_clusters_and_how_many() -> None:
    rows = [("a", 1.0, "concepts", 12), ("b", 1.0, "concepts", 12), ("c", 1.0, "concepts", 7), ("d", math.nan, "concepts", 3)]
    frame = pd.DataFrame(
        [{"run": "x", "measure": m, "point": 2.0, "low": e, "high": e, "clusters": o, "n_clusters": n} for m, e, o, n in rows]
    )
    assert (
        compare.clustering(frame)[0]
        == "± is half of a 95 % interval over 12 prompts (concepts); over 7 prompts (concepts) for c."
    )
    assert "fewer than 5 clusters" in compare.clustering(frame)[1]
    assert compare.clustering(frame[:0]) == ["nothing was asked for (metric=[])."]


def test_differences_of_too_few_have_no_p_and_change_no_other_s() -> None:
    rng = np.random.default_rng(0)
    a, b = (flat(rng.standard_normal((n, 1, 4, 4)), paired=np.zeros((n, 1, 4, 4))) for n in (30, 4))
    far = [flat(3 * one.images, paired=one.paired) for one in (a, b)]
    pairs = [evaluate.against(*both, Rms(), 0.1) for both in ((far[0], a), (far[1], b))]
    found = evaluate.verdicts(pd.DataFrame([{"measure": "rms"} | pair for pair in pairs]))
    assert list(found["verdict"]) == ["higher", UNTOLD]
    assert (
        found["p_holm"][0] == found["p"][0]
        and np.isnan(found.loc[1, ["low", "high", "effect", "p", "p_equal", "p_holm"]].astype(float)).all()
    )
    assert "higher" in benchmark2d.pairs(found.assign(a="x", b="y", gamma=1.0, clusters="seeds"))
    assert UNTOLD in benchmark2d.pairs(found.assign(a="x", b="y", gamma=1.0, clusters="seeds"))


def test_figures_show_points_without_intervals(tmp_path) -> None:
    rows = [
        {"run": run, "a": run, "tier": tier, "gamma": 1.0, "measure": m, "point": 1.0 + k, "low": np.nan, "high": np.nan}
        for tier in ("seeds", "furniture", "1 shape")
        for m in ("sharpness", "to_shape", "to_blend")
        for k, run in enumerate(("sds", "sdi"))
    ]
    frame = pd.DataFrame(rows).assign(ideal=0.0, unit="x", n=4, diverged=0, clusters="seeds", n_clusters=4)
    for module, made, draw in (
        (benchmark2d, benchmark2d.prepare_kappas(frame.drop(columns="run")), benchmark2d.draw_kappas),
        (benchmark3d, benchmark3d.prepare(frame), benchmark3d.draw),
        (trained, trained.prepare_beside(frame.drop(columns="run")), trained.draw_beside),
    ):
        assert len(made)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            draw(made, tmp_path / f"{module.__name__}.png")
    plot = plots.plot_of("x", frame[frame["tier"] == "seeds"])
    assert all(dot.low == dot.x == dot.high and math.isfinite(dot.x) for panel in plot.panels for dot in panel.dots)
    told = tables.table_of("x", "x", frame, [])
    assert any("no ±" in note for note in told.notes) and all(
        "±" not in cell.text for line in told.lines for cell in line.cells
    )
