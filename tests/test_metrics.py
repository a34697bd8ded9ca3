"""Every metric of conf/metric: its ideal on data, its direction, what it is on hand numbers, and where it says nothing."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm

from sdi_bench.metrics import Context, Contrast, Energy, Metric, Modes, Nearest, Sharpness, SlicedW2, UndefinedError
from sdi_bench.models import Empirical, Gaussian, Mixture
from sdi_bench.sizes import Packed, by_size, once_each
from sdi_bench.stats import Estimate, clusters_of, jackknife

FILES = sorted((Path(__file__).parent.parent / "conf" / "metric").glob("*.yaml"))
ON_COLOUR = {"clipped", "diversity", "fd_effnet", "rprec", "saturation", "tclip", "view"}  # in test_features.py
ON_COLOUR |= {"kd_effnet", "fd_effnet_ddim", "kd_effnet_ddim"}
ON_COLOUR |= {
    "precision",
    "recall",
    "density",
    "coverage",
    "vendi",
    "spectrum",
    "laplacian",
    "novelty",
}  # in test_metrics_sets.py
ON_COLOUR |= {"precision_ddim", "recall_ddim", "density_ddim", "coverage_ddim"}
ON_COLOUR |= {
    "rprec5",
    "named",
    "janus",
    "floaters",
    "to_shape",
    "to_blend",
    "parted",
    "shape_lpips",
    "silhouette",
    "mixed",
    "chamfer",
}  # in test_fields.py
NEEDS_FILES = {"fid", "kid", "clip_fid", "clip_score", "clip_score_b", "clip_iqa", "reward"}  # in test_clip.py, fid/
ON_COLOUR |= NEEDS_FILES | {"lpips", "ssim", "psnr", "rms", "same_content"}  # in test_metrics_paired.py
METRICS = {
    path.stem: instantiate(OmegaConf.load(path), _convert_="all")[path.stem] for path in FILES if path.stem not in ON_COLOUR
}
each_metric = pytest.mark.parametrize("name", METRICS)

DIGITS = Empirical.of()
PROMPTS = list(DIGITS.prompts) * 24
SEEDS = np.repeat(np.arange(24), 10)
FRESH, TRUTH = (DIGITS.sample(PROMPTS * times, np.random.default_rng(seed)).numpy() for seed, times in ((0, 1), (1, 9)))
FAIR = Context(FRESH, PROMPTS, DIGITS, TRUTH, same_law=True)


def value(metric: Metric, context: Context) -> float:
    return metric.statistic(context)(np.arange(len(context.images)))


def estimate(metric: Metric, context: Context) -> Estimate:
    return jackknife(metric.statistic(context), clusters_of(SEEDS), confidence=0.999)


def of(images: np.ndarray, truth: np.ndarray, **more: object) -> Context:
    """Samples and data without prompts."""
    n = len(images)
    return replace(Context(images, [None] * n, DIGITS, truth, same_law=True), **more)


def blurred(images: np.ndarray) -> np.ndarray:
    for axis in (2, 3):
        images = (images + np.roll(images, 1, axis)) / 2
    return images


def noised(images: np.ndarray) -> np.ndarray:
    return images + 0.5 * np.random.default_rng(2).standard_normal(images.shape)


def collapsed(images: np.ndarray) -> np.ndarray:
    return np.tile(images[:10], (24, 1, 1, 1))  # every prompt shows its first sample only


# What makes samples worse, and the side to which the metric then moves.
HURT = {
    "sharpness": [(blurred, -1), (noised, +1)],
    "contrast": [(lambda images: images / 2, -1), (lambda images: images * 1.5, +1)],
    "energy": [(lambda images: images + 0.2, +1), (blurred, +1), (collapsed, +1)],
    "sliced_w2": [(lambda images: images + 0.2, +1), (blurred, +1), (collapsed, +1)],
    "frechet": [(lambda images: images + 0.2, +1), (blurred, +1), (collapsed, +1)],
    "modes": [(collapsed, -1)],
    "nearest": [],  # it has no direction
}
BIASED = {"sliced_w2", "frechet"}  # above 0 for few samples


def test_every_metric_has_its_direction_tested() -> None:
    assert set(HURT) == set(METRICS)
    assert all(isinstance(metric, Metric) and metric.unit for metric in METRICS.values())
    assert {name for name, metric in METRICS.items() if metric.ideal is None} == {name for name in HURT if not HURT[name]}


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].ideal is not None and name not in BIASED])
def test_fresh_data_is_ideal_within_the_interval(name: str) -> None:
    found = estimate(METRICS[name], FAIR)
    assert found.low <= METRICS[name].ideal <= found.high
    assert found.half < 0.15  # of a log, a ratio, or a pixel's range of 2: the interval says something


@pytest.mark.parametrize(("name", "harm", "side"), [(name, *harm) for name in HURT for harm in HURT[name]])
def test_harm_moves_the_metric_away_from_fresh_data(name: str, harm, side: int) -> None:
    fair, hurt = estimate(METRICS[name], FAIR), estimate(METRICS[name], replace(FAIR, images=harm(FRESH)))
    assert hurt.low > fair.high if side > 0 else hurt.high < fair.low


@each_metric
def test_the_order_of_samples_does_not_matter(name: str) -> None:
    order = np.random.default_rng(3).permutation(len(FRESH))
    shuffled = replace(FAIR, images=FRESH[order], prompts=[PROMPTS[i] for i in order])
    statistic = METRICS[name].statistic(FAIR)
    want = statistic(np.arange(len(FRESH)))
    assert statistic(order) == pytest.approx(want, rel=1e-12, abs=1e-12)  # sums in another order
    assert value(METRICS[name], shuffled) == pytest.approx(want, rel=1e-12, abs=1e-12)


@each_metric
def test_a_subset_is_measured_as_if_there_were_nothing_else(name: str) -> None:
    index = np.random.default_rng(4).permutation(len(FRESH))[:150]
    alone = replace(FAIR, images=FRESH[index], prompts=[PROMPTS[i] for i in index])
    assert METRICS[name].statistic(FAIR)(index) == pytest.approx(value(METRICS[name], alone), rel=1e-12, abs=1e-12)


# ----------------------------------------------------------------------------------------------------------- undefined

PLANE = Mixture.of([[0.0, 1.0], [3.0, 0.0]], ["a", "b"], [0.1, 0.1])
POINTS = np.random.default_rng(5).standard_normal((6, 2))
UNDEFINED = {
    "no data": (replace(FAIR, truth=None), {"sharpness", "contrast", "energy", "sliced_w2", "frechet", "modes"}),
    "guidance": (replace(FAIR, same_law=False), {"energy", "sliced_w2", "frechet", "modes"}),
    "no pictures": (Context(POINTS, ["a"] * 6, PLANE, POINTS + 1, same_law=True), {"sharpness", "contrast"}),
    "no training images": (
        replace(FAIR, model=Gaussian.of({}, ([0.0], [1.0]))),
        {"nearest", "modes"},
    ),
    "two samples": (of(FRESH[:2], TRUTH), {"frechet"}),
    "one sample": (of(FRESH[:1], TRUTH), {"energy", "frechet"}),
}


@pytest.mark.parametrize("case", UNDEFINED)
@each_metric
def test_a_metric_says_so_where_it_is_not_defined(name: str, case: str) -> None:
    context, undefined = UNDEFINED[case]
    if name in undefined:
        with pytest.raises(UndefinedError, match=r"[a-z]{3}"):
            METRICS[name].statistic(context)
    else:
        assert math.isfinite(value(METRICS[name], context))


# -------------------------------------------------------------------------------------------------------- hand numbers


def test_energy_is_the_naive_double_loop() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((5, 1, 2, 3)), rng.standard_normal((7, 1, 2, 3)) + 0.5

    def gap(u: np.ndarray, v: np.ndarray) -> float:
        return math.sqrt(sum((p - q) ** 2 for p, q in zip(u.ravel(), v.ravel(), strict=True)) / 6)

    across = sum(gap(u, v) for u in x for v in y) / 35
    within_x = sum(gap(u, v) for u, v in itertools.permutations(x, 2)) / 20
    within_y = sum(gap(u, v) for u, v in itertools.permutations(y, 2)) / 42
    assert value(Energy(), of(x, y)) == pytest.approx(2 * across - within_x - within_y, rel=1e-13)


def test_energy_is_unbiased() -> None:
    """The mean over many small sets of the data's own law is 0; with pairs of a sample and itself it would be E|X-X'|/n."""
    sets = np.random.default_rng(7).standard_normal((400, 20, 3))
    values = [value(Energy(), of(part[:5], part[5:])) for part in sets]
    error = np.std(values) / math.sqrt(400)
    assert abs(np.mean(values)) < 4 * error < 0.1  # the bias would be 1.3 / 5


@pytest.mark.parametrize("n", [2, 17])
def test_sliced_w2_on_the_line_is_the_cheapest_assignment(n: int) -> None:
    x, y = np.random.default_rng(9).standard_normal((2, n, 1))
    cost = (x - y.T) ** 2
    want = math.sqrt(cost[linear_sum_assignment(cost)].mean())
    assert value(SlicedW2(), of(x, y)) == pytest.approx(want, rel=1e-13)  # on the line all directions are ±1


def test_sliced_w2_of_sets_of_different_size_is_that_of_their_laws() -> None:
    x, y = (norm.ppf((np.arange(n) + 0.5) / n)[:, None] for n in (500, 1733))
    # W2 of N(1, 2²) and N(0, 1) is sqrt(1 + 1); equally likely points miss 1e-3 of the tails.
    assert value(SlicedW2(), of(2 * x + 1, y)) == pytest.approx(math.sqrt(2), rel=3e-3)
    assert value(SlicedW2(), of(x, x)) == 0


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)])
def test_sliced_w2_of_a_shift_is_its_length_over_the_root_of_the_dimension(shape: tuple[int, ...]) -> None:
    y, shift = np.random.default_rng(10).standard_normal((40, *shape)), np.random.default_rng(11).standard_normal(shape)
    found = value(SlicedW2(n_directions=4000), of(y + shift, y))
    # the mean of (shift·direction)², whose standard error over 4000 directions is at most sqrt(2/4000) of it; 4 of them
    assert found**2 == pytest.approx((shift**2).mean(), rel=4 * math.sqrt(2 / 4000))


def test_sliced_w2_on_fresh_data_falls_as_the_root_of_their_number() -> None:
    few, many = (np.mean([value(SlicedW2(), of(FRESH[k : k + n], TRUTH)) for k in range(0, 240, n)]) for n in (15, 240))
    assert 3 < few / many < 5  # 4 = sqrt(240 / 15), less what the data's own 2160 samples add


def wave(*amplitudes: float) -> np.ndarray:
    """One 8 x 8 picture: waves of 1, 2, 3 periods down the rows, and a mean that must not count."""
    row = np.arange(8)[:, None] * np.ones(8)
    return (0.7 + sum(a * np.cos(2 * np.pi * (k + 1) * row / 8) for k, a in enumerate(amplitudes)))[None, None]


def test_sharpness_is_the_share_of_power_above_half_the_nyquist_frequency() -> None:
    """Waves of amplitude A have power A²/2; 1 and 2 periods of 8 pixels lie at or below 1/4, 3 periods above."""
    truth = np.concatenate([wave(1, 0, 1), wave(1, 1, 1)])  # shares 1/2 and 1/3
    for picture, share in ((wave(3, 0, 1), 1 / 10), (wave(1, 2, 1), 1 / 6), (wave(0, 0, 2), 1)):
        for turned in (picture, picture.swapaxes(2, 3)):
            assert value(Sharpness(), of(turned, truth)) == pytest.approx(math.log(share / (5 / 12)), abs=1e-12)


def test_sharpness_ignores_brightness_and_contrast() -> None:
    assert value(Sharpness(), replace(FAIR, images=0.3 * FRESH - 0.2)) == pytest.approx(value(Sharpness(), FAIR), abs=1e-12)


def test_contrast_is_the_mean_over_images_of_the_spread_of_their_pixels() -> None:
    board = (np.indices((4, 4)).sum(0) % 2 * 2.0 - 1)[None, None]
    truth = np.concatenate([board, board / 2 + 0.3])  # spreads 1 and 1/2
    images = np.concatenate([board / 4 - 5, board / 2, 1.5 * board])  # their mean is .75, their median .5
    assert value(Contrast(), of(images, truth)) == pytest.approx(math.log(0.75 / 0.75), abs=1e-12)
    assert value(Contrast(), of(images[:2], truth)) == pytest.approx(math.log(0.375 / 0.75))
    fair = value(Contrast(), FAIR)
    assert value(Contrast(), replace(FAIR, images=FRESH / 2)) == pytest.approx(fair - math.log(2), abs=1e-12)


def test_nearest_is_the_rms_distance_to_the_nearest_centre() -> None:
    images = np.array([[0.0, 1.0], [3.0, 4.0], [0.3, 1.0]])  # a centre; 4 above the other one; 0.3 beside the first
    context = Context(images, ["a"] * 3, PLANE, None, same_law=False)
    assert value(Nearest(), context) == pytest.approx((0 + 4 + 0.3) / math.sqrt(2) / 3)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_modes_compares_with_the_number_that_fair_draws_would_meet(n: int) -> None:
    """Class a has three centres, b has two: all sequences of n draws, counted one by one."""
    model = Mixture.of([[0.0], [10.0], [20.0], [30.0], [40.0]], ["a", "b", "a", "b", "a"], [0.1] * 5)
    expected = {k: np.mean([len(set(draws)) for draws in itertools.product(range(k), repeat=n)]) for k in (2, 3, 5)}
    truth = np.zeros((2, 1))
    images = np.array([[0.4]] * n + [[9.0]] * n)
    context = Context(images, ["a"] * n + ["b"] * n, model, truth, same_law=True)
    assert value(Modes(), context) == pytest.approx(2 / (expected[3] + expected[2]), rel=1e-13)
    alone = Context(np.array([[0.4]] * (n - 1) + [[41.0]]), [None] * n, model, truth, same_law=True)
    assert value(Modes(), alone) == pytest.approx(min(n, 2) / expected[5], rel=1e-13)
    shared = Context(np.full((2 * n, 1), 0.4), [None] * n + ["a"] * n, model, truth, same_law=True)  # once for each prompt
    assert value(Modes(), shared) == pytest.approx(2 / (expected[5] + expected[3]), rel=1e-13)


def test_pictures_that_come_again_are_worked_on_once() -> None:
    """Of one size, of several, and packed: the values are those of all."""
    some = np.random.default_rng(0).standard_normal((3, 1, 4, 4))
    again = some[[0, 1, 0, 2, 2, 0]]
    mixed = np.empty(3, dtype=object)
    mixed[:] = [some[0], some[1][:, :2], some[0]]
    packed = Packed(np.arange(4, dtype=np.uint8).repeat(16).reshape(4, 1, 4, 4)[[0, 1, 1]], np.zeros(3, bool), np.zeros(3))
    for pictures, n in ((again, 3), (mixed, 2), (packed, 2)):
        seen = []

        def power(images: np.ndarray, seen: list[int] = seen) -> np.ndarray:
            seen.append(len(images))
            return np.square(images).mean((1, 2, 3))

        assert np.array_equal(once_each(power, pictures), by_size(power, pictures))
        assert sum(seen) == n + len(pictures)
