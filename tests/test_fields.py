"""The main job in 3D: what it writes, how it goes on after a kill, what it refuses; the prior of known shapes; its metrics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from commands import exit_status

from sdi_bench import evaluate, jobs, run
from sdi_bench.data.meshes import open_meshes
from sdi_bench.data.world import World
from sdi_bench.draws import Item
from sdi_bench.metrics import (
    Chamfer,
    Context,
    Floaters,
    Janus,
    Mixed,
    Named,
    Parted,
    Rprec,
    ShapeLpips,
    Sights,
    Silhouette,
    ToBlend,
    ToShape,
    UndefinedError,
)
from sdi_bench.metrics.known import blended, cloud, named_in, trained, turned
from sdi_bench.models.builtin import local
from sdi_bench.models.shapes import shapes
from sdi_bench.scenes import Voxel
from sdi_bench.schedules import scaled_linear
from sdi_bench.store import RunFolder

WORDS = ["experiment=3d", "model=shapes", "prompt=[shape]", "grid.n_levels=6", "scene.resolutions=[8]", "scene.n_samples=8"]


def command(monkeypatch, tmp_path, *words: str) -> int:
    return exit_status(monkeypatch, run.main, *words, f"results={tmp_path}")


@pytest.mark.slow
def test_a_sweep_over_fields_writes_pictures_and_the_second_time_runs_nothing(monkeypatch, tmp_path, capsys) -> None:
    words = ["-m", *WORDS, "sampler=sds,sdi", "seeds=0..8", "metric=[contrast,sharpness,to_shape]"]
    assert command(monkeypatch, tmp_path, *words) == 0
    table = capsys.readouterr().out
    assert "n: objects, each seen from 48 sides" in table and "to_shape" in table
    folders = [path for path in (tmp_path / "3d").iterdir() if path.is_dir() and not path.name.startswith(".")]
    assert len(folders) == 2
    for folder in folders:
        shards = sorted((folder / "shards").iterdir())
        assert len(shards) == 2 and not any(path.name.startswith(".") for path in shards)  # eight fields, and one
        chunks = RunFolder(folder).chunks()
        assert [len(chunk) for chunk in chunks] == [8, 1]
        shard = RunFolder(folder).read_shard(chunks[0])
        assert shard.images.shape == (8, 48, 3, 32, 32)
        assert RunFolder(folder).read_params(chunks[0]).shape == (8, 4 * 8**3)
        assert len(list(folder.glob("*.gif"))) == 9 and (folder / "samples.png").exists()
    rows = {use: count for use, count in shard.rows.items() if count}
    assert rows["conditional"] == 8 * 5
    assert command(monkeypatch, tmp_path, *words) == 0
    again = capsys.readouterr().out
    assert "finished earlier, not run again: sds, sdi" in again
    assert again.split("\nrun  ")[1] == table.split("\nrun  ")[1]


@pytest.mark.slow
def test_a_killed_field_goes_on_with_the_same_bits(monkeypatch, tmp_path) -> None:
    """Killed in the second of two batches of a shard, by an error in the middle of a write: the first is not made again."""
    words = [*WORDS, "sampler=sdi", "seeds=0..3", "batch_size=2", "metric=[contrast]", "grid.n_levels=9"]
    assert command(monkeypatch, tmp_path / "whole", *words) == 0
    monkeypatch.setattr(jobs, "CHECKPOINT", 0.0)
    kept, made = jobs.save, []

    def killed(plan, batch, state, cost, seconds, path) -> None:
        kept(plan, batch, state, cost, seconds, path)
        made.append((batch[0].seed, state.index))
        if made[-1] == (2, 4):
            raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        command(monkeypatch, tmp_path / "broken", *words)
    (folder,) = [path.parent for path in (tmp_path / "broken").glob("3d/*/shards")]
    assert len(list((folder / "shards").iterdir())) == 2 and (folder / "now.png").exists()
    made.clear()
    assert command(monkeypatch, tmp_path / "broken", *words) == 0
    assert [index for seed, index in made if seed == 0] == [] and min(i for seed, i in made if seed == 2) == 5
    shards = [next(iter((tmp_path / name).glob("3d/*/shards/*.npz"))) for name in ("whole", "broken")]
    assert shards[0].name == shards[1].name
    one, other = (np.load(path) for path in shards)
    paths = [np.load(next((tmp_path / name).glob("3d/*/trajectory.npz"))) for name in ("whole", "broken")]
    assert paths[0]["x0"].shape[1] == 4  # of all four items, two batches
    for name in paths[0].files:
        np.testing.assert_array_equal(paths[0][name], paths[1][name])
    assert np.array_equal(one["images"], other["images"]) and np.array_equal(one["params"], other["params"])
    rows = [RunFolder(path.parents[1]).read_shard(RunFolder(path.parents[1]).chunks()[0]).rows for path in shards]
    assert rows[0] == rows[1]
    assert [path.name for path in (folder / "shards").iterdir()] == [shards[1].name]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sampler=ddim"], "sampler=ddim has no update; sds, sdi, ism and sds_dreamfusion have"),
        (["noise@sampler.noise=previous"], "noise=Previous: takes the last step's noise"),
        (["update@sampler.update=full"], "update=full: Voxel cannot be set to a picture"),
        (["scene.resolutions=[1]"], "scene.resolutions=1: must be a whole number >= 2"),
        (["scene.wording.text=x"], "scene.wording.text='x': must hold {prompt}"),
        (["model.n=99"], "model.n=99: there are 15 models of armchair"),
        (["model.concepts=[yeti]"], "model.concepts: 'yeti' is no object"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_runs(monkeypatch, tmp_path, capsys, words, said) -> None:
    keys = {word.split("=")[0] for word in words}
    rest = [word for word in WORDS if word.split("=")[0] not in keys]
    assert command(monkeypatch, tmp_path, *rest, *words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.glob("3d/*/shards"))


# -------------------------------------------------------------------------------------------------------------- the priors


def test_shapes_means_each_view_of_each_shape_and_nothing_else() -> None:
    model = replace(shapes(n=3, size=16), dtype=torch.float64)
    assert model.truths.shape == (3, 8, 3, 16, 16)
    level = scaled_linear().level(torch.tensor([0.6], dtype=torch.float64))
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for k in range(8):
        found = model.predict(x, level, [[f"shape, {45 * k} degrees"]]).x0[0, 0]
        views = model.truths[:, k]
        a, b, s = float(level.a), float(level.b), model.width
        v = b * b + a * a * s * s
        weights = torch.softmax(-(x - a * views).square().sum((1, 2, 3)) / (2 * v), 0)
        mean = (weights[:, None, None, None] * views).sum(0)
        torch.testing.assert_close(
            found, mean + a * s * s / v * (x[0] - a * mean), rtol=0, atol=1e-11
        )  # sums of 768 squares, over 2v
    assert len(model.words.weigh(None)[0]) == 24


def test_blends_stand_between_each_shape_and_the_next() -> None:
    plain, chain = shapes(n=3, size=64), shapes(n=3, size=64, blends=3)
    assert chain.truths.shape[0] == 9 and torch.equal(chain.truths[::4], plain.truths)
    a, b = plain.truths[1], plain.truths[2]
    assert (chain.truths[5] - (0.75 * a + 0.25 * b)).abs().max() <= 0.5 / 127.5 + 1e-9
    assert len(chain.words.weigh("shape, 90 degrees")[0]) == 9
    with pytest.raises(ValueError, match=r"^model.blends=5: there is nothing to blend; model.n must be at least 2"):
        shapes(n=1, blends=5)
    angles = np.array(chain.words.fields["camera"]).reshape(9, 8)
    assert (angles == angles[0]).all() and angles[0, 3] == "135 degrees"


def test_the_angle_counts_only_where_it_is_given_a_boost() -> None:
    plain = local(size=8)
    assert set(plain.words.fields) == {"concept", "colour", "view", "style", "words"}
    from sdi_bench.models.builtin import BOOSTS

    told = local(size=8, boosts=BOOSTS | {"camera": 2.0})
    assert told.fingerprint != plain.fingerprint
    table = World.open().where("train").table
    for prompt, azimuth in (("a brown table, front view, 45 degrees", 45), ("a brown table, side view, 270 degrees", 270)):
        best = told.words.weigh(prompt)[0][:5]
        assert (table.iloc[best]["azimuth"] == azimuth).all() and (table.iloc[best]["concept"] == "table").all()


# ------------------------------------------------------------------------------------------------------------- the metrics


def around(images: np.ndarray, prompts: list[str], model=None) -> Context:
    """Objects [n, 8, 3, h, w], each with a prompt, as their pictures are measured."""
    n = len(images)
    sights = Sights(np.repeat(np.arange(n), 8), np.tile(np.arange(0.0, 360, 45), n))
    flat = images.reshape(-1, *images.shape[2:])
    return Context(flat, np.repeat(prompts, 8).tolist(), model, None, False, sights=sights)


def value(metric, context: Context) -> float:
    return float(metric.statistic(context)(np.arange(len(context.images))))


def test_known_shapes_are_told_and_mixtures_are_seen() -> None:
    model = shapes(n=3)
    truth = model.truths.numpy()
    whole = around(truth[[2, 0]], ["shape", "shape"], model)
    assert value(ToShape(), whole) == pytest.approx(100 + 10 * np.log10(4))  # the floor of 1e-10
    assert value(Mixed(), whole) == 0 and value(Silhouette(), whole) == 1 and value(ShapeLpips(), whole) < 1e-6
    # an even error of 0.1: 10·log10(4 / 0.01)
    assert value(ToShape(), around(truth[[1]] - 0.1, ["shape"], model)) == pytest.approx(10 * np.log10(400), abs=1e-4)
    mixture = truth[[0]].copy()
    mixture[0, [1, 4]] = truth[2, [1, 4]]
    context = around(mixture, ["shape"], model)
    gaps = np.square(mixture[0] - truth).mean((1, 2, 3, 4))
    assert gaps.argmin() == 0
    assert value(Mixed(), context) == 2 / 8
    assert value(ToShape(), context) == pytest.approx(10 * np.log10(4 / gaps[0]))
    assert (
        value(ToBlend(), context) < 30 and value(Parted(), context) > 50
    )  # no one blend has views of two; each view has its own


@pytest.mark.parametrize("scale", [1.0, 0.5])  # half as far from gray as a picture may be: shares that add up to one half
def test_an_average_of_known_shapes_is_told_from_a_mixture_of_their_views(scale: float) -> None:
    """Of two shapes the nearest convex blend has a closed form: the share <v - b, a - b> / |a - b|², within [0, 1]."""
    model = shapes(n=2)
    a, b = truth = model.truths.numpy()
    noise = 0.1 * np.random.default_rng(0).standard_normal(a.shape)
    for views in (scale * (0.3 * a + 0.7 * b) + noise, scale * (1.4 * a - 0.4 * b) + noise):
        share = np.clip(np.sum((views - b) * (a - b)) / np.sum((a - b) ** 2), 0, 1)
        np.testing.assert_allclose(blended(views, truth), share * a + (1 - share) * b, atol=1e-5)
        expected = 10 * np.log10(4 / np.mean((views - share * a - (1 - share) * b) ** 2))
        assert value(ToBlend(), around(views[None], ["shape"], model)) == pytest.approx(expected, abs=1e-4)
    average = around((a + b)[None] / 2, ["shape"], model)
    assert value(ToBlend(), average) > 100 and value(Parted(), average) < 1e-3
    far = 10 * np.log10(4 / np.mean((a - b) ** 2))
    assert value(ToShape(), average) == pytest.approx(far + 20 * np.log10(2))  # an average is only so far from either


def test_the_built_in_world_s_objects_are_known_by_name() -> None:
    assert named_in("a gray coffee table") == "coffee table" and named_in("a brown table, side view") == "table"
    assert named_in("an owl") is None
    truth = trained("fire extinguisher", 32)
    assert truth.shape == (1, 8, 3, 32, 32)
    assert value(ToShape(), around(truth, ["a red fire extinguisher, front view"])) > 90
    with pytest.raises(UndefinedError, match="no training object"):
        value(ToShape(), around(truth, ["an owl"]))
    with pytest.raises(UndefinedError, match="not pictures around objects"):
        ToShape().statistic(Context(truth[0], ["a"] * 8, None, None, False))


def test_a_surface_is_held_against_its_mesh_at_the_best_azimuth() -> None:
    """Other points of the same mesh are as near as its points are dense, turned or not; another mesh is far."""
    views = trained("fire extinguisher", 32)
    right, wrong = (cloud(open_meshes()[name], 20_000) for name in ("fire_extinguisher", "grand_piano"))

    def far(points: np.ndarray) -> float:
        context = around(views, ["a red fire extinguisher, front view"])
        return value(Chamfer(), replace(context, sights=replace(context.sights, surface=lambda _: points)))

    here = far(right)
    assert 0 < here < 0.02 and far(turned(right, 130)) == pytest.approx(here, rel=0.02)
    assert far(right + np.array([0.1, 0, 0])) > 3 * here and far(wrong) > 0.1 and far(right[:0]) == 2
    half = cloud(open_meshes()["fire_extinguisher"], 20_000)
    assert far(half[half[:, 1] > 0]) > 3 * here  # what is missing counts, not only what is there
    with pytest.raises(UndefinedError, match="pictures alone"):
        value(Chamfer(), around(views, ["a red fire extinguisher"]))
    context = around(views, ["a white sofa"])
    with pytest.raises(UndefinedError, match="single training object"):
        value(Chamfer(), replace(context, sights=replace(context.sights, surface=lambda _: right)))


def test_pixels_that_float_are_counted() -> None:
    images = np.ones((1, 8, 3, 32, 32))
    images[0, :, :, 10:20, 10:20] = 0
    assert value(Floaters(), around(images, ["x"])) == 0
    images[0, 0, 0, 2:7, 2:7] = 0.5  # 25 pixels beside 100, in one of eight pictures
    assert value(Floaters(), around(images, ["x"])) == pytest.approx(25 / 125 / 8)
    images[0, 1, :, 20, 20] = 0  # a corner that touches
    assert value(Floaters(), around(images, ["x"])) == pytest.approx(25 / 125 / 8)


def test_names_faces_and_ranks_on_real_pictures() -> None:
    """Real pictures of objects: named at the scorer's own rate; backs shown as fronts are taken for fronts more often."""
    truth = np.concatenate([trained(name, 32) for name in ("grand piano", "fire extinguisher", "teddy bear")])
    names = ["a black grand piano", "a red fire extinguisher", "a brown teddy bear"]
    sides = ("front", "front", "side", "back", "back", "back", "side", "front")
    captions = [f"{name}, {side} view" for name in names for side in sides]
    sights = Sights(np.repeat(np.arange(3), 8), np.tile(np.arange(0.0, 360, 45), 3))
    context = Context(truth.reshape(-1, 3, 32, 32), captions, None, None, False, sights=sights)
    one, five, named = Rprec(), Rprec(5), Named(5)
    assert (five.found(context) >= one.found(context)).all()
    per_object = five.found(context).reshape(3, 8).mean(1) >= 0.5
    assert value(named, context) == per_object.mean()
    turned = truth[:, [4, 5, 2, 7, 0, 1, 6, 3]].reshape(-1, 3, 32, 32)
    faces = Context(turned, captions, None, None, False, sights=sights)
    assert value(Janus(), faces) > value(Janus(), context)


def test_evaluate_takes_objects_apart(monkeypatch, tmp_path) -> None:
    words = [*WORDS, "sampler=sds", "seeds=0..1", "metric=[contrast]"]
    assert command(monkeypatch, tmp_path, *words) == 0
    (folder,) = [path.parent for path in tmp_path.glob("3d/*/shards")]
    made = evaluate.open_folder(folder, "folder")
    assert made.n_views == 48 and made.images.shape == (96, 3, 32, 32) and len(made.items) == 96
    assert set(made.clusters.labels) == {"0", "1"} and made.sights is not None and made.sights.azimuths[12] == 90
    metrics = evaluate.chosen(["to_shape", "contrast"])
    rows = evaluate.records(made, made.given(True), metrics, {})
    assert {row["n"] for row in rows} == {2} and rows[0]["rows_conditional"] == 5
    assert len(evaluate.real_pictures("objects", 8)) == 554 * 8


def test_an_object_s_surface_is_that_of_its_own_field(monkeypatch, tmp_path) -> None:
    a, b, c, d = (Item("shape", seed) for seed in range(4))
    fields = {(a,): [[1.0]], (b, c): [[2.0], [3.0]], (d,): [[4.0]]}
    monkeypatch.setattr(RunFolder, "read_params", lambda self, chunk: np.array(fields[chunk]))
    monkeypatch.setattr(jobs, "surface", lambda scene, params: params.numpy())
    surfaces = jobs.Surfaces(Voxel(), RunFolder(tmp_path), list(fields))
    assert [surfaces(k).tolist() for k in range(4)] == [[[1.0]], [[2.0]], [[3.0]], [[4.0]]]
