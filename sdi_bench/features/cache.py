"""Features kept on disk by the hash of the picture: one SQLite file for each network and preprocessing."""

import hashlib
import sqlite3
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import numpy as np
from jaxtyping import Float, Float32

from .._cache import cache_folder

BATCH = 500
"""Rows asked for at once."""

PATIENCE = 30.0
"""Seconds to wait for another process that writes."""

CHECKSUM = 4
"""Bytes before the float32 values of a row."""

T = TypeVar("T")


def default_folder() -> Path:
    """$SDI_BENCH_CACHE, or ~/.cache/sdi_bench/features."""
    return cache_folder("features")


def cached(
    name: str, images: Float[np.ndarray, "n *shape"], compute: Callable[[np.ndarray], np.ndarray], folder: Path | None = None
) -> Float32[np.ndarray, "n d"]:
    """compute(images) (float32, a row a picture), where only pictures not seen before are computed, each of them once.

    name: what the rows depend on beside the picture, as the preprocessing and the digest of the weights. A row is what compute
    gave when the picture first came, among other pictures: a network's last bits depend on those, by some 1e-6. A damaged
    file is set aside with a warning; where none can be kept (or another process writes for long), all is computed.
    """
    single = np.ascontiguousarray(images, dtype=np.float32)
    if not len(single):
        return np.asarray(compute(single), dtype=np.float32)
    keys = [key_of(picture) for picture in single]
    path = (default_folder() if folder is None else folder) / f"{quote(name, safe='')}.sqlite"
    known = on_disk(path, lambda store: read(store, list(dict.fromkeys(keys)))) or {}
    missing = sorted({key: i for i, key in reversed(list(enumerate(keys))) if key not in known}.values())
    if missing:
        rows = np.asarray(compute(single[missing]), dtype=np.float32)
        fresh = {keys[i]: row for i, row in zip(missing, rows, strict=True)}
        on_disk(path, lambda store: write(store, fresh))
        known |= fresh
    return np.stack([known[key] for key in keys])


def key_of(picture: Float32[np.ndarray, "*shape"]) -> bytes:
    """The hash of a picture's values and shape."""
    return hashlib.blake2b(repr(picture.shape).encode() + picture.tobytes(), digest_size=32).digest()


def on_disk(path: Path, action: Callable[[sqlite3.Connection], T]) -> T | None:
    """action(the file, opened); None where it cannot be opened or written. Damaged, it is set aside and made anew."""
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path, timeout=PATIENCE)) as store:
                store.execute("PRAGMA journal_mode = WAL")
                store.execute("PRAGMA synchronous = NORMAL")
                store.execute("CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, value BLOB)")
                return action(store)
        except (OSError, sqlite3.OperationalError):
            return None
        except sqlite3.DatabaseError as error:
            if not set_aside(path):
                return None
            warnings.warn(f"{path}: damaged ({error}); set aside and made anew", stacklevel=3)
    return None


def set_aside(path: Path) -> bool:
    """Rename a file to <name>.damaged, without what SQLite keeps beside it. False if that cannot be done."""
    try:
        for beside in ("-wal", "-shm"):
            Path(f"{path}{beside}").unlink(missing_ok=True)
        path.replace(f"{path}.damaged")
    except OSError:
        return False
    return True


def read(store: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
    """The rows that are there, but those whose checksum is wrong."""
    found: dict[bytes, np.ndarray] = {}
    for start in range(0, len(keys), BATCH):
        some = keys[start : start + BATCH]
        for key, value in store.execute(f"SELECT key, value FROM kept WHERE key IN ({','.join('?' * len(some))})", some):
            if value[:CHECKSUM] == checksum(key, value[CHECKSUM:]):
                found[key] = np.frombuffer(value, np.float32, offset=CHECKSUM)
    return found


def write(store: sqlite3.Connection, rows: Mapping[bytes, np.ndarray]) -> None:
    """Keep rows, all of them or none."""
    values = ((key, row.tobytes()) for key, row in rows.items())
    with store:
        store.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", ((k, checksum(k, v) + v) for k, v in values))


def checksum(key: bytes, value: bytes) -> bytes:
    """Four bytes: SQLite itself would not notice a flipped bit in a value."""
    return zlib.crc32(key + value).to_bytes(CHECKSUM, "little")
