"""What a statistic that is biased as 1/n would be of infinitely many samples."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from .intervals import Estimate, Statistic, jackknife


def extrapolated(
    statistic: Statistic, groups: Int[np.ndarray, " n"], parts: Sequence[int] = (1, 2, 3, 4), seed: int = 0
) -> Estimate:
    """Intercept of the least-squares line of the statistic against 1/n, with its 95 % interval (after arXiv 1911.07023).

    For every k of parts the groups are dealt at random to k subsets that share none; the statistic's mean over them stands at
    the mean of 1/n. The subsets are kept while groups are left out, so the jackknife sees the error of the whole procedure.
    groups: a group number per sample, as from clusters_of. The least subset must still have n on the line: for a Fréchet
    distance more samples than dimensions. Costs (groups + 1)·sum(parts) evaluations. Raises ValueError for parts that make no
    line or that leave fewer than two groups in a subset.
    """
    names, rank = np.unique(groups, return_inverse=True)
    if len(set(parts)) < 2 or min(parts) < 1 or max(parts) > len(names) // 2:
        raise ValueError(
            f"parts: {list(parts)} must be two or more different numbers from 1 to {len(names) // 2} (half of the groups)"
        )
    rng = np.random.default_rng(seed)
    dealt = {k: rng.permutation(np.arange(len(names)) % k)[rank] for k in parts}

    def intercept(index: Int[np.ndarray, " m"]) -> float:
        x, y = [], []
        for k, part in dealt.items():
            subsets = [index[part[index] == i] for i in range(k)]
            x.append(np.mean([1 / len(subset) for subset in subsets]))
            y.append(np.mean([statistic(subset) for subset in subsets]))
        return float(np.polyfit(x, y, 1)[1])

    return jackknife(intercept, groups)
