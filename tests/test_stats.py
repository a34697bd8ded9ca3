"""Intervals, differences, shares, tests: exact where a formula is known, and covering what they promise."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from sdi_bench.stats import (
    Difference,
    Estimate,
    clusters_of,
    difference,
    difference_of,
    equivalent,
    extrapolated,
    holm,
    jackknife,
    mean_of,
    share,
    verdict,
)


def covered(estimate: Callable[[np.random.Generator], Estimate], truth: float, n: int = 1500) -> float:
    """Share of n drawings whose interval holds the truth; its standard error is 0.006 at 0.95."""
    rng = np.random.default_rng(0)
    found = [estimate(rng) for _ in range(n)]
    return sum(low <= truth <= high for _, low, high in found) / n


@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_the_interval_of_a_mean_is_student_s(confidence: float) -> None:
    values = np.random.default_rng(0).gamma(2, size=30)
    found = jackknife(mean_of(values), np.arange(30), confidence)
    want = stats.t.interval(confidence, 29, values.mean(), stats.sem(values))
    assert (found.point, found.low, found.high) == pytest.approx((values.mean(), *want), rel=1e-13)
    assert found.half == pytest.approx((want[1] - want[0]) / 2, rel=1e-13)


def test_equal_groups_count_as_one_number_each() -> None:
    values, groups = np.random.default_rng(1).standard_normal(40), np.arange(40) % 8
    means = [values[groups == group].mean() for group in range(8)]
    want = stats.t.interval(0.95, 7, np.mean(means), stats.sem(means))
    assert jackknife(mean_of(values), groups)[1:] == pytest.approx(want, rel=1e-12)


def test_the_interval_of_a_ratio_is_that_of_the_delta_method() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(1, 2, 4000), rng.uniform(2, 3, 4000)
    found = jackknife(lambda index: float(x[index].mean() / y[index].mean()), np.arange(4000))
    residuals = (x - x.mean() / y.mean() * y) / y.mean()
    # the two differ by O(1/n) of the interval
    assert found.half == pytest.approx(1.96 * residuals.std() / math.sqrt(4000), rel=2e-3)


def test_names_of_groups_and_order_of_samples_do_not_matter() -> None:
    values, groups = np.random.default_rng(3).standard_normal(30), np.arange(30) % 5
    order = np.random.default_rng(4).permutation(30)
    want = jackknife(mean_of(values), groups)
    assert jackknife(mean_of(values), 7 * groups - 100) == pytest.approx(want, rel=1e-13)
    assert jackknife(mean_of(values[order]), groups[order]) == pytest.approx(want, rel=1e-12)


def test_the_interval_covers_the_truth_19_times_in_20() -> None:
    """Means over 64 items of 32 seeds and 2 prompts; what a seed adds is shared by its prompts."""
    rng, n = np.random.default_rng(5), 2000
    seeds = np.tile(np.arange(32), 2)
    groups, held = clusters_of(seeds, at_most=20), 0
    for _ in range(n):
        values = rng.standard_normal(32)[seeds] + 0.3 * rng.standard_normal(64)
        found = jackknife(mean_of(values), groups)
        held += found.low <= 0 <= found.high
    # 20 groups of 2 or 4 items: unequal ones bend the level by less than 0.01; standard error of the share 0.005.
    assert abs(held / n - 0.95) < 0.02


# ------------------------------------------------------------------------------------------------------------ clusters


def test_few_clusters_are_their_own_groups_and_many_are_dealt_whole() -> None:
    labels = np.array(["sofa", "cat", "sofa", "owl", "cat"])
    assert clusters_of(labels).tolist() == [2, 0, 2, 1, 0]
    sizes = np.random.default_rng(0).integers(1, 20, 300)
    many = np.repeat(np.arange(300), sizes)
    groups = clusters_of(many, at_most=12)
    assert len(set(groups)) == 12
    assert all(len(set(groups[many == label])) == 1 for label in range(300))
    load = np.bincount(groups)
    assert np.ptp(load) <= 2  # the last clusters dealt are of size 1; by label alone it would be about 60
    order = np.random.default_rng(1).permutation(len(many))
    assert (clusters_of(many[order], at_most=12) == groups[order]).all()
    assert len(set(clusters_of(np.arange(41)))) == 40
    with pytest.raises(ValueError, match=r"^at_most: 1 groups leave none to compare with"):
        clusters_of(many, at_most=1)


SIXTY = np.repeat(np.arange(60), 5)
"""60 clusters of 5 items, for 40 groups of one or two."""
UNEVEN = np.repeat(np.arange(70), np.random.default_rng(6).integers(1, 12, 70))


@pytest.mark.parametrize("labels", [SIXTY, UNEVEN], ids=["even", "uneven"])
def test_the_interval_of_a_mean_covers_where_clusters_share_most(labels: np.ndarray) -> None:
    """A cluster's items share 80 % of the variance; items left out one by one would give intervals of half the width."""

    def estimate(rng: np.random.Generator) -> Estimate:
        values = 2 * rng.standard_normal(labels[-1] + 1)[labels] + rng.standard_normal(len(labels))
        return jackknife(mean_of(values), clusters_of(labels))

    assert abs(covered(estimate, 0) - 0.95) < 0.02


def test_the_interval_of_a_log_ratio_covers() -> None:
    def estimate(rng: np.random.Generator) -> Estimate:
        values = rng.gamma(2, size=60)[SIXTY] * rng.gamma(4, 1 / 4, size=300)
        return jackknife(lambda index: math.log(values[index].mean() / 2), clusters_of(SIXTY))

    assert abs(covered(estimate, 0) - 0.95) < 0.02


def test_a_corrected_jackknife_is_free_of_a_bias_of_one_over_n() -> None:
    """The variance with 1/n, of single items left out, becomes the one with 1 / (n - 1): Quenouille's own example."""
    values = np.random.default_rng(0).gamma(2, size=25)
    found = jackknife(lambda index: float(values[index].var()), np.arange(25), corrected=True)
    assert found.point == pytest.approx(values.var(ddof=1), rel=1e-12)
    assert found.half == pytest.approx(jackknife(lambda index: float(values[index].var()), np.arange(25)).half, rel=1e-12)


# --------------------------------------------------------------------------------------------------------- differences


def test_a_difference_is_the_paired_t_test_of_clusters() -> None:
    rng = np.random.default_rng(0)
    a, b, labels = rng.standard_normal(90), rng.standard_normal(90) - 0.3, np.tile(np.arange(30), 3)
    means = (a - b).reshape(3, 30).mean(axis=0)
    want = stats.ttest_rel(a.reshape(3, 30).mean(axis=0), b.reshape(3, 30).mean(axis=0))
    found = difference(a, b, labels)
    assert found.p == pytest.approx(want.pvalue, rel=1e-9)
    assert found.estimate[1:] == pytest.approx(tuple(want.confidence_interval(0.95)), rel=1e-9)
    assert found.effect == pytest.approx(means.mean() / means.std(ddof=1), rel=1e-12)
    assert (found.error, found.df) == (pytest.approx(stats.sem(means), rel=1e-9), 29)
    turned = difference(b, a, labels)
    assert (turned.effect, turned.p) == pytest.approx((-found.effect, found.p), rel=1e-9)


def test_the_difference_of_two_means_is_the_mean_difference() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 40))
    found, want = difference_of(mean_of(a), mean_of(b), np.arange(40)), difference(a, b, np.arange(40))
    for one, other in zip(found, want, strict=True):
        assert one == pytest.approx(other, rel=1e-9)


def test_the_same_is_no_difference() -> None:
    same = difference(np.arange(6.0), np.arange(6.0), np.arange(6))
    assert (same.estimate, same.effect, same.p) == (Estimate(0, 0, 0), 0, 1)
    with pytest.raises(ValueError, match=r"^a - b: 2 of 3 are not finite; leave these items out of both$"):
        difference(np.array([1, math.nan, 1]), np.array([0, 0, math.inf]), np.arange(3))


def test_the_interval_of_a_difference_covers() -> None:
    """What items share cancels; what a cluster adds to one sampler alone does not."""

    def estimate(rng: np.random.Generator) -> Estimate:
        shared = 3 * rng.standard_normal(300)
        a = shared + rng.standard_normal(60)[SIXTY] + rng.standard_normal(300)
        return difference(a, shared + rng.standard_normal(300), SIXTY).estimate

    assert abs(covered(estimate, 0) - 0.95) < 0.02


# --------------------------------------------------------------------------------------------------------------- shares


@pytest.mark.parametrize("n_hits", [0, 1, 7, 39, 40])
def test_a_share_of_single_items_is_wilson_s(n_hits: int) -> None:
    """With scipy's normal quantile replaced by Student's: at the confidence at which the two agree."""
    hits = np.arange(40) < n_hits
    confidence = float(2 * stats.norm.cdf(stats.t.ppf(0.975, 39)) - 1)
    want = stats.binomtest(n_hits, 40).proportion_ci(confidence, method="wilson")
    found = share(hits, np.arange(40))
    assert found.point == n_hits / 40
    assert found[1:] == pytest.approx(tuple(want), rel=1e-9, abs=1e-15)


def test_a_share_of_agreeing_clusters_counts_clusters() -> None:
    """Items of a cluster that always agree are one item: to the 1 % that the pseudo-cluster changes."""
    hits, labels = np.arange(50) % 3 == 0, np.arange(50)
    alone, thrice = share(hits, labels), share(np.repeat(hits, 3), np.repeat(labels, 3))
    assert thrice == pytest.approx(alone, rel=0.01)


@pytest.mark.parametrize("hit", [False, True])
def test_a_share_of_none_or_all_has_a_one_sided_interval(hit: bool) -> None:
    found = share(np.full(60, hit), np.repeat(np.arange(20), 3))
    t = stats.t.ppf(0.975, 19)
    edge = t**2 / (20 + t**2)  # Wilson's for none of 20 clusters; the pseudo-clusters make 20 a little less
    want = (1.0, 1 - edge, 1.0) if hit else (0.0, 0.0, edge)
    assert found == pytest.approx(want, abs=0.01) and found.half > 0.05


def test_a_share_is_inside_its_interval_inside_one() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        hits = rng.random(24) < rng.random()
        point, low, high = share(hits, rng.integers(0, 9, 24))
        assert 0 <= low <= point <= high <= 1 and high - low > 0.05
    with pytest.raises(ValueError, match=r"^hits: 0.5 is neither 0 nor 1$"):
        share(np.array([0, 0.5]), np.arange(2))


@pytest.mark.parametrize(
    ("p", "alike", "least", "most"),
    [
        (0.3, 0.3, 0.93, 0.97),
        (0.8, 0.7, 0.93, 0.97),
        (0.05, 0.3, 0.93, 0.98),  # few clusters have hits: wider than need be, as the docstring says
        (0.01, 0.3, 0.93, 0.99),
        (0.99, 0.7, 0.93, 0.99),
    ],
)
def test_the_interval_of_a_share_covers(p: float, alike: float, least: float, most: float) -> None:
    """Each cluster has a probability of its own; two of its items correlate by alike."""

    def estimate(rng: np.random.Generator) -> Estimate:
        own = rng.beta(p * (1 / alike - 1), (1 - p) * (1 / alike - 1), 60)
        return share(rng.random(300) < own[SIXTY], SIXTY)

    assert least <= covered(estimate, p) <= most


# ---------------------------------------------------------------------------------------------------------------- tests


def test_holm_adjusts_as_in_his_paper() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # R's p.adjust
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1, 1])
    assert holm(np.array([0.2])) == pytest.approx([0.2])
    assert len(holm(np.empty(0))) == 0
    with pytest.raises(ValueError, match=r"^p_values: .*must be in \[0, 1\]"):
        holm(np.array([0.1, math.nan]))


def test_holm_keeps_the_level_of_the_family() -> None:
    rng, n = np.random.default_rng(0), 4000
    wrong = sum(holm(rng.random(8)).min() < 0.05 for _ in range(n)) / n
    assert abs(wrong - 0.05) < 0.01  # 1 - (1 - 0.05/8)^8 = 0.049; three standard errors


def made(point: float, error: float, df: int = 24) -> Difference:
    half = float(stats.t.ppf(0.975, df)) * error
    p = 2 * float(stats.t.sf(abs(point) / error, df))
    return Difference(Estimate(point, point - half, point + half), math.nan, p, error, df)


def test_equivalence_is_two_one_sided_tests() -> None:
    values = np.random.default_rng(3).standard_normal(25) / 3 + 0.05
    found = equivalent(difference(values, np.zeros(25), np.arange(25)), 0.2)
    one_sided = [
        stats.ttest_1samp(values, -0.2, alternative="greater").pvalue,
        stats.ttest_1samp(values, 0.2, alternative="less").pvalue,
    ]
    assert found.p == pytest.approx(max(one_sided), rel=1e-9)
    assert found.equal == (found.p < 0.05)
    with pytest.raises(ValueError, match=r"^margin: 0 must be above 0$"):
        equivalent(made(0, 1), 0)


def test_equivalence_is_wrong_once_in_twenty_at_the_margin_and_found_inside() -> None:
    rng, n = np.random.default_rng(4), 2000

    def found(truth: float) -> float:
        values = rng.standard_normal((n, 30)) + truth
        return sum(equivalent(difference(v, np.zeros(30), np.arange(30)), 1.0).equal for v in values) / n

    assert abs(found(1.0) - 0.05) < 0.015  # three standard errors
    assert found(0.0) > 0.99


@pytest.mark.parametrize(
    ("point", "error", "said"),
    [
        (0.01, 0.02, "equal within 0.1"),
        (-0.05, 0.01, "differs, by less than 0.1"),
        (0.5, 0.1, "higher"),
        (-0.5, 0.1, "lower"),
        (0.09, 0.02, "higher"),
        (0.1, 0.2, "not distinguishable"),
        (0.0, 0.2, "not distinguishable"),
    ],
)
def test_the_verdict_says_what_is_known(point: float, error: float, said: str) -> None:
    found = made(point, error)
    assert verdict(found, 0.1, found.p) == said
    direction = "higher" if point > 0 else "lower"
    assert verdict(found, None, found.p) == (direction if found.p < 0.05 else "not distinguishable")


def test_a_verdict_is_by_the_adjusted_p() -> None:
    found = made(0.5, 0.2)
    assert found.p < 0.05
    assert verdict(found, 0.1, 0.06) == "not distinguishable"


# -------------------------------------------------------------------------------------------------------- extrapolation


def test_a_line_in_one_over_n_is_found_to_rounding() -> None:
    found = extrapolated(lambda index: 3 + 7 / len(index), np.repeat(np.arange(12), 4))
    assert found == pytest.approx((3, 3, 3), rel=1e-10)


def test_the_subsets_are_whole_groups_that_share_none_and_are_all() -> None:
    groups, seen = np.repeat(np.arange(12), 3), []
    extrapolated(lambda index: seen.append(index) or 1 / len(index), groups, parts=(1, 3))
    whole, *thirds = seen[:4]
    assert whole.tolist() == list(range(36))
    assert sorted(np.concatenate(thirds)) == list(range(36))
    assert all(len(part) == 12 and len(set(groups[part])) == 4 for part in thirds)
    assert all(len(index) < 36 for index in seen[4:])
    again = []
    extrapolated(lambda index: again.append(index) or 1 / len(index), groups, parts=(1, 3))
    assert all((one == other).all() for one, other in zip(seen, again, strict=True))
    with pytest.raises(ValueError, match=r"^parts: \[1, 7\] must be two or more different numbers from 1 to 6"):
        extrapolated(lambda index: 0.0, groups, parts=(1, 7))


def test_an_extrapolated_interval_covers_where_the_statistic_alone_seldom_does() -> None:
    """mean² + 40·variance / n: a bias of 0.4 on a truth of 1, with a standard error of 0.2."""

    def statistic(values: np.ndarray) -> Callable[[np.ndarray], float]:
        return lambda index: float(values[index].mean() ** 2 + 40 * values[index].var() / len(index))

    groups = np.arange(100) % 8
    plain = covered(lambda rng: jackknife(statistic(rng.standard_normal(100) + 1), groups), 1, 200)
    right = covered(lambda rng: extrapolated(statistic(rng.standard_normal(100) + 1), groups, parts=(1, 2)), 1, 1000)
    assert plain < 0.7
    assert abs(right - 0.95) < 0.02
