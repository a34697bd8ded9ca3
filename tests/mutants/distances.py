"""Bugs planted in the distances between features: one line of the library changed; the test that must turn red."""

from mutants import Planted

FRECHET, KERNEL, TESTS = "features/frechet.py", "features/kernel.py", "test_distances.py::"
CLOSED = TESTS + "test_rank_deficient_covariances_that_commute_have_a_closed_form"

PLANTED = [
    Planted(
        CLOSED,
        FRECHET,
        "        scatter += part.T @ part",
        "        scatter += (part - part.mean(axis=0)).T @ (part - part.mean(axis=0))",
        "each part about its own mean: right as long as there is one part",
    ),
    Planted(
        CLOSED,
        FRECHET,
        "    points -= points.mean(axis=0)",
        "    points -= 0 * points.mean(axis=0)",
        "the gap between the means counts as spread: right for equal means",
    ),
    Planted(
        CLOSED,
        FRECHET,
        "(squares - k * gap) / (k - 1)",
        "(squares - k * gap) / k",
        "the trace of the biased covariance, beside a root of the unbiased one: 1 / n off",
    ),
    Planted(
        TESTS + "test_a_subset_s_frechet_distance_is_as_if_there_were_nothing_else",
        FRECHET,
        "len(left) + len(index) != n or len(left)",
        "len(left)",
        "a point shown twice counts once where few are left out",
    ),
    Planted(
        TESTS + "test_a_subset_s_kernel_distance_is_as_if_there_were_nothing_else",
        KERNEL,
        "pairs.sum() - 2 * (left @ pairs) + of_pairs(left)",
        "pairs.sum() - 2 * (left @ pairs)",
        "pairs of two points left out are taken off twice: right where one is left out",
    ),
    Planted(
        TESTS + "test_the_kernel_distance_is_the_mean_over_pairs",
        KERNEL,
        "if b is None and i == j:",
        "if b is None and i == j == 0:",
        "points beyond the first part meet themselves: right as long as there is one part",
    ),
    Planted(
        TESTS + "test_the_features_and_the_pairs_are_not_copied",
        KERNEL,
        "AT_ONCE = 256",
        "AT_ONCE = 10**6",
        "the matrix of all pairs is made: the same number",
    ),
]
