"""Intervals: exact where a formula is known, and covering what they promise."""

import math

import numpy as np
import pytest
from scipy import stats

from sdi_bench.stats import Estimate, groups_of, jackknife, mean_of


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
    groups, held = groups_of(seeds), 0
    for _ in range(n):
        values = rng.standard_normal(32)[seeds] + 0.3 * rng.standard_normal(64)
        found = jackknife(mean_of(values), groups)
        held += found.low <= 0 <= found.high
    # 20 groups of 2 or 4 items: unequal ones bend the level by less than 0.01; standard error of the share 0.005.
    assert abs(held / n - 0.95) < 0.02


def test_one_group_says_nothing() -> None:
    assert jackknife(mean_of(np.arange(5.0)), np.zeros(5, dtype=int)) == Estimate(2, -math.inf, math.inf)


@pytest.mark.parametrize("n_prompts", [1, 3])
def test_a_group_holds_whole_seeds_with_all_their_prompts(n_prompts: int) -> None:
    seeds = np.tile([5, 3, 100, 8, 0, 77, 21, 34, 1, 2], n_prompts)
    groups = groups_of(seeds)
    assert len(set(groups)) == 10
    assert all(len(set(groups[seeds == seed])) == 1 for seed in seeds)
    many = groups_of(np.tile(np.arange(50), n_prompts))
    sizes = np.bincount(many)
    assert len(sizes) == 20 and sizes.min() == 2 * n_prompts and sizes.max() == 3 * n_prompts


def test_where_seeds_are_few_items_are_groups() -> None:
    assert len(set(groups_of(np.tile(np.arange(3), 5)))) == 15
    assert len(set(groups_of(np.zeros(1000, dtype=int)))) == 20
