"""Where this package keeps what it need not compute again."""

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """$SDI_BENCH_CACHE, or ~/.cache/sdi_bench/<kind>; for a user without a home one that cannot be made: nothing is kept."""
    try:
        return Path(os.environ.get("SDI_BENCH_CACHE") or Path.home() / ".cache" / "sdi_bench" / kind)
    except RuntimeError:
        return Path(os.devnull) / kind
