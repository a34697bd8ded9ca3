"""Figures of scatter, correlation and doses: against what is known."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from analysis.figures.correlation import Correlation  # noqa: E402
from analysis.figures.doses import Doses  # noqa: E402
from analysis.figures.kappa import Kappa, measures  # noqa: E402
from analysis.figures.paths import Paths  # noqa: E402
from analysis.figures.scatter import Scatter  # noqa: E402
from analysis.runs import Runs  # noqa: E402
from sdi_bench import Distillation, Fresh, Gaussian, UniformLogSigma  # noqa: E402
from sdi_bench.draws import items_of  # noqa: E402
from sdi_bench.noise import Fixed, Previous  # noqa: E402
from sdi_bench.plotting.correlation import over_pixels, over_seeds  # noqa: E402
from sdi_bench.predictor import Cost  # noqa: E402
from sdi_bench.probes import Spread, Trajectory  # noqa: E402
from sdi_bench.samplers import Annealed  # noqa: E402
from sdi_bench.sampling import Job  # noqa: E402
from sdi_bench.schedules import Karras  # noqa: E402
from sdi_bench.store import Listed, RunFolder, write_index  # noqa: E402

VARIANCE = np.array([0.25, 4.0])
PLANE = Gaussian.of({"c": ([1.0, -0.5], np.diag(VARIANCE).tolist())}, ([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]]))
GRID = UniformLogSigma(8, 20.0, 0.05)
SIGMAS = np.geomspace(20.0, 0.05, 8)
ITEMS = items_of(["c"], range(200))
NOISES = {"sds": Fresh(), "fixed": Fixed(), "previous": Previous()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    """Probes on a plane whose two directions have variances 1/4 and 4."""
    folder = tmp_path_factory.mktemp("runs")
    listed = []
    for row, noise in NOISES.items():
        job = Job(PLANE, Distillation(Annealed(GRID), noise), Karras())
        for tier, probe in (("scatter plane", Spread(32, 7)), ("paths plane", Trajectory(8))):
            run = RunFolder(folder / f"{row}-{tier}")
            run.write_probed(ITEMS, probe.measure(job, ITEMS, Cost()), {})
            run.write_text("config.yaml", "{}")
            listed.append(Listed(tier, row, row, 1.0, run))
    write_index(folder, listed)
    return Runs(folder)


def test_scatter_is_what_a_gaussian_says(runs) -> None:
    """The update scatters by (d·sigma')² over draws, d = s²/(s² + sigma'²); over seeds, with cached kappa, it is DDIM's own."""
    table = Scatter(["scatter plane"], ["paths plane"]).prepare(runs)
    some = table[(table["row"] == "sds") & (table["what"] == "over draws")]
    d = VARIANCE[:, None] / (VARIANCE[:, None] + SIGMAS[1:] ** 2)
    want = ((d * SIGMAS[1:]) ** 2).mean(axis=0)
    assert some["sigma"].to_numpy() == pytest.approx(SIGMAS[:-1])
    # 200 items of 32 draws: a variance is good to sqrt(2/31/200), 1.8 % a direction; four standard errors
    assert some["point"].to_numpy() == pytest.approx(want, rel=0.072)
    assert (
        table[(table["row"] == "fixed") & (table["what"] == "over draws")]["point"].min() > 0.001
    )  # other draws, other fixed kappas
    assert table[(table["row"] == "previous") & (table["what"] == "over draws")]["point"].max() < 1e-14  # rounding
    assert "previous" not in set(table[table["what"] == "signal to noise"]["row"])
    # x0 of DDIM at sigma: mu + d(sigma)·gain(sigma)·z, so the change over seeds has the variance (difference of factors)²
    gain = np.cumprod([SIGMAS[0] + 0 * VARIANCE] + [
        (VARIANCE + high * low) / (VARIANCE + high**2) for high, low in zip(SIGMAS, SIGMAS[1:], strict=False)
    ], axis=0)  # fmt: skip
    factor = VARIANCE / (VARIANCE + SIGMAS[:, None] ** 2) * gain
    seeds = table[(table["row"] == "previous") & (table["what"] == "over seeds")]
    assert seeds["point"].to_numpy() == pytest.approx((np.diff(factor, axis=0) ** 2).mean(axis=1), rel=4 * np.sqrt(2 / 200))


def test_correlation_of_what_is_known(runs) -> None:
    table = Correlation(["paths plane"], list(NOISES)).prepare(runs)
    off = table[table["i"] != table["j"]].groupby("row")
    assert off["over seeds"].min()["fixed"] == pytest.approx(1)
    assert off["over seeds"].min()["previous"] == pytest.approx(
        1
    )  # one direction a pixel: all of a pixel's noise is one number
    assert abs(off["over seeds"].mean()["sds"]) < 4 / np.sqrt(200 * 2 * 21)  # 21 pairs of levels, two directions
    assert off["over pixels"].min()["fixed"] == pytest.approx(1)


def test_the_two_measures_tell_the_image_from_its_draws() -> None:
    """kappa = m + r·z_level: over seeds the common part m is gone, over pixels it is all that is left as r falls."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((1, 1, 50))
    noise = common + 0.1 * rng.standard_normal((400, 3, 50))
    prompts = np.array(["p"] * 400)
    assert over_seeds(noise, prompts)[0, 1] == pytest.approx(0, abs=0.03)
    assert over_pixels(noise)[0, 1] == pytest.approx(1 / 1.01, abs=0.01)
    shared = rng.standard_normal((400, 1, 50))
    rho = over_seeds(shared + rng.standard_normal((400, 3, 50)), prompts)
    assert rho[0, 1] == pytest.approx(0.5, abs=0.03)
    assert np.diag(rho) == pytest.approx(1)
    two = np.concatenate([shared, shared + 100])  # prompts are told apart: their means are no correlation
    names = np.array(["p"] * 400 + ["q"] * 400)
    assert over_seeds(two + 10 * rng.standard_normal((800, 2, 50)), names)[0, 1] == pytest.approx(1 / 101, abs=0.02)


def test_doses_are_read_from_what_was_chosen(tmp_path) -> None:
    listed, measured = [], []
    noises = {
        "a": {"_target_": "sdi_bench.noise.Mixed", "lam": float("inf")},
        "b": {"_target_": "sdi_bench.noise.Mixed", "lam": 1.0},
        "c": {"_target_": "sdi_bench.noise.Fresh", "n_avg": 4},
    }
    for row, noise in noises.items():
        run = RunFolder(tmp_path / row)
        run.write_probed(ITEMS[:2], {"x": np.zeros((2, 1))}, {})
        run.write_text("config.yaml", yaml.safe_dump({"sampler": {"noise": noise, "timeline": {"grid": {"n_levels": 10}}}}))
        listed.append(Listed("doses toy", row, row, 1.0, run))
        measured.append(
            {"tier": "doses toy", "run": row, "measure": "sharpness", "n": 2, "point": 0.1, "low": 0.0, "high": 0.2}
        )
    write_index(tmp_path, listed)
    pd.DataFrame(measured).assign(unit="log").to_csv(tmp_path / "measures.csv", index=False)
    table = Doses({"doses toy": ["sharpness"]}).prepare(Runs(tmp_path))
    assert table["kind"].tolist() == ["mixed", "mixed", "mean of draws"]
    assert table["dose"].tolist() == [np.inf, 1.0, 4.0]
    assert table["n_levels"].tolist() == [10, 10, 10]
    Doses({"doses toy": ["sharpness"]}).draw(table, Runs(tmp_path), tmp_path / "doses.png")
    assert (tmp_path / "doses.png").stat().st_size > 5000


def test_ink(runs, tmp_path) -> None:
    for figure in (Scatter(["scatter plane"], ["paths plane"]), Correlation(["paths plane"], list(NOISES))):
        table = figure.prepare(runs)
        assert table.to_csv() == figure.prepare(runs).to_csv()
        figure.draw(table, runs, tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 5000


def test_what_white_noise_and_noise_in_the_object_measure() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((300, 16, 16), bool)
    mask[:, 4:8, 4:12] = True
    white, x0 = rng.standard_normal((300, 3, 16, 16)), rng.standard_normal((300, 3, 16, 16))
    found = {key: value.mean() for key, value in measures(white, x0, white, mask).items()}
    assert found["to DDIM's noise"] == pytest.approx(1)
    assert found["size"] == pytest.approx(1, abs=0.01)
    assert found["in the object"] == pytest.approx(1, abs=0.02)
    for name in ("to x0", "neighbours", "kurtosis", "tilt"):
        assert found[name] == pytest.approx(0, abs=0.05), name
    inside = {key: value.mean() for key, value in measures(np.where(mask[:, None], white, 0), x0, white, mask).items()}
    assert inside["in the object"] == pytest.approx(256 / 32)
    smooth = white + np.roll(white, 1, axis=3)
    told = {key: value.mean() for key, value in measures(smooth, x0, white, mask).items()}
    assert told["neighbours"] == pytest.approx(0.25, abs=0.02)  # 1/2 along one axis, 0 along the other
    assert told["tilt"] > 0.5
    assert measures(white, white + 5, white, mask)["to x0"].mean() == pytest.approx(1, abs=0.02)
    assert "in the object" not in measures(white, x0, white, mask | True)


def test_a_straight_path_is_straight(tmp_path) -> None:
    steps = np.array([1.0, 2.0, 0.5])
    x0 = np.concatenate([[0.0], np.cumsum(steps)])[None, :, None, None, None] * np.ones((4, 1, 1, 2, 2))
    arrays = {"x0": x0, "length": np.tile(steps, (4, 1)), "turn": np.ones((4, 2))}
    back = {"x0": 0 * x0, "length": np.tile(steps, (4, 1)), "turn": -np.ones((4, 2))}
    listed = []
    for row, kept in (("straight", arrays), ("back", back)):
        run = RunFolder(tmp_path / row)
        run.write_probed(items_of(["p"], range(4)), kept, {})
        listed.append(Listed("paths toy", row, row, 1.0, run))
    write_index(tmp_path, listed)
    table = Paths(["paths toy"]).prepare(Runs(tmp_path)).set_index(["row", "what"])
    assert table.loc[("straight", "length"), "point"].item() == pytest.approx(3.5)
    assert table.loc[("straight", "straightness"), "point"].item() == pytest.approx(1)
    assert table.loc[("back", "straightness"), "point"].item() == 0
    assert table.loc[("back", "turn"), "point"].tolist() == [-1, -1]
    Paths(["paths toy"]).draw(table.reset_index(), Runs(tmp_path), tmp_path / "paths.png")
    assert (tmp_path / "paths.png").stat().st_size > 5000


@pytest.fixture
def toy(tmp_path) -> Runs:
    """Two prompts of different means, three kept states of 2 x 4 pictures; ddim, which adds no noise, and sdi."""
    rng, items = np.random.default_rng(1), items_of(["p", "q"], range(30))
    shape = (60, 3, 3, 4, 4)
    x0 = np.ones(shape)
    x0[:, -1, :, :2] = 0.5  # the object: the upper half, half as bright as white
    offset = np.repeat([0.0, 50.0], 30)[:, None, None, None, None]
    arrays = {
        "x0": x0,
        "eps": rng.standard_normal(shape),
        "update": rng.standard_normal(shape) + offset,
        "sigma": np.tile([4.0, 2.0, 1.0], (60, 1)),
        "length": np.ones((60, 4)),
        "turn": np.ones((60, 3)),
    }
    listed = []
    for row, kappa in (("ddim", np.full(shape, np.nan)), ("sdi", arrays["eps"] * (1 + 3 * (x0[:, -1:] < 1)))):
        run = RunFolder(tmp_path / row)
        run.write_probed(items, arrays | {"kappa": kappa}, {})
        listed.append(Listed("paths toy", row, row, 1.0, run))
    spread = RunFolder(tmp_path / "spread")
    spread.write_probed(
        items, {"variance": np.full((60, 2), 4.0), "signal": np.full((60, 2), 2.0), "sigma": np.ones((60, 2))}, {}
    )
    write_index(tmp_path, [*listed, Listed("scatter toy", "sds", "sds", 1.0, spread)])
    return Runs(tmp_path)


def test_scatter_keeps_prompts_apart_and_divides_by_the_variance(toy) -> None:
    table = Scatter(["scatter toy"], ["paths toy"]).prepare(toy)
    assert table[table["what"] == "signal to noise"]["point"].tolist() == [0.5, 0.5]
    update = toy.tier("paths toy")[0].probed[1]["update"]
    want = [
        np.mean([update[part, place].var(axis=0, ddof=1).mean() for part in (slice(30), slice(30, 60))]) for place in (1, 2)
    ]
    seeds = table[(table["what"] == "over seeds") & (table["row"] == "ddim")]
    assert seeds["point"].tolist() == pytest.approx(want)
    assert seeds["sigma"].tolist() == [2.0, 1.0]


def test_correlation_takes_eps_where_there_is_no_kappa_and_names_its_levels(toy) -> None:
    table = Correlation(["paths toy"], ["ddim", "sdi"]).prepare(toy)
    assert np.isfinite(table["over seeds"]).all()
    pairs = table[table["row"] == "ddim"].set_index(["i", "j"])
    assert pairs.loc[(0, 1), ["sigma_i", "sigma_j"]].tolist() == [2.0, 1.0]  # no step leads to the first state
    noise = toy.tier("paths toy")[0].probed[1]["eps"][:, 1:].reshape(60, 2, -1)
    want = np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in noise])
    assert pairs.loc[(0, 1), "over pixels"] == pytest.approx(want)


def test_a_turn_stands_at_its_state(toy) -> None:
    table = Paths(["paths toy"]).prepare(toy)
    assert table[(table["row"] == "ddim") & (table["what"] == "turn")]["state"].tolist() == [2, 3, 4]


def test_the_object_is_where_the_last_picture_is_not_white(toy) -> None:
    figure = Kappa(["paths toy"], ["ddim", "sdi"])
    table = figure.prepare(toy)
    assert set(table["sigma"]) == {2.0, 1.0}
    inside = table[table["measure"] == "in the object"].groupby("row")["point"].mean()
    assert inside["ddim"] == pytest.approx(1, abs=0.05)
    assert inside["sdi"] == pytest.approx(2 * 16 / 17, abs=0.05)  # four times as large on one half
    arrays = toy.tier("paths toy")[1].probed[1]
    before = (arrays["x0"] - arrays["update"])[:, 1].reshape(60, -1)
    centred = before - before.mean(axis=1, keepdims=True)
    noise = arrays["kappa"][:, 1].reshape(60, -1)
    cosines = (noise * centred).sum(1) / np.linalg.norm(noise, axis=1) / np.linalg.norm(centred, axis=1)
    found = table[(table["row"] == "sdi") & (table["sigma"] == 2.0)].set_index("measure")["point"]
    assert found["to x0"] == pytest.approx(cosines.mean())
    eps = arrays["eps"][:, 1].reshape(60, -1)
    assert found["to DDIM's noise"] == pytest.approx(
        ((noise * eps).sum(1) / np.linalg.norm(noise, axis=1) / np.linalg.norm(eps, axis=1)).mean()
    )
    figure.draw(table, toy, toy.folder / "kappa.png")
    assert (toy.folder / "kappa.png").stat().st_size > 5000
