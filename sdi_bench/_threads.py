"""Imported before torch: idle OpenMP threads sleep instead of spinning, or a shared machine slows down tenfold."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
