"""The hashes of weights, remembered from process to process by the files that they were read from."""

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..._cache import cache_folder

Stamps = list[tuple[str, int, int, int]]

SETTLED = 2.0
"""Seconds since files were last written, from which on their time tells whether they are written again."""

READERS = ("torch", "diffusers", "transformers", "safetensors", "accelerate", "peft")
"""Packages that turn files into weights."""


def stamps_of(files: Iterable[Path]) -> Stamps:
    """(real path, size, when its content was written, when its entry was changed) of files."""
    found = []
    for path in sorted({path.resolve() for path in files}):
        about = path.stat()
        found.append((str(path), about.st_size, about.st_mtime_ns, about.st_ctime_ns))
    return found


def files_of(folder: Path, parts: Iterable[str]) -> list[Path]:
    """What a pipeline's folder can be opened from: the files of its parts, and those beside them."""
    places = [folder, *(folder / name for name in parts)]
    return [path for place in places if place.is_dir() for path in place.iterdir() if path.is_file()]


def key_of(before: Stamps, after: Stamps, how: Sequence[Any]) -> str | None:
    """What names the weights; None if the files were changed meanwhile, or so lately that another change might go unseen."""
    lately = time.time_ns() - SETTLED * 1e9
    if before != after or any(written > lately for _, _, written, _ in before):
        return None
    versions = [installed(name) for name in READERS]
    return hashlib.sha256(json.dumps([before, versions, *how], default=str).encode()).hexdigest()


def installed(name: str) -> str | None:
    """A package's version; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def folder() -> Path:
    """Where they are kept."""
    return cache_folder("weights") / "hashes"


def remembered(key: str | None, compute: Callable[[], str]) -> str:
    """The hash that is kept under this key, or compute(), which is kept if it can be."""
    if key is None:
        return compute()
    path = folder() / key
    try:
        found = re.fullmatch(r"([0-9a-f]{64}) ([0-9a-f]{64})\n", path.read_text())
    except (OSError, UnicodeDecodeError):
        found = None
    if found and found[2] == checked(key, found[1]):
        return found[1]
    value = compute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w") as file:
            file.write(f"{value} {checked(key, value)}\n")
        Path(name).replace(path)
    except OSError:
        pass  # then it is computed in every process
    return value


def checked(key: str, value: str) -> str:
    """By which a damaged file is noticed."""
    return hashlib.sha256(f"{key} {value}".encode()).hexdigest()
