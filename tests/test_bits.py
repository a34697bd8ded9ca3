"""Whatever the batch size, the threads and the parts: the same bits, or, where a BLAS orders the sums, within BOUND.

Launchers and interruptions are tried in tests/test_sweeps.py and tests/kills.py: there the bits are the same, for a worker has
one thread and a shard is cut from the list of items.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent

BOUND = {"builtin": 0.0, "digits": 1e-9, "trained": 1e-3}
"""Of a pixel, in [-1, 1]. builtin: a row is worked out on its own. digits: float64 products of matrices; ten times what half a
dozen guided steps made of one rounding in trials. trained: the same of a network in float32."""

SMALL = {
    "builtin": ["model.size=32", "prompt='a chair, front view'"],
    "digits": ["prompt=3"],
    "trained": ["prompt='a chair, front view'"],
}


def run(folder: Path, threads: int, *words: str) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    job = [
        "sampler=sdi",
        "grid.n_levels=3",
        "sampler.noise.n_steps=2",
        "guidance.scale=3",
        "reference=null",
        "metric=[]",
        "keep=exact",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "sdi_bench.run", *job, *words, f"results={folder}"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-500:]


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Pictures of every shard, and the path that is kept."""
    found = {path.name: np.load(path)["images"] for path in sorted(folder.glob("*/*/shards/*.npz"))}
    (path,) = folder.glob("*/*/trajectory.npz")
    kept = np.load(path)
    return found | {name: kept[name] for name in ("x0", "eps", "kappa")}


@pytest.mark.slow
@pytest.mark.parametrize("model", BOUND)
def test_batch_size_threads_and_parts_change_nothing_beyond_the_bound(model: str, tmp_path) -> None:
    words = [f"model={model}", *SMALL[model], "seeds=0..65"]
    run(tmp_path / "whole", 1, *words)
    run(tmp_path / "other", 2, *words, "batch_size=5")
    for part in ("1/2", "0/2"):
        run(tmp_path / "parts", 1, *words, "batch_size=33", f"part={part}")
    whole = arrays(tmp_path / "whole")
    assert len(whole) == 5
    for other in ("other", "parts"):
        found = arrays(tmp_path / other)
        assert found.keys() == whole.keys()
        for name, want in whole.items():
            gap = np.abs(found[name] - want)[np.isfinite(want)].max()
            assert gap <= BOUND[model], (other, name, gap)
