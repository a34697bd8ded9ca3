"""Peak memory and CPU time of Fréchet and kernel distance beside clean-fid's on the same features. Not a test: run it by hand.

    python tests/benchmarks/distances.py [--dimensions 2048 1280 128] [--n 2048] [--rounds 3]

Needs the extra `fid`, and Linux. Each figure is of a fresh process on one thread, which reads both sets of features (float32,
as a network gives them) from a file and is warm: it has done the same on a few points before. Peak memory is what the process
held at most less what it held just before. The processes take turns, a round each; the table has medians. "at once" is
clean-fid's kernel distance of one subset that is everything, which is the number that ours is; by default it is the mean over
100 random subsets of 1,000.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
ROWS = {"fd": ("ours", "clean-fid"), "kd": ("ours", "clean-fid", "at once")}
FEW, MANY = 24, 96
"""Points and dimensions that a process warms up with, and the other way round: all code is in memory then."""
ENOUGH = 1.0
"""Seconds: what takes less is done again until it adds up to as much."""


def features(n: int, d: int, seed: int) -> np.ndarray:
    """Not negative, correlated, of a spectrum that falls: as pooled features are."""
    mix = np.random.default_rng(0).standard_normal((d, d)) * np.linspace(1, 0.05, d) / d**0.5
    rng = np.random.default_rng(seed)
    return np.maximum(rng.standard_normal((n, d)) @ mix + 0.3 + 0.02 * seed, 0).astype(np.float32)


def distance(kind: str, whose: str) -> Callable[[np.ndarray, np.ndarray], float]:
    """Two sets of features -> a number."""
    import sdi_bench.features.inception as inception  # also in our processes, so that all start alike
    from sdi_bench.features import frechet, kernel

    theirs = inception.clean_fid()
    if whose == "ours":
        return {"fd": frechet.between, "kd": kernel.between}[kind]
    if kind == "fd":
        return theirs.fid_from_feats
    if whose == "at once":
        return lambda a, b: theirs.kernel_distance(a, b, num_subsets=1, max_subset_size=min(len(a), len(b)))
    return theirs.kernel_distance


def status(name: str) -> float:
    """A size that Linux keeps of this process, in MB."""
    (found,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(found.split()[1]) * 1024 / 1e6


def one(kind: str, whose: str, path: str) -> dict[str, float]:
    """What this process finds: the distance, seconds of CPU time, MB."""
    call = distance(kind, whose)
    both = np.load(path)
    np.random.seed(0)  # noqa: NPY002 (clean-fid draws its subsets from it)
    a, b = both
    for n, d in ((FEW, MANY), (MANY, FEW)):
        call(a[:n, :d], b[:n, :d])
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before, began = status("VmRSS"), time.process_time()
    found, turns = call(a, b), 1
    took, peak = time.process_time() - began, status("VmHWM")
    began = time.process_time() - took
    while took < ENOUGH:
        call(a, b)
        took, turns = time.process_time() - began, turns + 1
    return {"distance": found, "seconds": took / turns, "MB": peak - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2048, 1280, 128])
    parser.add_argument("--n", type=int, default=2048, help="pictures of each set")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(*given.one)))
        return
    alone = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    print(f"{given.n} + {given.n} pictures\n")
    print("           d              CPU s  of theirs      MB  of theirs    distance")
    with tempfile.TemporaryDirectory() as folder:
        for d in given.dimensions:
            path = f"{folder}/{d}.npy"
            np.save(path, np.stack([features(given.n, d, seed) for seed in (1, 2)]))
            for kind, all_of_them in ROWS.items():
                found: dict[str, list[dict[str, float]]] = {whose: [] for whose in all_of_them}
                for _ in range(given.rounds):
                    for whose, values in found.items():
                        command = [sys.executable, __file__, "--one", kind, whose, path]
                        values.append(json.loads(subprocess.run(command, env=alone, check=True, capture_output=True).stdout))
                medians = {
                    whose: {name: statistics.median(value[name] for value in values) for name in values[0]}
                    for whose, values in found.items()
                }
                ours = medians["ours"]
                for whose, of in medians.items():
                    cells = [f"{of[name]:8.3f} {ours[name] / of[name]:10.3f}" for name in ("seconds", "MB")]
                    print(f"{kind} {whose:9}{d:6}   {'  '.join(cells)}  {of['distance']:.10g}", flush=True)


if __name__ == "__main__":
    main()
