"""What a number needs to be believed: the command, the source, the libraries, the machine. Written beside what it made."""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import __version__
from .store import RESULTS_VERSION, RunFolder

PACKAGE = Path(__file__).parent

COMPUTE = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "diffusers",
    "transformers",
    "tokenizers",
    "safetensors",
    "accelerate",
    "peft",
    "torchmetrics",
    "torchvision",
    "clean-fid",
    "pillow",
    "scikit-image",
    "trimesh",
    "hydra-core",
    "omegaconf",
)
"""Distributions that a number can depend on, by being there alone: transformers resizes with torchvision where it finds it."""

SWITCHES = ("ATEN_", "CUBLAS_", "CUDA_", "CUDNN_", "MKL_", "NVIDIA_TF32", "OMP_", "ONEDNN_", "OPENBLAS_", "SDI_BENCH_")
"""Beginnings of environment variables that change what is computed, or on what."""


def provenance(module: str, words: Sequence[str]) -> dict[str, Any]:
    """One record, of plain data. The command is a line for a shell, and gives the same again.

    module: as in `python -m module`. words: what followed it. process: what this process was started with, which is another
    line where the module was called from Python, a notebook or a test; the interpreter by its name, wherever it lies.
    """
    return {
        "command": shlex.join(["python", "-m", module, *words]),
        "process": shlex.join([os.path.basename(sys.orig_argv[0]), *sys.orig_argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": {"version": __version__, "sha256": source(), **commit(PACKAGE)},
        "versions": {"sdi-bench": __version__} | {name: found for name in COMPUTE if (found := installed(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device(),
        "threads": torch.get_num_threads(),
        "arithmetic": arithmetic(),
        "clock": "seconds of wall time; CUDA and MPS have finished where it starts and stops",
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(SWITCHES)},
        "results_version": RESULTS_VERSION,
    }


def keep(folder: Path, record: dict[str, Any]) -> None:
    """provenance.json of what is made bit by bit: this record, and under `earlier` those of the commands that began it."""
    place = RunFolder(folder)
    try:
        known = place.read_json("provenance.json")
    except ValueError as damaged:
        known = {"lost": str(damaged)}
    earlier = [] if known is None else [*known.pop("earlier", []), known]
    place.write_json("provenance.json", record | {"earlier": earlier})


def installed(name: str) -> str | None:
    """A distribution's version; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def source() -> str:
    """sha256 over the package's own modules, whatever they were installed from."""
    whole = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        whole.update(f"{path.relative_to(PACKAGE).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


@cache
def commit(package: Path) -> dict[str, Any]:
    """The git commit of the checkout that a package stands in, and whether package or conf differ from it; None in a wheel.

    A virtual environment inside somebody's checkout is none of it.
    """

    def git(*words: str) -> str | None:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        try:
            told = subprocess.run(["git", *words], cwd=package, env=plain, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return told.stdout.strip() if told.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None}
    parts = [str(place) for place in (package, package.parent / "conf") if place.exists()]
    return {"commit": git("rev-parse", "HEAD"), "changed": git("status", "--porcelain", "--", *parts) != ""}


def device() -> dict[str, Any]:
    """The processor, and the CUDA devices once any is in use."""
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        told = ""
    names = [line.split(":", 1)[1].strip() for line in told.splitlines() if line.startswith("model name")]
    found: dict[str, Any] = {"cpu": names[0] if names else platform.processor() or platform.machine()}
    if torch.cuda.is_initialized():
        found["cuda"] = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        found["cudnn"] = torch.backends.cudnn.version()
        found["driver"] = driver()
    return found


def driver() -> str | None:
    """NVIDIA's driver; None where it does not say."""
    if shutil.which("nvidia-smi") is None:
        return None
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    return told.stdout.split("\n")[0].strip() or None


def arithmetic() -> dict[str, Any]:
    """What decides the last bits of a sum."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": [line.strip(" -") for line in torch.__config__.show().splitlines()[1:] if "Build settings" not in line],
        "numpy": f"{blas['name']} {blas['version']}",
        "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
