"""What is left out together: a cluster (a concept with its views and seeds) is seen or not seen as a whole."""

import numpy as np
from jaxtyping import Int, Shaped


def clusters_of(labels: Shaped[np.ndarray, " n"], at_most: int = 40) -> Int[np.ndarray, " n"]:
    """Jackknife groups of whole clusters: each its own while they are few, else dealt to at_most groups of even size.

    Items of one label are one cluster. The largest cluster goes to the smallest group, and so on; equal ones in the order of
    their labels, so that neither draws nor the order of items decide. Raises ValueError for at_most < 2.
    """
    if at_most < 2:
        raise ValueError(f"at_most: {at_most} groups leave none to compare with; at least 2")
    distinct, rank, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(distinct) <= at_most:
        return rank
    group, load = np.empty(len(distinct), dtype=np.int64), np.zeros(at_most, dtype=np.int64)
    for cluster in np.argsort(-sizes, kind="stable"):
        group[cluster] = load.argmin()
        load[group[cluster]] += sizes[cluster]
    return group[rank]
