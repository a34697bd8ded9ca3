"""Shapes in signatures are checked while the tests run; one thread per process, so that parallel tests do not crawl.

Features are kept in a folder of this session, never in the user's.
"""

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers share the folder of the process that started them
    FEATURES = tempfile.TemporaryDirectory(prefix="sdi_bench-")
    os.environ["SDI_BENCH_CACHE"] = FEATURES.name

import checker
from jaxtyping import install_import_hook

install_import_hook("sdi_bench", "checker.check")


def pytest_runtest_setup() -> None:
    """Types are checked in the first calls of every test."""
    checker.begin()
