"""python -m sdi_bench.report results/<experiment>: one page of all that a folder holds, in one file that opens from disk.

Runs (config.yaml, provenance.json, shards/, trajectory.npz), tables (sweep-*.csv; measures.csv, differences.csv, claims.csv),
the figures and texts beside them, the figures in plots/: whatever is there, and a line on what is not.
"""

import argparse
import sys
from pathlib import Path

from ..store import write_whole
from .page import draw, prepare


def main() -> None:
    """Read a folder, write a page. Exit status 2 if there is nothing to show."""
    parser = argparse.ArgumentParser(
        prog="python -m sdi_bench.report", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="results/<experiment>")
    parser.add_argument("--output", type=Path, help="the page to write; report.html in the folder if not said")
    args = parser.parse_args()
    output = args.output or args.folder / "report.html"
    try:
        html = draw(prepare(args.folder)).encode(errors="replace")  # a folder's name may be no text
        write_whole(output, html)
    except (ValueError, OSError) as error:
        print(f"sdi_bench.report: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"written: {output} ({len(html) / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
