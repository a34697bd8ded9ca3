"""How long a sweep takes in turn and under joblib on two cores, one after the other, in turns; the faster of some rounds.

    python tests/benchmarks/launchers.py                 the smallest tier of benchmark2d, cut to --items items a run
    python tests/benchmarks/launchers.py --tier floor --shards 4

Each worker has one thread; in turn the process has one thread too, so that the cores are what is compared, and then its own
choice of threads. Times are of whole commands, with start and the check of the sweep.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def spent(results: Path, *words: str, threads: str | None) -> float:
    """Seconds of a whole command on an empty folder."""
    shutil.rmtree(results, ignore_errors=True)
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}
    if threads is not None:
        env["OMP_NUM_THREADS"] = threads
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "sdi_bench.run", *words, f"results={results}"], env=env, cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", default="seeds")
    parser.add_argument("--items", type=int, default=None, help="items of a run; all if not said")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--shards", type=int, default=1, help="of a job at most, under joblib")
    said = parser.parse_args()
    words = ["experiment=benchmark2d", f"tier={said.tier}", *([f"n_items={said.items}"] if said.items else [])]
    ways: dict[str, tuple[list[str], str | None]] = {
        "in turn, one thread": ([], "1"),
        "in turn, its own threads": ([], None),
        "joblib, two workers": (
            ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweeper.shards={said.shards}"],
            "1",
        ),
    }
    best = dict.fromkeys(ways, float("inf"))
    with tempfile.TemporaryDirectory() as place:
        for _ in range(said.rounds):
            for name, (more, threads) in ways.items():
                best[name] = min(best[name], spent(Path(place) / "results", *words, *more, threads=threads))
                print(f"{name:28}{best[name]:8.1f} s", flush=True)
    joblib = best["joblib, two workers"]
    print(f"joblib takes {joblib / best['in turn, one thread']:.2f} of the time of one thread, "
          f"{joblib / best['in turn, its own threads']:.2f} of that of its own threads")  # fmt: skip


if __name__ == "__main__":
    main()
