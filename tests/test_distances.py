"""Distances between sets of features: against other code and closed forms, merging, intervals that cover, and what refuses."""

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from sdi_bench.features import frechet, kernel
from sdi_bench.features.base import Features
from sdi_bench.metrics import Context, Fd, Kd, UndefinedError
from sdi_bench.stats import Estimate, clusters_of, difference_of, extrapolated, jackknife

RNG = np.random.default_rng(0)
D = 24
MIX = RNG.standard_normal((D, D)) / D**0.5


def points(n: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Correlated Gaussian features."""
    return scale * RNG.standard_normal((n, D)) @ MIX + shift


def textbook(a: np.ndarray, b: np.ndarray) -> float:
    """The formula with scipy's matrix square root."""
    c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(c) + np.trace(d) - 2 * np.trace(sqrtm(c @ d)).real)


def pairwise(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased squared MMD, pair by pair."""

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    own = [np.mean([k(s[i], s[j]) for i, j in product(range(len(s)), repeat=2) if i != j]) for s in (a, b)]
    return float(sum(own) - 2 * np.mean([k(x, y) for x, y in product(a, b)]))


@pytest.fixture(params=[False, True], ids=["at once", "by parts"])
def by_parts(request, monkeypatch) -> None:
    """With the points in one part, and in many, the last one smaller."""
    if request.param:
        for module in (frechet, kernel):
            monkeypatch.setattr(module, "AT_ONCE", 7)


# n and m on either side of d: full rank, or a covariance without an inverse, where roots of eigenvalues that are 0 but for
# rounding (1e-16 of the largest) are 1e-8, as many as dimensions lack. scipy's own route has the same error.
SIZES = [(200, 150, 1e-8), (150, 200, 1e-8), (200, 25, 1e-5), (200, 24, 1e-5), (200, 10, 1e-5), (10, 200, 1e-5), (8, 12, 1e-5)]


@pytest.mark.usefixtures("by_parts")
@pytest.mark.parametrize(("n", "m", "close"), SIZES)
def test_the_frechet_distance_is_that_of_the_matrix_root(n: int, m: int, close: float) -> None:
    a, b = points(n), points(m, 0.3, 1.2)
    want, everyone = textbook(a, b), np.arange(n)
    assert frechet.between(a, b) == pytest.approx(want, rel=close)
    assert frechet.between(b, a) == pytest.approx(want, rel=close)
    assert frechet.statistic(a, b)(everyone) == pytest.approx(want, rel=close)
    assert frechet.statistic(a, frechet.moments(b))(everyone) == pytest.approx(want, rel=close)
    assert frechet.frechet(frechet.moments(a), frechet.moments(b)) == pytest.approx(want, rel=close)


def test_few_points_in_many_dimensions_are_a_nuclear_norm() -> None:
    """The singular values of A B', without any root of an eigenvalue: to the rounding of one eigenvalue that is 0."""
    a, b = points(10), points(15, 0.3)
    A, B = a - a.mean(axis=0), b - b.mean(axis=0)
    cross = np.linalg.svd(A @ B.T, compute_uv=False).sum() / np.sqrt(9 * 14)
    want = np.square(a.mean(0) - b.mean(0)).sum() + np.square(A).sum() / 9 + np.square(B).sum() / 14 - 2 * cross
    assert frechet.between(a, b) == pytest.approx(want, rel=1e-7)


def test_the_frechet_distance_of_gaussians_is_their_formula() -> None:
    """Commuting covariances: |gap|² + sum (s - t)²; a set and itself: 0."""
    s, t = np.linspace(0.5, 2, 8), np.linspace(1.5, 0.1, 8)
    a, b = (frechet.Moments(11, np.full(8, mean), np.diag(10 * scale**2)) for mean, scale in ((0.0, s), (0.25, t)))
    assert frechet.frechet(a, b) == pytest.approx(8 / 16 + np.square(s - t).sum(), rel=1e-12)
    some = points(100)
    assert frechet.between(some, some) == pytest.approx(0, abs=1e-12 * np.square(some).sum())
    assert frechet.between(some, some + 0.5) == pytest.approx(D / 4, rel=1e-10)


def spread_along(n: int, deviations: np.ndarray, shift: float, seed: int) -> np.ndarray:
    """n points whose unbiased covariance is V diag(deviations²) V', to rounding, V the same for every seed."""
    rng, d = np.random.default_rng(seed), len(deviations)
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((d, d)))[0]
    beside = np.column_stack([np.ones(n), rng.standard_normal((n, int((deviations > 0).sum())))])
    across = np.linalg.qr(beside)[0][:, 1:]  # orthonormal, and of mean 0
    return np.sqrt(n - 1) * (across * deviations[deviations > 0]) @ axes[:, deviations > 0].T + shift


@pytest.mark.usefixtures("by_parts")
@pytest.mark.parametrize(("n", "m"), [(60, 50), (60, 24), (24, 24), (13, 60), (14, 13)])
def test_rank_deficient_covariances_that_commute_have_a_closed_form(n: int, m: int) -> None:
    """|gap|² + sum (s - t)², half of the deviations 0, some of them in one set only; n and m above, at and below d = 24.

    A deviation that is 0 comes out as the root of 1e-16 of the largest eigenvalue, 1e-8: some 24 of them, of 30.
    """
    s, t = np.linspace(2, 0.5, D), np.linspace(0.1, 1.5, D)
    s[12:], t[:4], t[16:] = 0, 0, 0
    a, b = spread_along(n, s, 0.0, 1), spread_along(m, t, 0.25, 2)
    want = D / 16 + np.square(s - t).sum()
    assert frechet.between(a, b) == pytest.approx(want, rel=1e-7)
    assert frechet.statistic(b, frechet.moments(a))(np.arange(m)) == pytest.approx(want, rel=1e-7)


@pytest.mark.usefixtures("by_parts")
@pytest.mark.parametrize("m", [300, 15])
@pytest.mark.parametrize("n", [200, 30, 24, 12])
def test_a_subset_s_frechet_distance_is_as_if_there_were_nothing_else(n: int, m: int) -> None:
    """Left out a few, more than half, so many that fewer than d stay; in any order, and one shown twice."""
    a, b = points(n, 0.2), points(m)
    statistic, order = frechet.statistic(a, b), RNG.permutation(n)
    for k in (n, n - 1, n - n // 10, n // 2, n // 3, 2):
        assert statistic(order[:k]) == pytest.approx(frechet.between(a[order[:k]], b), rel=1e-6)
    twice = np.append(order[1:], order[1])
    assert statistic(twice) == pytest.approx(frechet.between(a[twice], b), rel=1e-6)


def test_merged_moments_are_those_of_the_whole() -> None:
    """Far from the origin, where sums of squares would cancel; parts of one point too."""
    some = points(100, shift=1e3)
    whole = frechet.moments(some)
    for cut in (1, 37, 99):
        first, second = frechet.moments(some[:cut]), frechet.moments(some[cut:])
        for found, want in (
            (frechet.merged(first, second), whole),
            (frechet.merged(second, first), whole),
            (frechet.without(whole, frechet.moments(some[60:])), frechet.moments(some[:60])),
        ):
            assert found.n == want.n
            assert found.mean == pytest.approx(want.mean, rel=1e-12)
            assert np.abs(found.scatter - want.scatter).max() < 1e-10 * np.abs(want.scatter).max()
    other = frechet.moments(points(90))
    parts = [frechet.moments(part) for part in np.array_split(some, 7)]
    again = parts[0]
    for part in parts[1:]:
        again = frechet.merged(again, part)
    assert frechet.frechet(again, other) == pytest.approx(frechet.frechet(whole, other), rel=1e-10)
    assert whole.covariance == pytest.approx(np.cov(some, rowvar=False), rel=1e-9)


def test_what_has_no_covariance_or_no_pair_is_refused() -> None:
    few, many = points(1), points(30)
    for refused in (
        lambda: frechet.between(few, many),
        lambda: frechet.statistic(many, few),
        lambda: frechet.statistic(many, many)(np.array([3])),
        lambda: frechet.moments(few).covariance,
    ):
        with pytest.raises(ValueError, match=r"have no covariance; at least 2$"):
            refused()
    with pytest.raises(ValueError, match=r"^part: 30 points of 30 leave none$"):
        frechet.without(frechet.moments(many), frechet.moments(many))
    with pytest.raises(ValueError, match=r"^reference: 1 points make no pair; at least 2$"):
        kernel.between(many, few)
    with pytest.raises(ValueError, match=r"^points: 1 make no pair; at least 2$"):
        kernel.between(few, many)


# -------------------------------------------------------------------------------------------------------------- kernel


@pytest.mark.usefixtures("by_parts")
def test_the_kernel_distance_is_the_mean_over_pairs() -> None:
    a, b = points(9), points(12, 0.4)
    want = pairwise(a, b)
    assert kernel.between(a, b) == pytest.approx(want, rel=1e-12)
    assert kernel.between(b, a) == pytest.approx(want, rel=1e-12)
    assert kernel.between(a.astype(np.float32), b.astype(np.float32)) == pytest.approx(want, rel=1e-5)


@pytest.mark.usefixtures("by_parts")
def test_a_subset_s_kernel_distance_is_as_if_there_were_nothing_else() -> None:
    a, b = points(20), points(25, 0.2)
    statistic, order = kernel.statistic(a, b), RNG.permutation(20)
    for k in (20, 19, 11, 2):
        assert statistic(order[:k]) == pytest.approx(kernel.between(a[order[:k]], b), rel=1e-10)


@pytest.mark.usefixtures("by_parts")
def test_a_point_shown_twice_does_not_meet_itself() -> None:
    """Two copies of each: every pair of different points four times over, so the same mean. One of twenty shown twice and one
    left out: by the definition.
    """
    a, b = points(20), points(25, 0.2)
    statistic = kernel.statistic(a, b)
    assert statistic(np.repeat(np.arange(20), 2)) == pytest.approx(statistic(np.arange(20)), rel=1e-12)
    some = np.append(np.arange(1, 20), 3)
    pairs = (a[some] @ a[some].T / D + 1) ** 3 * (some[:, None] != some)
    own, across = pairs.sum() / (some[:, None] != some).sum(), ((a[some] @ b.T / D + 1) ** 3).mean()
    among = (b @ b.T / D + 1) ** 3
    among = (among.sum() - np.trace(among)) / (25 * 24)
    assert statistic(some) == pytest.approx(own + among - 2 * across, rel=1e-10)


@pytest.mark.parametrize("distance", [frechet, kernel])
def test_the_features_and_the_pairs_are_not_copied(distance) -> None:
    """float32 features in; what is allocated on the way is less than twice what a matrix of all pairs takes, or of a
    covariance: of either set, the matrices that a textbook makes are at least four.
    """
    n, d = (1500, 64) if distance is kernel else (1500, 400)
    a, b = (np.random.default_rng(seed).standard_normal((n, d), np.float32) for seed in (1, 2))
    tracemalloc.start()
    try:
        distance.between(a, b)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (0.2 * 8 * n * n if distance is kernel else 4 * 8 * d * d)


def test_the_kernel_distance_is_unbiased_at_three_points() -> None:
    """Over all 56 triples of 8 points, whose mean is that of all 8."""
    from itertools import combinations

    a, b = points(8), points(10, 0.2)
    statistic = kernel.statistic(a, b)
    triples = [statistic(np.array(triple)) for triple in combinations(range(8), 3)]
    assert np.mean(triples) == pytest.approx(statistic(np.arange(8)), rel=1e-10)


# --------------------------------------------------------------------------------------------------------- torchmetrics


class Pixels(torch.nn.Module):
    """Features for torchmetrics: the pixels."""

    num_features = D

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def shown(metric: torch.nn.Module, real: np.ndarray, fake: np.ndarray) -> torch.nn.Module:
    metric.set_dtype(torch.float64)
    for some, is_real in ((real, True), (fake, False)):
        metric.update(torch.from_numpy(some).reshape(-1, 2, 3, 4), real=is_real)
    return metric


def test_the_frechet_distance_is_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    a, b = points(300, 0.2), points(400)
    theirs = shown(FrechetInceptionDistance(Pixels(), normalize=True), b, a)
    # sums of squares in float64, eigenvalues of C_a C_b
    assert frechet.between(a, b) == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_the_kernel_distance_is_torchmetrics() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    a, b = points(80, 0.2), points(80)
    theirs = shown(KernelInceptionDistance(Pixels(), subsets=1, subset_size=80, normalize=True), b, a)
    assert kernel.between(a, b) == pytest.approx(float(theirs.compute()[0]), rel=1e-6)


# ------------------------------------------------------------------------------------------------------------ intervals


def covered(estimate: Callable[[np.random.Generator], Estimate], truth: float, n: int = 1000) -> float:
    """Share of n drawings whose interval holds the truth; its standard error is 0.007 at 0.95."""
    rng = np.random.default_rng(0)
    found = [estimate(rng) for _ in range(n)]
    return sum(low <= truth <= high for _, low, high in found) / n


@dataclass(frozen=True)
class Normals:
    """Samples of standard deviations from 0.7 to 1.3 about shift, held against the standard Gaussian itself."""

    n: int
    d: int
    shift: float
    n_groups: int = 6

    @property
    def truth(self) -> float:
        return self.d * self.shift**2 + float(np.square(self.deviations - 1).sum())

    @property
    def deviations(self) -> np.ndarray:
        return np.linspace(0.7, 1.3, self.d)

    def covered(self, interval: Callable[..., Estimate], n_drawings: int = 1000, **more: object) -> float:
        known, groups = frechet.Moments(2, np.zeros(self.d), np.eye(self.d)), np.arange(self.n) % self.n_groups

        def estimate(rng: np.random.Generator) -> Estimate:
            some = rng.standard_normal((self.n, self.d)) * self.deviations + self.shift
            return interval(frechet.statistic(some, known), groups, **more)

        return covered(estimate, self.truth, n_drawings)


@pytest.mark.slow
def test_the_interval_of_a_frechet_distance_covers() -> None:
    """n >> d and sets apart: the bias, some d/n, is a sixth of the standard error."""
    assert abs(Normals(400, 3, 0.5).covered(jackknife) - 0.95) < 0.02


@pytest.mark.slow
def test_near_equal_sets_need_the_corrected_point() -> None:
    """A bias of 0.13 on 0.39, with a standard error of 0.08."""
    near = Normals(200, 8, 0.1)
    assert near.covered(jackknife, 200) < 0.85
    assert abs(near.covered(jackknife, corrected=True) - 0.95) < 0.02


def test_the_interval_of_an_extrapolated_frechet_distance_covers() -> None:
    """Independent dimensions, taken as such: sum mean² + (deviation - 1)². The plain one is 0.7 of a standard error off."""
    groups, n, d = np.arange(100) % 10, 100, 8

    def estimate(rng: np.random.Generator) -> Estimate:
        x = rng.standard_normal((n, d)) * 1.2 + 0.3
        return extrapolated(lambda i: float((x[i].mean(0) ** 2 + (x[i].std(0, ddof=1) - 1) ** 2).sum()), groups, parts=(1, 2))

    assert abs(covered(estimate, d * (0.3**2 + 0.2**2)) - 0.95) < 0.02


def test_a_frechet_distance_is_extrapolated_to_the_known_one() -> None:
    near = Normals(2000, 8, 0.1)
    some = np.random.default_rng(3).standard_normal((near.n, near.d)) * near.deviations + near.shift
    statistic = frechet.statistic(some, frechet.Moments(2, np.zeros(near.d), np.eye(near.d)))
    found = extrapolated(statistic, np.arange(near.n) % 8)
    assert found.low < near.truth < found.high
    assert statistic(np.arange(near.n)) - found.point == pytest.approx(0.0134, rel=0.3)  # the bias at 200, over 10


def gaussian_kernel(y: np.ndarray, mean: float) -> np.ndarray:
    """E (x·y / d + 1)³ over x of N(mean, 1) in each dimension: x·y / d + 1 is N(c, v), so c³ + 3cv."""
    c, v = mean * y.mean(axis=1) + 1, np.square(y).sum(axis=1) / y.shape[1] ** 2
    return c**3 + 3 * c * v


@pytest.mark.parametrize(("shift", "least", "most"), [(0.4, 0.93, 0.97), pytest.param(0.0, 0.93, 0.99, marks=pytest.mark.slow)])
def test_the_interval_of_a_kernel_distance_covers_the_known_one(shift: float, least: float, most: float) -> None:
    """Samples of N(shift, 1) in 16 dimensions, to one reference of N(0, 1). Equal laws: wider than need be (docstring)."""
    rng, d = np.random.default_rng(1), 16
    known, many = rng.standard_normal((150, d)), rng.standard_normal((400_000, d)) + shift
    own = [float((known[i] @ known[j] / d + 1) ** 3) for i, j in product(range(150), repeat=2) if i != j]
    truth = gaussian_kernel(many, shift).mean() + np.mean(own) - 2 * gaussian_kernel(known, shift).mean()

    def estimate(rng: np.random.Generator) -> Estimate:
        return jackknife(kernel.statistic(rng.standard_normal((150, d)) + shift, known), np.arange(150) % 20)

    assert least <= covered(estimate, float(truth)) <= most


@pytest.mark.slow
def test_the_interval_of_a_difference_of_frechet_distances_covers() -> None:
    """Two samplers of the same items, whose bias cancels: each alone would be 0.3 of a standard error off."""
    d, known = 4, frechet.Moments(2, np.zeros(4), np.eye(4))

    def estimate(rng: np.random.Generator) -> Estimate:
        noise = rng.standard_normal((150, d))
        a, b = noise + 0.5, 0.6 * noise + 0.8 * rng.standard_normal((150, d)) + 0.3
        first, second = (frechet.statistic(some, known) for some in (a, b))
        return difference_of(first, second, np.arange(150) % 5).estimate

    assert abs(covered(estimate, d * (0.25 - 0.09)) - 0.95) < 0.02


def test_sharing_items_makes_a_difference_narrower() -> None:
    noise, known = points(100), points(300)
    groups = clusters_of(np.arange(100), 20)
    first, second = (frechet.statistic(noise + shift, known) for shift in (0.5, 0.45))
    paired = difference_of(first, second, groups)
    assert paired.error < 0.3 * jackknife(first, groups).half / 2.093
    assert paired.estimate.point > 0 and paired.p < 0.05


# -------------------------------------------------------------------------------------------------------------- metrics


@dataclass(frozen=True)
class Means:
    """Each channel's mean and deviation."""

    preprocessing: str = "means"
    floor: int = 40

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.concatenate([images.mean(axis=(2, 3)), images.std(axis=(2, 3))], axis=1)


def pictures(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 3, 32, 32)) / 3


HERE = Context(pictures(50, 0), [None] * 50, None, None, same_law=False, real=pictures(60, 1), samples=pictures(60, 2) * 1.1)
BOTH = [Fd, Kd]


@pytest.mark.parametrize("metric", BOTH)
def test_the_metrics_are_the_distances_of_features(metric: type[Fd | Kd]) -> None:
    assert isinstance(Means(), Features)
    distance = frechet.between if metric is Fd else kernel.between
    for against in ("real", "samples"):
        made = metric(Means(), against)
        found = made.statistic(HERE)(np.arange(50))
        assert found == pytest.approx(distance(Means()(HERE.images), Means()(getattr(HERE, against))), rel=1e-9)
    assert made.preprocessing == "means" and made.of_sets and made.ideal == 0


@pytest.mark.parametrize("metric", BOTH)
def test_the_metrics_say_what_they_lack(metric: type[Fd | Kd]) -> None:
    for against, why in (
        ("real", "no real pictures to hold it against"),
        ("samples", "no DDIM samples of other seeds to hold it against"),
    ):
        with pytest.raises(UndefinedError, match=f"^{why}$"):
            metric(Means(), against).statistic(replace(HERE, **{against: None}))
    with pytest.raises(UndefinedError, match=r"^needs 2 real pictures to hold it against, has 1$"):
        metric(Means()).statistic(replace(HERE, real=HERE.real[:1], samples=None))
    with pytest.raises(UndefinedError, match="not colour pictures"):
        metric(Means()).statistic(replace(HERE, images=HERE.images[:, :1], real=HERE.real[:, :1], samples=None))
    with pytest.raises(ValueError, match=r"^metric.against: 'truth' is not one of real, samples$"):
        metric(Means(), "truth")


def test_too_few_samples_are_refused() -> None:
    few, two, one = (replace(HERE, images=HERE.images[:n], prompts=[None] * n) for n in (39, 2, 1))
    with pytest.raises(UndefinedError, match=r"^n below floor \(40\)$"):
        Fd(Means()).statistic(few)
    assert Fd(Means(), force=True).statistic(few)(np.arange(39)) > 0
    assert np.isfinite(Kd(Means()).statistic(two)(np.arange(2)))
    with pytest.raises(UndefinedError, match=r"^a single sample makes no pair$"):
        Kd(Means()).statistic(one)
