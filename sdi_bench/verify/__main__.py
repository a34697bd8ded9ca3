"""python -m sdi_bench.verify: prove the identities on this machine; exit status 1 if one fails.

  python -m sdi_bench.verify                     all, some settings of each
  python -m sdi_bench.verify --only V8 --full    one, the whole product of its settings
  python -m sdi_bench.verify --json              for programs

A row is an identity, how far it was from holding at most, and the tolerance that it must keep.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import asdict

from . import CHECKS, rows


def number(value: float) -> str:
    """Three significant figures; NaN stays NaN."""
    return "NaN" if math.isnan(value) else f"{value:.3g}"


def main(argv: list[str] | None = None) -> int:
    """Print one row per identity; 0 if all hold, else 1."""
    parser = argparse.ArgumentParser(prog="python -m sdi_bench.verify")
    parser.add_argument("--only", choices=list(CHECKS), help="one identity")
    parser.add_argument("--full", action="store_true", help="the whole product of settings (minutes)")
    parser.add_argument("--json", action="store_true", help="machine-readable rows")
    if {"-h", "--help"} & set(sys.argv[1:] if argv is None else argv):
        print(__doc__)
    options = parser.parse_args(argv)
    began, found = time.perf_counter(), []
    if not options.json:
        print(f"{'id':5s} {'verdict':8s} {'deviation':>10s} {'tolerance':>10s} {'cases':>6s}  statement (equation)")
    for row in rows(options.only, options.full):
        found.append(row)
        if not options.json:
            verdict = "holds" if row.holds else "FAILS"
            print(
                f"{row.id:5s} {verdict:8s} {number(row.deviation):>10s} {number(row.tolerance):>10s} {row.cases:6d}  "
                f"{row.statement} ({row.equation})" + ("" if row.holds else f"  worst: {row.worst}"),
                flush=True,
            )
    ok = bool(found) and all(row.holds for row in found)
    if options.json:
        listed = [
            asdict(row) | {"holds": row.holds, "deviation": row.deviation if math.isfinite(row.deviation) else None}
            for row in found
        ]
        print(json.dumps(listed, indent=1))
    else:
        failed = sum(not row.holds for row in found)
        print(f"{len(found)} rows, {failed} failed, {time.perf_counter() - began:.0f} s")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
