"""Time of a Fréchet distance at FID's 2,048 dimensions: by scipy's matrix square root, and ours. Not a test: run it by hand.

    python tests/benchmarks/frechet.py [--dimensions 2048] [--numbers 1000 2300 5000]

From two arrays of n points each, covariances included; and what a further subset costs a jackknife that leaves 1 in 40 out.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy.linalg import sqrtm

from sdi_bench.features import frechet


def textbook(a: np.ndarray, b: np.ndarray) -> float:
    """As in pytorch-fid: the real part of the root; a little is added to the diagonals where it is not finite."""
    c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(c @ d)
    if not np.isfinite(root).all():
        little = 1e-6 * np.eye(len(c))
        root = sqrtm((c + little) @ (d + little))
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(c) + np.trace(d) - 2 * np.trace(root.real))


def timed(run: Callable[..., float], *given: np.ndarray) -> tuple[float, float]:
    """What it gives, and seconds."""
    start = time.perf_counter()
    found = run(*given)
    return found, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--numbers", type=int, nargs="+", default=[1000, 2300, 5000])
    given = parser.parse_args()
    rng, d = np.random.default_rng(0), given.dimensions
    mix = rng.standard_normal((d, d)) * np.linspace(1, 0.05, d) / d**0.5  # a spectrum that falls, as features have
    print("     n   scipy s    ours s   ratio   subset s   relative difference")
    for n in given.numbers:
        a, b = rng.standard_normal((n, d)) @ mix, rng.standard_normal((n, d)) @ mix + 0.01
        ours, quick = timed(frechet.between, a, b)
        theirs, slow = timed(textbook, a, b)
        _, more = timed(frechet.statistic(a, b), np.arange(n - n // 40))
        print(f"{n:6d} {slow:9.2f} {quick:9.2f} {slow / quick:7.1f} {more:10.2f} {abs(ours / theirs - 1):21.1e}", flush=True)


if __name__ == "__main__":
    main()
