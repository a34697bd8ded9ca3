"""Where this package keeps what it need not compute again."""

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """$SDI_BENCH_CACHE, or ~/.cache/sdi_bench/<kind>."""
    return Path(os.environ.get("SDI_BENCH_CACHE") or Path.home() / ".cache" / "sdi_bench" / kind)
