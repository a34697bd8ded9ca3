"""Distances to the paired reference: by hand, by double loops, on real pictures, and where the reference has diverged."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rounding import rounding

from sdi_bench.data.shipped import HERE
from sdi_bench.data.world import World
from sdi_bench.features.lpips import BATCH, distance
from sdi_bench.metrics import Context, Hits, Lpips, Metric, Psnr, Rms, SameContent, Ssim, UndefinedError, paired
from sdi_bench.models import Empirical
from sdi_bench.stats import Estimate, jackknife

CONF = HERE.parent.parent / "conf" / "metric"
IDEAL = {"lpips": 0.0, "ssim": 1.0, "psnr": math.inf, "rms": 0.0, "same_content": 1.0}
METRICS = {name: instantiate(OmegaConf.load(CONF / f"{name}.yaml"), _convert_="all")[name] for name in IDEAL}
DIGITS = Empirical.of()


def value(metric: Metric, context: Context) -> float:
    return metric.statistic(context)(np.arange(len(context.images)))


def of(images: np.ndarray, reference: np.ndarray | None, prompts: list[str | None] | None = None) -> Context:
    return Context(images, prompts or [None] * len(images), DIGITS, None, False, range(len(images)), paired=reference)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


# ------------------------------------------------------------------------------------------------------------- formulas


def test_rms_is_the_root_mean_square_difference_of_each_pair() -> None:
    a, b = np.zeros((2, 1, 2, 2)), np.array([[[[1.0, 1], [1, 1]]], [[[0, 0], [0, 4]]]])
    assert paired.rms(a, b) == pytest.approx([1, 2])
    assert value(Rms(), of(a, b)) == pytest.approx(1.5)
    assert value(Rms(), of(np.zeros((2, 5)), np.full((2, 5), 3.0))) == pytest.approx(3)  # no pictures


def test_psnr_is_20_log10_of_the_range_over_rms() -> None:
    a = 0.5 * np.tanh(noise(3, 2, 6, 5))
    b = a + np.array([0.5, -0.1, 0.02])[:, None, None, None]
    assert paired.psnr(a, b) == pytest.approx([20 * math.log10(2 / gap) for gap in (0.5, 0.1, 0.02)], rel=1e-12)
    assert value(Psnr(), of(a, b)) == pytest.approx(np.mean(paired.psnr(a, b)))  # decibels are averaged, not powers
    assert paired.psnr(np.full((1, 1, 3, 3), 7.0), np.full((1, 1, 3, 3), 0.5)) == pytest.approx(20 * math.log10(4), rel=1e-12)


def test_psnr_is_capped_at_that_of_a_picture_and_its_rounding() -> None:
    a = np.random.default_rng(1).uniform(-1, 1, (4, 3, 64, 64))
    rounded = np.round((a + 1) * 127.5) / 127.5 - 1
    error = np.square(a - rounded).mean(axis=(1, 2, 3))
    assert 10 * np.log10(4 / error) == pytest.approx(np.full(4, paired.PEAK), abs=0.05)  # 12,288 values: 0.8 % of the error
    assert (paired.psnr(a, a) == paired.PEAK).all() and (paired.psnr(rounded, rounded + 1e-4) == paired.PEAK).all()


def looped(x: np.ndarray, y: np.ndarray) -> float:
    """SSIM of one channel as Wang et al. (2004) print it, window by window: 8-bit intensities, L = 255, eq. 6, 14 to 16."""
    place = np.arange(11) - 5
    window = np.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.5**2))
    window /= window.sum()
    found, c1, c2 = [], (0.01 * 255) ** 2, (0.03 * 255) ** 2
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            u, v = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            p, q = (window * u).sum(), (window * v).sum()
            uu, vv, uv = (window * (u - p) ** 2).sum(), (window * (v - q) ** 2).sum(), (window * (u - p) * (v - q)).sum()
            found.append((2 * p * q + c1) * (2 * uv + c2) / ((p**2 + q**2 + c1) * (uu + vv + c2)))
    return float(np.mean(found))


def eight_bit(images: np.ndarray) -> np.ndarray:
    """Pictures in [-1, 1] as intensities of 0 to 255."""
    return 127.5 * (images.clip(-1, 1) + 1)


A = 0.6 * noise(3, 2, 14, 17).cumsum(axis=3) / 2
B = A + 0.3 * noise(3, 2, 14, 17, seed=1)


CLOSE = 60 * 2.0**-53 / 0.03**2
"""Of SSIM: a window's mean of squares, at most 1, is off by some 26 roundings (eleven products and sums along each side); a
variance is the difference of two, and is read over C2 at least, in the numerator and in the denominator."""


def compare_ssim() -> None:
    """Ours against the double loop, to CLOSE."""
    assert (np.abs(A) > 1).any()  # what a screen would clip is clipped
    want = [np.mean([looped(*pair) for pair in zip(*both, strict=True)]) for both in zip(*map(eight_bit, (A, B)), strict=True)]
    assert paired.ssim(A, B) == pytest.approx(want, abs=CLOSE)


def test_ssim_is_the_papers_formula_on_8_bit_intensities() -> None:
    compare_ssim()
    assert paired.ssim(A, A) == pytest.approx(np.ones(3), abs=CLOSE)
    flat = np.full((1, 1, 11, 11), 0.9)  # where float32 is off by 2e-4
    near = flat + 0.01 * noise(1, 1, 11, 11)
    assert paired.ssim(flat, near) == pytest.approx([looped(eight_bit(flat)[0, 0], eight_bit(near)[0, 0])], abs=CLOSE)
    with pytest.raises(UndefinedError, match="smaller than SSIM's window of 11 pixels"):
        Ssim().statistic(of(A[:, :, :10], B[:, :, :10]))


@pytest.mark.parametrize(("one", "other"), [(140, 115), (255, 0), (0, 0), (20, 10)])
def test_ssim_of_flat_pictures_is_its_luminance_term(one: int, other: int) -> None:
    a, b = (np.full((2, 3, 16, 16), level / 127.5 - 1) for level in (one, other))
    want = (2 * one * other + 2.55**2) / (one**2 + other**2 + 2.55**2)
    assert paired.ssim(a, b) == pytest.approx([want, want], abs=CLOSE)
    assert value(Ssim(), of(a, b)) == pytest.approx(want, abs=CLOSE)
    assert (one, other) != (140, 115) or want == pytest.approx(0.98096, abs=5e-6)


PLANTED = {
    "values in [-1, 1], of range 2": {"intensities": lambda x: x.clip(-1, 1), "C1": 0.02**2, "C2": 0.06**2},
    "constants for a range of 2": {"C1": 0.02**2, "C2": 0.06**2},
    "not clipped": {"intensities": lambda x: (x + 1) / 2},
    "another window": {"DEVIATION": 1.6},
    "a smaller window": {"WINDOW": 9},
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_shows_in_ssim(bug: str, monkeypatch) -> None:
    for name, wrong in PLANTED[bug].items():
        monkeypatch.setattr(paired, name, wrong)
    with pytest.raises(AssertionError):
        compare_ssim()


def test_many_pairs_are_done_some_at_a_time() -> None:
    a, b = real(BATCH + 5)[0], np.roll(real(BATCH + 5)[0], 1, axis=0)
    close = rounding(lambda: distance(a[:8], b[:8]))  # in batches of other sizes
    assert paired.lpips(a, b) == pytest.approx(distance(a, b), abs=close)
    assert (paired.ssim(a, b)[-2:] == paired.ssim(a[-2:], b[-2:])).all()
    assert value(Lpips(), of(a, b)) == pytest.approx(np.mean(distance(a, b)), abs=close)


# --------------------------------------------------------------------------------------------------------- same content


@pytest.fixture
def written(monkeypatch) -> None:
    """Pictures whose LPIPS vectors are their first pixels."""
    monkeypatch.setattr(paired, "taps", lambda images: images[:, 0, 0, :8].astype(np.float32))


def on_a_line(*places: float) -> np.ndarray:
    images = np.zeros((len(places), 3, 32, 32))
    images[:, 0, 0, 0] = places
    return images


def test_same_content_by_hand(written) -> None:
    """Of a: 0.1 is nearest to its own 0; 2.6 is nearer to 3 than to its own 1; 3 has itself. b: 0.5 has its own 1, for the 0 of
    a does not count; 9 is nearer to 1 than to its own 50. c has one seed. d: 1.5 is midway between its own 1 and 2, a miss.
    """
    samples, own = on_a_line(0.1, 0.5, 2.6, 3, 7, 9, 1.5, 2), on_a_line(0, 1, 1, 3, 7, 50, 1, 2)
    context = of(samples, own, ["a", "b", "a", "a", "c", "b", "d", "d"])
    found = SameContent().statistic(context)
    hits = {0: 1, 1: 1, 2: 0, 3: 1, 5: 0, 6: 0, 7: 1}
    assert {i: found(np.array([i])) for i in hits} == hits
    assert found(np.arange(8)) == pytest.approx(4 / 7)
    assert math.isnan(found(np.array([4])))


def test_nearly_a_tie_is_a_miss(written) -> None:
    for gap, hit in ((1e-8, 0), (1e-4, 1)):
        near = of(on_a_line(1 - gap, 2), on_a_line(0, 2), ["a", "a"])  # squared distances (1 - gap)² and (1 + gap)²
        assert SameContent().statistic(near)(np.array([0])) == hit
    same = of(on_a_line(3, 3), on_a_line(3, 3), ["a", "a"])  # two equal reference pictures
    assert value(SameContent(), same) == 0


def test_a_diverged_reference_is_neither_asked_for_nor_chosen(written) -> None:
    own = on_a_line(0, 5, 9)
    own[1, 2, 31, 31] = np.nan
    found = SameContent().statistic(of(on_a_line(4, 5, 9), own, ["a"] * 3))  # 4 is nearest to the 5 that diverged
    assert [found(np.array([i])) for i in (0, 2)] == [1, 1] and math.isnan(found(np.array([1])))
    assert not isinstance(found, Hits)  # an item without a reference is no miss
    assert isinstance(SameContent().statistic(of(on_a_line(1, 5), on_a_line(0, 5), ["a"] * 2)), Hits)
    with pytest.raises(UndefinedError, match="no prompt has two seeds in the reference"):
        SameContent().statistic(of(on_a_line(4, 5), own[:2], ["a"] * 2))


def test_chance_is_one_over_the_seeds(written) -> None:
    images, own = np.zeros((2, 160 * 16, 3, 32, 32), np.float32)
    images[:, 0, 0, :8], own[:, 0, 0, :8] = noise(160 * 16, 8), noise(160 * 16, 8, seed=1)
    found = value(SameContent(), of(images, own, [str(i // 16) for i in range(160 * 16)]))
    assert abs(found - 1 / 16) < 4 * math.sqrt(1 / 16 * 15 / 16 / (160 * 16))  # four standard errors, 0.019


# ----------------------------------------------------------------------------------------------- what holds for each one


@cache
def real(n: int = 60) -> tuple[np.ndarray, list[str | None]]:
    """Val drawings and prompts, five pictures each."""
    world = World.open().where(split="val", domain="emoji")
    return world.pixels(32)[np.linspace(0, len(world) - 1, n).astype(int)], [str(i // 5) for i in range(n)]


def close(size: float = 0.1) -> Context:
    images, prompts = real()
    return of(images + size * noise(*images.shape).astype(np.float32), images, prompts)


def estimate(metric: Metric, context: Context) -> Estimate:
    return jackknife(metric.statistic(context), np.arange(len(context.images)) % 20, confidence=0.99)


@pytest.mark.parametrize("name", METRICS)
def test_nearer_to_the_reference_is_better(name: str) -> None:
    metric = METRICS[name]
    assert metric.unit and metric.ideal == IDEAL[name]
    near, far, other = close(0.05), close(0.3), close()
    other = replace(other, images=other.images[[i - i % 5 + (i + 1) % 5 for i in range(60)]])  # another seed's
    up = name in ("ssim", "psnr", "same_content")
    found = [estimate(metric, context) for context in ((near, far, other) if name != "same_content" else (near, other))]
    for well, ill in zip(found, found[1:], strict=False):
        assert well.low > ill.high if up else well.high < ill.low
    same = value(metric, replace(near, images=near.paired))
    assert same == pytest.approx(paired.PEAK if name == "psnr" else metric.ideal, abs=1e-6)
    assert value(metric, other) < 0.2 or name != "same_content"


@pytest.mark.parametrize("name", METRICS)
def test_order_does_not_matter_and_a_subset_is_the_mean_of_its_items(name: str) -> None:
    context = close(0.5)
    statistic, n = METRICS[name].statistic(context), len(context.images)
    order = np.random.default_rng(3).permutation(n)
    prompts = [context.prompts[i] for i in order]
    shuffled = replace(context, images=context.images[order], paired=context.paired[order], prompts=prompts)
    # sums in another order, and float32 networks in other batches
    assert value(METRICS[name], shuffled) == pytest.approx(statistic(np.arange(n)), rel=1e-5)
    each = np.array([statistic(np.array([i])) for i in range(n)])
    for index in (order, order[:7]):
        assert statistic(index) == pytest.approx(each[index].mean(), rel=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_items_whose_reference_diverged_are_left_out(name: str) -> None:
    context = close(0.5)
    own, gone = context.paired.copy(), [0, 17, 18, 41]
    own[gone] = np.nan
    own[41] = context.paired[41]
    own[41, 0, 3, 4] = np.inf
    found, kept = METRICS[name].statistic(replace(context, paired=own)), np.setdiff1d(np.arange(60), gone)
    alone = of(context.images[kept], own[kept], [context.prompts[i] for i in kept])
    assert found(np.arange(60)) == pytest.approx(value(METRICS[name], alone), rel=1e-5)
    assert math.isfinite(found(np.arange(60))) and math.isnan(found(np.array([17, 41])))


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_says_so_where_it_is_not_defined(name: str) -> None:
    metric, context = METRICS[name], close()
    with pytest.raises(UndefinedError, match="no paired reference"):
        metric.statistic(replace(context, paired=None))
    with pytest.raises(UndefinedError, match=r"the reference of every item has diverged|no prompt has two seeds"):
        metric.statistic(of(context.images[:2], np.full((2, 3, 32, 32), np.nan), ["a", "a"]))
    points = of(np.zeros((4, 2)), np.zeros((4, 2)))
    if name != "rms":
        with pytest.raises(UndefinedError, match="not pictures"):
            metric.statistic(points)
    if name in ("lpips", "same_content"):
        with pytest.raises(UndefinedError, match="not colour pictures"):
            metric.statistic(of(np.zeros((4, 1, 32, 32)), np.zeros((4, 1, 32, 32))))
