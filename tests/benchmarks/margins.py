"""How far the tests' comparisons are from failing: tolerance over deviation, of every comparison. Run it by hand.

    python tests/benchmarks/margins.py one.jsonl                    # records the whole suite; more words go to pytest
    ATEN_CPU_CAPABILITY=default python tests/benchmarks/margins.py other.jsonl
    python tests/benchmarks/margins.py --show one.jsonl other.jsonl

Seen are torch.testing.assert_close, numpy's and torch's allclose, pandas' assert_frame_equal, pytest.approx and every
`assert a < b` of numbers. With several records the table has only what differs between them by a hundredth or more: rounding,
which another processor may change; what is the same everywhere has no need of a margin.
"""

import argparse
import ast
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

TESTS = Path(__file__).parent.parent
LEAST = 5.0
worst: dict[tuple[str, str], tuple[float, float, float, str]] = {}


def note(deviation: Any, tolerance: Any, dtype: object) -> None:
    """Keep the least margin of this line in this test: (margin, deviation, tolerance, dtype)."""
    deviation, tolerance = np.broadcast_arrays(*(np.asarray(x, dtype=float).ravel() for x in (deviation, tolerance)))
    margins = np.divide(tolerance, deviation, out=np.full(deviation.shape, np.inf), where=deviation > 0)
    if not len(margins):
        return
    k, frame = int(np.argmin(margins)), sys._getframe(1)
    while frame.f_back and (TESTS not in Path(frame.f_code.co_filename).parents or frame.f_code.co_filename == __file__):
        frame = frame.f_back
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" ", 1)[0]
    key, now = (test, f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"), (margins[k], deviation[k], tolerance[k])
    worst[key] = min(worst.get(key, (np.inf, 0.0, 0.0, "")), (*map(float, now), str(dtype)))


def seen(of: Any, name: str, defaults: Callable[[Any], tuple[float, float]], first: int = 0) -> None:
    """of.name, a comparison of two arrays or lists of them with rtol and atol, is noted. first: which is the expected one."""
    compare = getattr(of, name)

    def noted(a: Any, b: Any, *args: Any, **more: Any) -> Any:
        given = dict(zip(("rtol", "atol"), args, strict=False)) | more
        for one, other in zip(*(x if isinstance(x, list) else [x] for x in (a, b)), strict=False):
            with contextlib.suppress(TypeError, ValueError):
                dtype = getattr(one, "dtype", "")
                ours, theirs = (np.asarray(x.detach().cpu() if torch.is_tensor(x) else x, dtype=float) for x in (one, other))
                rtol, atol = (given.get(key, value) for key, value in zip(("rtol", "atol"), defaults(dtype), strict=True))
                note(np.abs(ours - theirs), atol + rtol * np.abs(theirs + 0 * ours), dtype)
        return compare(a, b, *args, **more)

    setattr(of, name, noted)


def pytest_assertion_pass(orig: str, expl: str) -> None:
    """`assert a < b`, as pytest explains it."""
    with contextlib.suppress(Exception):
        for node in ast.walk(ast.parse(expl.splitlines()[0], mode="eval")):
            if isinstance(node, ast.Compare) and len(node.ops) == 1:
                names = {"tensor": torch.tensor, "torch": torch, "np": np}
                left, right = (eval(ast.unparse(side), dict(names)) for side in (node.left, node.comparators[0]))
                if isinstance(node.ops[0], ast.Gt | ast.GtE):
                    left, right = right, left
                elif not isinstance(node.ops[0], ast.Lt | ast.LtE):
                    continue
                if not (isinstance(left, int) and isinstance(right, int)) and 0 <= left <= right:
                    note(left, right, getattr(left, "dtype", "float"))


def pytest_configure() -> None:
    """Wrap what compares. torch's own tolerances: sqrt-like, by dtype."""
    by_dtype = {torch.float64: (1e-7, 1e-7), torch.float32: (1.3e-6, 1e-5)}
    seen(torch.testing, "assert_close", lambda dtype: by_dtype.get(dtype, (0.0, 0.0)))
    seen(np.testing, "assert_allclose", lambda _: (1e-7, 0.0))
    seen(np, "allclose", lambda _: (1e-5, 1e-8))
    seen(torch, "allclose", lambda _: (1e-5, 1e-8))
    seen(pd.testing, "assert_frame_equal", lambda _: (1e-5, 1e-8))
    number: Any = type(pytest.approx(1.0))
    equal = number.__eq__

    def noted(self: Any, actual: Any) -> bool:
        close = equal(self, actual)
        if close and isinstance(actual, float | np.floating) and np.isfinite(actual):
            note(abs(actual - self.expected), self.tolerance, getattr(actual, "dtype", "float"))
        return close

    number.__eq__ = noted


def pytest_sessionfinish() -> None:
    with open(os.environ["MARGINS"], "a") as file:
        file.writelines(json.dumps([*key, *value]) + "\n" for key, value in worst.items())


def table(records: list[Path]) -> pd.DataFrame:
    """Least margins first; with several records, of what differs between them."""
    columns = ["test", "line", "margin", "deviation", "tolerance", "dtype"]
    rows = pd.concat([pd.DataFrame(map(json.loads, path.open()), columns=columns).assign(record=path.stem) for path in records])
    group = rows.groupby(["test", "line"])["deviation"]
    spread = 1 - group.transform("min") / group.transform("max")
    rows = rows[spread > 0.01] if len(records) > 1 else rows
    return rows.sort_values("margin").drop_duplicates(["test", "line"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print the table of these records")
    parser.add_argument("--below", type=float, default=LEAST, help="margins below this")
    parser.add_argument("records", type=Path, nargs="+", help="one to write, or with --show those to read")
    given, words = parser.parse_known_args()
    if given.show:
        found = table(given.records)
        print(found[found["margin"] < given.below].to_string(index=False))
        print(f"{len(found)} comparisons; the least margin is {found['margin'].min():.3g}")
        return
    with tempfile.TemporaryDirectory() as cache:  # what pytest has compiled before does not call the hook
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = os.environ | {"MARGINS": str(given.records[0].resolve()), "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": cache}
        hook = ["-p", "margins", "-o", "enable_assertion_pass_hook=true", "-p", "no:cacheprovider"]
        sys.exit(subprocess.run([sys.executable, "-m", "pytest", *hook, *words], env=env).returncode)


if __name__ == "__main__":
    main()
