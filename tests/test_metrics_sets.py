"""Precision, recall, density, coverage, Vendi, spectrum, Laplacian: by double loops, by hand, by law, on real pictures."""

import cmath
import itertools
import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.ndimage import laplace

from sdi_bench.data.shipped import HERE
from sdi_bench.data.world import World
from sdi_bench.features.effnet import Effnet
from sdi_bench.features.neighbours import inside, radii, squared
from sdi_bench.metrics import (
    Context,
    Coverage,
    Density,
    Hits,
    Laplacian,
    Metric,
    Novelty,
    Precision,
    Recall,
    Spectrum,
    UndefinedError,
    Vendi,
)
from sdi_bench.metrics.prdc import Neighbours
from sdi_bench.metrics.spectrum import LUMA, ROUNDING, bands, laplacian_variance, luma
from sdi_bench.models import Empirical
from sdi_bench.stats import Estimate, jackknife

CONF = HERE.parent.parent / "conf" / "metric"
BALLS = tuple(name + end for end in ("", "_ddim") for name in ("precision", "recall", "density", "coverage"))
NAMES = (*BALLS, "vendi", "spectrum", "laplacian")
METRICS = {name: instantiate(OmegaConf.load(CONF / f"{name}.yaml"), _convert_="all")[name] for name in NAMES}
DIGITS = Empirical.of()


@dataclass(frozen=True)
class Written:
    """Features that are written into a picture's first values."""

    d: int
    preprocessing: str = "written"
    floor: int = 1

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return images[:, 0].reshape(len(images), -1)[:, : self.d]


def pictures(points: np.ndarray) -> np.ndarray:
    """32 x 32 pictures with the points written in them."""
    images = np.zeros((len(points), 3, 32, 32))
    images[:, 0].reshape(len(points), -1)[:, : points.shape[1]] = points  # a view
    return images


def of(points: np.ndarray, real: np.ndarray | None = None, prompts: list[str | None] | None = None) -> Context:
    images, other = pictures(points), None if real is None else pictures(real)
    return Context(images, prompts or [None] * len(points), DIGITS, None, same_law=False, real=other)


def value(metric: Metric, context: Context) -> float:
    return metric.statistic(context)(np.arange(len(context.images)))


# --------------------------------------------------------------------------------- precision, recall, density, coverage


def looped(samples: list, real: list, k: int) -> dict[type[Neighbours], float]:
    """As the papers write them, pair by pair."""

    def radius(points: list, i: int) -> float:
        return sorted(math.dist(points[i], points[j]) for j in range(len(points)) if j != i)[k - 1]

    about_real = [radius(real, j) for j in range(len(real))]
    about_samples = [radius(samples, i) for i in range(len(samples))]
    within = [[math.dist(x, y) <= about_real[j] for j, y in enumerate(real)] for x in samples]
    return {
        Precision: sum(any(row) for row in within) / len(samples),
        Recall: sum(any(math.dist(x, y) <= about_samples[i] for i, x in enumerate(samples)) for y in real) / len(real),
        Density: sum(sum(row) for row in within) / (k * len(samples)),
        Coverage: sum(any(row[j] for row in within) for j in range(len(real))) / len(real),
    }


@pytest.mark.parametrize(("n", "m", "k"), [(12, 9, 1), (12, 9, 3), (7, 20, 2), (30, 25, 5)])
def test_they_are_the_double_loops_also_of_a_subset(n: int, m: int, k: int) -> None:
    """Distances of random points are at least some 1e-4 apart, so both sides decide alike."""
    rng = np.random.default_rng(n)
    x, y = rng.standard_normal((n, 3)) * 0.8, rng.standard_normal((m, 3)) + 0.4
    for index in (np.arange(n), rng.permutation(n)[: max(k + 1, n - 4)], np.arange(n)[::-1]):
        want = looped(x[index].tolist(), y.tolist(), k)
        for kind, number in want.items():
            found = kind(Written(3), k=k).statistic(of(x, y))
            assert found(index) == pytest.approx(number, abs=1e-12)
        assert len(set(want.values())) > 1


def line(*places: float) -> np.ndarray:
    return np.array(places)[:, None]


def test_hand_numbers_on_the_line_with_ties() -> None:
    """k = 1. Real 0, 1, 3 have balls [-1, 1], [0, 2], [1, 5]; samples -1, 5, 5.5 have [-7, 5], [4.5, 5.5], [5, 6]."""
    context = of(line(-1, 5, 5.5), line(0, 1, 3))
    want = {Precision: 2 / 3, Density: 2 / 3, Coverage: 2 / 3, Recall: 1}
    assert {kind: value(kind(Written(1), k=1), context) for kind in want} == pytest.approx(want)
    without = np.array([1, 2])  # then their balls are [4.5, 5.5], [5, 6]
    want = {Precision: 1 / 2, Density: 1 / 2, Coverage: 1 / 3, Recall: 0}
    assert {kind: kind(Written(1), k=1).statistic(context)(without) for kind in want} == pytest.approx(want)


def test_twins_among_the_real_pictures_have_balls_of_no_size() -> None:
    assert radii(squared(line(2.0, 2.0, 7.0), line(2.0, 2.0, 7.0)), 1) == pytest.approx([0, 0, 25], abs=1e-6)
    assert value(Precision(Written(1), k=1), of(line(2, 2.001), line(2, 2, 2))) == 0.5


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_rounding_does_not_decide_ties(offset: float) -> None:
    """The real pictures themselves, in another order: each ball has its k neighbours on its rim or inside, and its centre."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal((60, 40)) + offset
    order = rng.permutation(60)
    context, some = of(y[order], y), of(y[order[:7]], y)  # products of few rows are summed in another order
    counts = [
        sum(math.dist(x, c) <= sorted(math.dist(c, z) for z in y.tolist())[3] for c in y.tolist()) for x in y[order].tolist()
    ]
    assert value(Density(Written(40), k=3), some) == pytest.approx(np.mean(counts[:7]) / 3, rel=1e-12)
    want = {Precision: 1, Recall: 1, Density: 4 / 3, Coverage: 1}
    assert {kind: value(kind(Written(40), k=3), context) for kind in want} == pytest.approx(want, rel=1e-12)


def test_distances_are_euclidean_and_balls_are_about_the_second_set() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((5, 4)).astype(np.float32), rng.standard_normal((3, 4)).astype(np.float32)
    want = [[math.dist(p, q) ** 2 for q in b.tolist()] for p in a.tolist()]
    assert squared(a, b) == pytest.approx(np.array(want), rel=1e-13)
    assert (inside(np.array([[1.0, 4.0], [2.0, 2.0]]), np.array([1.0, 3.0])) == [[True, False], [False, True]]).all()


@pytest.mark.parametrize(("n", "m", "k"), [(12, 10, 3), (6, 14, 1)])
def test_of_equal_laws_they_are_what_theory_says(n: int, m: int, k: int) -> None:
    """Whatever the law: a sample is among the k nearest of the m others of y with chance k / m, so density is 1 on average.

    All n samples miss a ball if the k nearest of n + m - 1 others are all real.
    """
    rng = np.random.default_rng(2)
    sets = [of(some[:n], some[n:]) for some in rng.standard_gamma(1, (600, n + m, 2))]
    covered = 1 - math.comb(m - 1, k) / math.comb(n + m - 1, k)
    for metric, want in ((Density(Written(2), k=k), 1), (Coverage(Written(2), k=k), covered)):
        found = [value(metric, context) for context in sets]
        assert abs(np.mean(found) - want) < 4 * np.std(found) / math.sqrt(len(found)) < 0.1  # four standard errors
    # the formula of Coverage's docstring
    factorial = math.factorial
    stated = factorial(m - 1) * factorial(n + m - k - 1) / (factorial(m - k - 1) * factorial(n + m - 1))
    assert covered == pytest.approx(1 - stated)


def test_what_is_of_single_samples_is_hits() -> None:
    assert isinstance(Precision(Written(1), k=1).statistic(of(line(0, 1), line(0, 1))), Hits)
    assert {kind.of_sets for kind in (Recall, Density, Coverage)} == {True}


def test_too_few_are_refused() -> None:
    for kind in (Precision, Recall, Density, Coverage):
        for n, m in ((3, 9), (9, 3)):
            with pytest.raises(UndefinedError, match=f"{n} samples against {m} pictures are too few for k = 3"):
                kind(Written(2), k=3).statistic(of(np.zeros((n, 2)), np.zeros((m, 2))))
    assert math.isnan(Recall(Written(1), k=2).statistic(of(line(0, 1, 2), line(0, 1, 2)))(np.array([0, 2])))


@pytest.mark.parametrize("name", BALLS)
def test_settings_are_the_papers_and_the_wiring_says_what_they_are_held_against(name: str) -> None:
    metric = METRICS[name]
    assert metric.k == (3 if name.startswith(("precision", "recall")) else 5)
    assert metric.against == ("samples" if name.endswith("_ddim") else "real")
    assert metric.features == Effnet() and metric.preprocessing == Effnet().preprocessing
    assert metric == type(metric)(against=metric.against)  # the yaml and the class agree
    lacking = replace(fair(name)[1], real=None, samples=None)
    with pytest.raises(UndefinedError, match=r"^no (DDIM samples of other seeds|real pictures) to hold it against$"):
        metric.statistic(lacking)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="k=0: must be a whole number >= 1"):
        Density(k=0)
    with pytest.raises(ValueError, match=r"against.*'truth'.*real, samples"):
        Recall(against="truth")


# --------------------------------------------------------------------------------------------------------------- vendi


def test_vendi_counts_different_pictures() -> None:
    same, apart = np.tile([[1.0, 2.0, 3.0]], (5, 1)), np.diag([1.0, 2.0, 3.0, 4.0])  # lengths do not count
    assert value(Vendi(Written(3)), of(same)) == pytest.approx(1, abs=1e-9)
    assert value(Vendi(Written(4)), of(apart)) == pytest.approx(4, rel=1e-12)
    twice = np.array([[1.0, 0], [1, 0], [0, 1]])  # shares 2/3 and 1/3
    assert value(Vendi(Written(2)), of(twice)) == pytest.approx(3 / 2 ** (2 / 3), rel=1e-12)


def test_vendi_of_a_pair_is_by_the_angle() -> None:
    """Eigenvalues of [[1, c], [c, 1]] / 2 are (1 ± c) / 2."""
    points = np.array([[1.0, 0], [3 * math.cos(0.7), 3 * math.sin(0.7)], [1.0, 0]])
    p, q = (1 + math.cos(0.7)) / 2, (1 - math.cos(0.7)) / 2
    found = Vendi(Written(2)).statistic(of(points))
    assert found(np.array([1, 0])) == pytest.approx(p**-p * q**-q, rel=1e-12)


def test_vendi_is_averaged_over_prompts_that_have_more_than_one_sample() -> None:
    points = np.array([[1.0, 0], [1, 0], [0, 1], [1, 0], [1, 0], [5, 5]])
    found = Vendi(Written(2)).statistic(of(points, prompts=["a", "b", "a", "b", "b", None]))
    assert found(np.arange(6)) == pytest.approx((2 + 1) / 2, abs=1e-9)
    assert found(np.array([5, 0, 2, 1])) == pytest.approx(2, abs=1e-9)  # of b only one is left
    assert math.isnan(found(np.array([0, 1, 5])))
    with pytest.raises(UndefinedError, match="no prompt has two samples"):
        Vendi(Written(2)).statistic(of(points[:2], prompts=["a", "b"]))


# ------------------------------------------------------------------------------------------------------------ spectrum


def against(images: np.ndarray, truth: np.ndarray) -> Context:
    return Context(images, [None] * len(images), DIGITS, truth, same_law=False)


def noise(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((n, *shape))


@pytest.mark.parametrize("c", [0.5, 1, 3])
def test_noise_scaled_by_c_is_20_log10_c_away(c: float) -> None:
    x = noise(5, 3, 16, 16)
    assert value(Spectrum(), against(c * x + 0.7, x - 4)) == pytest.approx(abs(20 * math.log10(c)), abs=1e-10)


def test_powers_are_averaged_before_their_logarithm() -> None:
    x = noise(1, 1, 16, 16)
    found = Spectrum().statistic(against(np.concatenate([x, 3 * x, 2 * x]), x))  # powers 1, 9, 4
    assert found(np.array([0, 1])) == pytest.approx(10 * math.log10(5), abs=1e-10)


def test_bands_are_the_naive_fourier_sums() -> None:
    """A picture of 6 x 8 pixels, two channels: frequencies 6·hypot(u/6, v/8), rounded, 1 to 4; 0 is the mean."""
    x = noise(1, 2, 6, 8)
    found: dict[int, list[float]] = {}
    for channel, u, v in itertools.product(range(2), range(-3, 3), range(-4, 4)):
        total = sum(
            x[0, channel, i, j] * cmath.exp(-2j * math.pi * (u * i / 6 + v * j / 8)) for i in range(6) for j in range(8)
        )
        found.setdefault(round(6 * math.hypot(u / 6, v / 8)), []).append(abs(total) ** 2 / 48)
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert bands(x)[0] == pytest.approx([np.mean(found[band]) for band in (1, 2, 3, 4)], rel=1e-12)


def test_distance_is_the_root_mean_square_over_bands() -> None:
    """One wave of 3 periods a picture: its band is 20 log10 2 away, the others not at all."""
    y, wave = 0.1 * noise(1, 1, 16, 16), np.cos(2 * np.pi * 3 * np.arange(16) / 16)[:, None] * np.ones(16)
    y = y - 2 * wave * (y * wave).mean() + wave  # amplitude 1 of it, in phase
    for turned in (y + wave, (y + wave).swapaxes(2, 3)):
        base = y if turned.shape == y.shape and (turned == y + wave).all() else y.swapaxes(2, 3)
        a, b = bands(turned)[0], bands(base)[0]
        assert np.flatnonzero(np.abs(a / b - 1) > 1e-9).tolist() == [2]
        want = abs(10 * math.log10(a[2] / b[2])) / math.sqrt(len(a))
        assert value(Spectrum(), against(turned, base)) == pytest.approx(want, rel=1e-9) and want > 1


def test_white_noise_has_its_variance_in_every_band() -> None:
    found = bands(0.5 * noise(400, 3, 16, 16)).mean(axis=0)  # of at least 4·1200 numbers: 2 % a standard error
    assert found == pytest.approx(np.full(11, 0.25), rel=0.08)


def test_power_that_8_bits_do_not_show_counts_as_that_of_rounding() -> None:
    x = np.random.default_rng(4).uniform(-1, 1, 100_000)
    gap = np.round((x + 1) * 127.5) / 127.5 - 1 - x
    assert gap.var() == pytest.approx(ROUNDING, rel=0.02)
    grey, faint, seen = np.zeros((1, 3, 16, 16)), 1e-6 * noise(1, 3, 16, 16), noise(400, 3, 16, 16)
    assert value(Spectrum(), against(grey, faint)) == 0
    want = -10 * math.log10(ROUNDING)
    assert value(Spectrum(), against(grey, seen)) == pytest.approx(want, abs=0.4)  # 8 % of power: see above


# ----------------------------------------------------------------------------------------------------------- laplacian


def test_laplacian_is_scipys_inside_the_picture() -> None:
    x = noise(4, 9, 7)
    assert laplacian_variance(x) == pytest.approx([laplace(picture)[1:-1, 1:-1].var() for picture in x], rel=1e-12)


def test_laplacian_of_boards_and_waves() -> None:
    """A board of ±A has -8 times itself; a wave 2 cos(w) - 2 times itself, -3 of period 3; a slope nothing."""
    board = (np.indices((32, 32)).sum(0) % 2 * 2.0 - 1)[None]
    wave = np.cos(2 * np.pi * np.arange(32) / 3)[None, :, None] * np.ones(32)  # 30 rows inside are ten periods
    slope = np.indices((32, 32))[0][None] / 10.0
    assert laplacian_variance(0.5 * board) == pytest.approx(16)
    assert laplacian_variance(wave + 5) == pytest.approx(4.5)
    assert laplacian_variance(slope) == pytest.approx(0, abs=1e-20)
    grey = (0.5 * board)[:, None].repeat(3, axis=1)
    truth = np.concatenate([grey, 2 * grey])  # 16 and 64
    assert value(Laplacian(), against(grey, truth)) == pytest.approx(math.log(16 / 40))
    green = grey * np.array([0, 1, 0])[:, None, None]
    assert value(Laplacian(), against(green, truth)) == pytest.approx(math.log(0.587**2 * 16 / 40))


def test_luma_is_of_one_or_three_channels() -> None:
    assert sum(LUMA) == pytest.approx(1)
    x = noise(2, 1, 8, 8)
    assert (luma(x) == x[:, 0]).all() and luma(x.repeat(3, axis=1)) == pytest.approx(x[:, 0])
    with pytest.raises(UndefinedError, match="4 channels have no luma"):
        Laplacian().statistic(against(noise(2, 4, 8, 8), noise(2, 4, 8, 8)))


def test_of_one_law_they_are_ideal_on_digits() -> None:
    """Pictures of one channel. The spectrum's distance is biased: at 800 samples of 2,400 by some tenths of a dB."""
    prompts = list(DIGITS.prompts) * 80
    x, y = (DIGITS.sample(prompts * times, np.random.default_rng(seed)).numpy() for seed, times in ((0, 1), (1, 3)))
    found = jackknife(Laplacian().statistic(against(x, y)), np.arange(800) % 20, confidence=0.999)
    assert found.low < 0 < found.high and found.half < 0.2
    assert 0 < value(Spectrum(), against(x, y)) < 0.4


# ----------------------------------------------------------------------------------------------- what holds for each one


@cache
def real() -> np.ndarray:
    """240 val drawings."""
    world = World.open().where(split="val", domain="emoji")
    return world.pixels()[np.linspace(0, len(world) - 1, 240).astype(int)]


def fair(name: str) -> tuple[Metric, Context]:
    """Every other picture held against the rest; 12 prompts of ten."""
    prompts = [f"{i % 12}" for i in range(120)]
    context = Context(real()[::2], prompts, DIGITS, real()[1::2], False, range(120), real()[1::2], real()[1::2])
    return METRICS[name], context


def estimate(metric: Metric, context: Context) -> Estimate:
    return jackknife(metric.statistic(context), np.arange(len(context.images)) % 20, confidence=0.99)


def blurred(images: np.ndarray) -> np.ndarray:
    return sum(np.roll(images, (i, j), (2, 3)) for i in range(3) for j in range(3)) / 9


def noised(images: np.ndarray) -> np.ndarray:
    return images + 0.3 * np.random.default_rng(2).standard_normal(images.shape).astype(np.float32)


def few(images: np.ndarray) -> np.ndarray:
    return images[np.arange(len(images)) % 12]  # one picture a prompt


HURT = {
    "precision": [(noised, -1)],
    "recall": [(few, -1), (noised, -1)],
    "density": [(noised, -1)],
    "coverage": [(few, -1), (noised, -1)],
    "vendi": [(few, -1)],
    "spectrum": [(blurred, +1), (noised, +1)],
    "laplacian": [(blurred, -1), (noised, +1)],
}
HURT |= {name: HURT[name.removesuffix("_ddim")] for name in BALLS}
DIRECTION = {"precision": math.inf, "recall": math.inf, "density": 1.0, "coverage": math.inf}
DIRECTION |= {"vendi": None, "spectrum": 0.0, "laplacian": 0.0}


@pytest.mark.parametrize(("name", "harm", "side"), [(name, *harm) for name in NAMES for harm in HURT[name]])
def test_harm_moves_the_metric(name: str, harm, side: int) -> None:
    metric, context = fair(name)
    well, hurt = estimate(metric, context), estimate(metric, replace(context, images=harm(context.images)))
    assert hurt.low > well.high if side > 0 else hurt.high < well.low


def test_flat_pictures_are_precise_and_cover_nothing() -> None:
    """A weakness that their docstrings own to: the balls of outliers hold what is like no picture."""
    context = fair("precision")[1]
    flat = np.random.default_rng(5).uniform(-1, 1, (120, 3, 1, 1)).astype(np.float32) * np.ones((64, 64), np.float32)
    found = {name: value(METRICS[name], replace(context, images=flat)) for name in BALLS[:4]}
    assert found["precision"] > 0.9 and found["density"] > 2 and found["coverage"] < 0.5 and found["recall"] < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_order_does_not_matter_and_a_subset_stands_alone(name: str) -> None:
    metric, context = fair(name)
    assert isinstance(metric, Metric) and metric.unit and metric.ideal == DIRECTION[name.removesuffix("_ddim")]
    statistic, n = metric.statistic(context), len(context.images)
    order = np.random.default_rng(3).permutation(n)
    for index in (order, order[:50]):
        alone = replace(context, images=context.images[index], prompts=[context.prompts[i] for i in index])
        assert statistic(index) == pytest.approx(value(metric, alone), rel=1e-9)  # features are kept: the same bits
        assert statistic(index) == pytest.approx(statistic(np.sort(index)), rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_says_so_where_it_is_not_defined(name: str) -> None:
    metric, context = fair(name)
    points, grey = np.zeros((12, 2)), np.zeros((12, 1, 32, 32))
    with pytest.raises(UndefinedError, match="pictures"):
        metric.statistic(replace(context, images=points, truth=points, real=points, samples=points))
    if name in ("spectrum", "laplacian"):
        with pytest.raises(UndefinedError, match="cannot be drawn"):
            metric.statistic(replace(context, truth=None, real=None))
    else:
        with pytest.raises(UndefinedError, match="not colour pictures"):
            metric.statistic(replace(context, images=grey, truth=grey, real=grey, samples=grey))


def test_a_training_picture_is_not_new_and_the_nearest_is_found_by_brute_force() -> None:
    from sdi_bench.features.lpips import distance
    from sdi_bench.metrics.novelty import nearest, trained

    known, unseen = trained(32), World.open().where("val").pixels(32)[:6]
    copies = known[[5, 900, 7000]]

    def novelty(images: np.ndarray) -> float:
        context = Context(images, [None] * len(images), None, None, False)
        return Novelty().statistic(context)(np.arange(len(images)))

    assert novelty(copies) == pytest.approx(0, abs=1e-6)
    assert novelty(copies + 0.1 * np.random.default_rng(0).standard_normal(copies.shape)) > 0.001
    near = nearest(unseen.reshape(6, -1), known.reshape(len(known), -1))
    for image, found in zip(unseen, near, strict=True):
        gaps = np.square(known - image).reshape(len(known), -1).sum(axis=1)
        assert set(found) == set(np.argsort(gaps)[:10])
    want = [min(distance(np.repeat(image[None], 10, 0), known[found])) for image, found in zip(unseen, near, strict=True)]
    assert novelty(unseen) == pytest.approx(np.mean(want), rel=1e-5)
    with pytest.raises(UndefinedError):
        novelty(np.zeros((2, 1, 8, 8)))
