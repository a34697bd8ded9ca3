"""Draws are a function of (item, purpose, step) alone, and standard."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from sdi_bench.draws import Item, PhiloxDraws, Purpose, items_of

ITEMS = (Item(None, 0), Item("a bear", 0), Item("a bear", 1), Item(None, 7))


def normal(item: Item, purpose: Purpose = Purpose.KAPPA, step: int = 3, n: int = 1000) -> torch.Tensor:
    return PhiloxDraws((item,)).normal(purpose, step, (n,))[0]


def philox4x64(counter: list[int], key: int) -> list[int]:
    """Ten rounds of Philox-4x64 in plain integers (Salmon et al., SC 2011, sec. 3.3)."""
    word = 2**64
    keys, (c0, c1, c2, c3) = [key % word, key // word], counter
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c0, word)
        high1, low1 = divmod(0xCA5A826395121157 * c2, word)
        c0, c1, c2, c3 = high1 ^ c1 ^ keys[0], low1, high0 ^ c3 ^ keys[1], low0
        keys = [(keys[0] + 0x9E3779B97F4A7C15) % word, (keys[1] + 0xBB67AE8584CAA73B) % word]
    return [c0, c1, c2, c3]


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize(("purpose", "step"), [(Purpose.INIT, 0), (Purpose.TAU, 41), (Purpose.VAE, 999)])
def test_uniform_draws_are_those_of_philox_written_by_hand(item: Item, purpose: Purpose, step: int) -> None:
    word = philox4x64([1, 0, step, int(purpose)], item.key)[0]  # numpy raises the counter before its first block
    assert PhiloxDraws((item,)).uniform(purpose, step).tolist() == [(word >> 11) / 2**53]


def test_golden_values_never_change() -> None:
    """Published numbers rest on these bits. If this fails, raise the results version; do not edit the numbers in silence."""
    draws = PhiloxDraws((Item(None, 0), Item("a bear", 7)))
    assert [row.tolist() for row in draws.normal(Purpose.KAPPA, 3, (3,))] == [
        [-1.4419629350535283, 0.24265861167427277, -0.09123964158796419],
        [-1.044773309420275, 0.740907189818916, 0.026025130642667073],
    ]
    assert draws.uniform(Purpose.TAU, 0).tolist() == [0.9503036188187105, 0.5416000870528134]
    assert Item("a bear", 7).key == 77680621568740894812942328564060511198


@pytest.mark.parametrize("shape", [(5,), (1, 8, 8)])
def test_a_row_of_a_batch_is_a_batch_of_one(shape: tuple[int, ...]) -> None:
    batch, mixed = PhiloxDraws(ITEMS), PhiloxDraws(ITEMS[::-1])
    for i, item in enumerate(ITEMS):
        alone = PhiloxDraws((item,))
        for draws, row in ((batch, i), (mixed, len(ITEMS) - 1 - i)):
            assert torch.equal(draws.normal(Purpose.INIT, 0, shape)[row], alone.normal(Purpose.INIT, 0, shape)[0])
            assert draws.uniform(Purpose.TIME, 5)[row] == alone.uniform(Purpose.TIME, 5)[0]


def test_the_order_of_draws_changes_nothing() -> None:
    calls = [(purpose, step) for purpose in Purpose for step in (0, 1, 50)]
    forwards, backwards = PhiloxDraws(ITEMS), PhiloxDraws(ITEMS)
    first = {call: (forwards.normal(*call, (4,)), forwards.uniform(*call)) for call in calls}
    for call in calls[::-1]:
        backwards.uniform(*call)
        assert torch.equal(backwards.normal(*call, (4,)), first[call][0])
        assert torch.equal(backwards.uniform(*call), first[call][1])


def test_a_larger_shape_continues_a_smaller_one() -> None:
    assert torch.equal(normal(ITEMS[0], n=1000)[:10], normal(ITEMS[0], n=10))


def test_items_purposes_and_steps_are_independent() -> None:
    keys = [(item, purpose, step) for item in ITEMS for purpose in Purpose for step in (0, 1, 2)]
    rows = np.stack([normal(*key).numpy() for key in keys])
    # Correlations of 1000 independent pairs have standard error 0.032; 3486 pairs, 3 times, stay below 5 of them (p = 0.006),
    # also where one stream is read a little later: no stream is another one shifted.
    for shift in (0, 1, 4):
        correlation = rows[:, shift:] @ rows[:, : 1000 - shift].T / (1000 - shift)
        assert np.abs(correlation[~np.eye(len(keys), dtype=bool)]).max() < 5 / math.sqrt(1000 - shift)


def test_items_that_differ_have_keys_that_differ() -> None:
    prompts = [None, "", "p", "1", "a", "a\x00", "a\x001", "\x00", "bear", "Bear"]
    items = items_of(prompts, [0, 1, 10, 11])
    assert len({item.key for item in items}) == len(items) == 40
    assert all(0 <= item.key < 2**128 for item in items)
    assert items_of(["b", "a"], [1, 0]) == [Item("b", 1), Item("b", 0), Item("a", 1), Item("a", 0)]


def test_seed_zero_is_a_seed() -> None:
    assert torch.equal(normal(Item(None, 0)), normal(Item(None, 0)))
    assert not torch.equal(normal(Item(None, 0)), normal(Item(None, 1)))


def test_draws_are_standard() -> None:
    draws = PhiloxDraws(tuple(items_of([None, "x"], range(10))))
    z = torch.cat([draws.normal(purpose, step, (50,)).flatten() for purpose in Purpose for step in range(3)])
    u = torch.cat([draws.uniform(purpose, step) for purpose in Purpose for step in range(150)])
    assert z.dtype == u.dtype == torch.float64
    assert ((u >= 0) & (u < 1)).all()
    # The draws are fixed; 21000 of each must not be rejected at p = 0.001 by Kolmogorov and Smirnov.
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-3
    assert stats.kstest(u.numpy(), "uniform").pvalue > 1e-3


def test_purposes_keep_their_numbers() -> None:
    names = ["INIT", "KAPPA", "ENTROPY", "TAU", "TIME", "CAMERA", "VAE"]
    assert [purpose.name for purpose in itertools.islice(Purpose, 7)] == names
    assert [int(purpose) for purpose in Purpose] == list(range(len(Purpose)))
