"""A sweep whose processes are killed at random moments ends as an undisturbed one does, bit for bit.

python tests/kills.py --launcher joblib --runs 200 --kills 20 --seed 0
python tests/kills.py --launcher ray --runs 200 --kills 5          # with the extra cluster

Whichever process of the command it hits, the command itself too: given again until it ends with 0, as a user would.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pandas as pd

from sdi_bench import ledger

ROOT = Path(__file__).resolve().parent.parent
MARK = "SDI_BENCH_TRIAL"
COSTS = ("seconds", "s/image", "peak_mb")


def words(runs: int, results: Path) -> list[str]:
    """A sweep of so many small runs."""
    levels = ",".join(str(n) for n in range(10, 10 + runs // 2))
    sweep = ["-m", "model=digits", "reference=null", "metric=[contrast]", "prompt=3", "seeds=0..31", "sampler=sds,ddim"]
    return [*sweep, f"grid.n_levels={levels}", f"results={results}"]


def living(mark: str) -> list[int]:
    """The processes that carry a mark in their environment, and those that they started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue  # gone since, or another user's
    return found


def command(argv: list[str], mark: str, log: Path) -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", MARK: mark}
    return subprocess.Popen([sys.executable, "-m", "sdi_bench.run", *argv], env=env, cwd=ROOT, stdout=log.open("a"), stderr=2)


def disturbed(argv: list[str], kills: int, rng: random.Random, log: Path, mean: float) -> tuple[int, int]:
    """Run a command until it ends well, killing on the way. Returns (kills, how often it was given)."""
    mark, hit, given = uuid.uuid4().hex, [], 0
    over = threading.Event()

    def kill() -> None:
        while len(hit) < kills and not over.is_set():
            time.sleep(rng.expovariate(1 / mean))
            there = living(mark)
            if there:
                pid = rng.choice(there)
                try:
                    os.kill(pid, signal.SIGKILL)
                    hit.append(pid)
                except ProcessLookupError:
                    continue

    killer = threading.Thread(target=kill)
    killer.start()
    while True:
        given += 1
        status = command(argv, mark, log).wait()
        print(f"given {given} times, {len(hit)} killed, exit status {status}", flush=True)
        if status == 0 or given > 4 * kills + 4:
            break
    over.set()
    killer.join()
    for pid in living(mark):  # what a launcher leaves of a dead command
        os.kill(pid, signal.SIGKILL)
    return len(hit), given


def images(folder: Path) -> dict[str, np.ndarray]:
    return {str(path.relative_to(folder)): np.load(path)["images"] for path in sorted(folder.glob("*/*/shards/*.npz"))}


def tables(folder: Path) -> list[pd.DataFrame]:
    frames = [pd.read_csv(path) for path in sorted(folder.glob("main/sweep-*.csv"))]
    return [frame[[name for name in frame if not any(cost in name for cost in COSTS)]] for frame in frames]


def main() -> None:
    """Exit status 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launcher", default="joblib")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--mean", type=float, default=6.0, help="seconds between two, in the mean")
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    place = Path(tempfile.mkdtemp())
    log, began = place / "log.txt", time.time()
    serial = command(words(said.runs, place / "serial"), "none", log).wait()
    print(f"undisturbed, in turn: {time.time() - began:.0f} s, exit status {serial}", flush=True)
    launcher = [f"hydra/launcher={said.launcher}", *(["hydra.launcher.n_jobs=2"] if said.launcher == "joblib" else [])]
    argv, began = [*words(said.runs, place / "killed"), *launcher], time.time()
    hit, given = disturbed(argv, said.kills, random.Random(said.seed), log, said.mean)
    ours, theirs = images(place / "serial"), images(place / "killed")
    same = sum(key in theirs and np.array_equal(ours[key], theirs[key]) for key in ours)
    equal = len(tables(place / "killed")) == 1 and all(
        a.equals(b) for a, b in zip(tables(place / "serial"), tables(place / "killed"), strict=True)
    )
    events = [json.loads(text) for path in (place / "killed/main" / ledger.FOLDER).glob("*.jsonl") for text in lines(path)]
    twice = len([one for one in events if one["event"] == "finished"]) - len(ours)
    parts = list((place / "killed").rglob("*.part"))
    print(
        f"{said.launcher}: {said.runs} runs, {hit} SIGKILLs, the command given {given} times, {time.time() - began:.0f} s\n"
        f"shards: {len(theirs)} for {len(ours)}, {same} equal bit for bit, {twice} made twice, {len(parts)} parts left\n"
        f"the table is the same: {equal}"
    )
    print(f"kept: {place}")
    sys.exit(not (serial == 0 and ours.keys() == theirs.keys() and same == len(ours) == said.runs and equal and not parts))


def lines(path: Path) -> list[str]:
    """Whole lines of a file whose writer may have died."""
    return [text for text in path.read_text().splitlines() if text.endswith("}")]


if __name__ == "__main__":
    main()
