"""What a call costs the CPU outside its network, beside another checkout of this repository, both in one run.

    git worktree add ../earlier COMMIT && python tests/benchmarks/beside.py ../earlier
    python tests/benchmarks/beside.py ../earlier --made sd3 --samplers ddim --batch 4

A process a checkout, on one thread; both open the same tiny pipeline with random weights, and take turns, a round each. The
time is the CPU's, not the clock's, and what the network takes is left out; so is what a batch costs once (its text, its grid):
a run of n levels is taken from one of 3n. The median of the rounds is what to quote.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()


def serve(folder: str, batch: int) -> None:
    """Of each "sampler levels" on stdin: [seconds of a run, those of its network's calls, how many]."""
    import torch
    from checkpoint import SAMPLERS

    from sdi_bench.draws import items_of
    from sdi_bench.models import DiffusersFolder
    from sdi_bench.predictor import Cost
    from sdi_bench.sampling import Job

    torch.set_num_threads(1)
    model, items = DiffusersFolder.of(folder), items_of(["a cat"], range(batch))
    inside: list[float] = []
    real = model.network.forward

    def timed(*args: Any, **more: Any) -> Any:
        began = time.process_time()
        out = real(*args, **more)
        inside.append(time.process_time() - began)
        return out

    model.network.forward = timed
    for line in sys.stdin:
        name, levels = line.split()
        inside.clear()
        began = time.process_time()
        for _ in Job(model, SAMPLERS[name](int(levels)), model.schedule).states(items, Cost()):
            pass
        print(json.dumps([time.process_time() - began, sum(inside), len(inside)]), flush=True)


@contextmanager
def served(checkout: Path, folder: Path, batch: int) -> Iterator[subprocess.Popen[str]]:
    """The process of a checkout."""
    command = [sys.executable, str(HERE), str(checkout), "--serve", str(folder), "--batch", str(batch)]
    alone = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | alone, cwd=checkout
    ) as one:
        yield one


def outside(one: subprocess.Popen[str], sampler: str, n: int) -> float:
    """Seconds of a call without its network's."""
    assert one.stdin is not None and one.stdout is not None
    found = []
    for levels in (n, 3 * n):
        print(sampler, levels, file=one.stdin, flush=True)
        whole, network, calls = json.loads(one.stdout.readline())
        found.append((whole - network, calls))
    (short, few), (long, many) = found
    return (long - short) / (many - few)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("earlier", type=Path, help="the other checkout")
    parser.add_argument("--made", default="sdxl", choices=["sd", "sdxl", "sd3"], help="a tiny pipeline")
    parser.add_argument("--samplers", nargs="+", default=["sdi"], choices=["ddim", "sds", "sdi"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--levels", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.serve is not None:
        return serve(said.serve, said.batch)
    sys.path.insert(0, str(HERE.parents[1]))
    import tiny_pipelines

    import sdi_bench  # noqa: F401  (before transformers: it mends an old torchvision)

    with tempfile.TemporaryDirectory() as place:
        tiny_pipelines.MAKERS[said.made]().save_pretrained(place)
        with (
            served(said.earlier, Path(place), said.batch) as earlier,
            served(HERE.parents[2], Path(place), said.batch) as now,
        ):
            for name in said.samplers:
                for one in (earlier, now):
                    outside(one, name, said.levels)  # kernels, files
                rounds = [[outside(one, name, said.levels) for one in (earlier, now)] for _ in range(said.rounds)]
                before, after = (statistics.median(column) for column in zip(*rounds, strict=True))
                print(f"{name:5} earlier {1e3 * before:.3f} ms a call, now {1e3 * after:.3f}; {after / before:.3f} of it, "
                      f"round by round {min(b / a for a, b in rounds):.3f} to {max(b / a for a, b in rounds):.3f}")  # fmt: skip
            for one in (earlier, now):
                one.stdin.close()


if __name__ == "__main__":
    main()
