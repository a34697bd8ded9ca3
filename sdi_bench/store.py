"""The only reader and writer of results/, pictures apart.

results/<experiment>/<choices>-<hash>/{config.yaml, provenance.json, shards/<hash of items>.npz, trajectory.npz, metrics.json}
results/<experiment>/index.json: of an experiment of conf/experiment, which run is which row

A run is a set of shards of items. A shard is written whole or not at all: a killed run loses the shard in hand. It says which
items it holds and carries a digest of its content, so that one that was changed or stands in another's place is told.
"""

import hashlib
import io
import json
import os
import re
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, is_zipfile

import numpy as np
import yaml

from .draws import Item
from .sizes import Packed, Pictures

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

RESULTS_VERSION = 2
"""Raised whenever the numbers a configuration gives change: old results are then not mixed with new ones."""


def digest(value: object, length: int = 12) -> str:
    """A short hash of plain data."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


class NotWrittenError(ValueError):
    """A file could not be written: the disk is full, or may not be written to. What was there before is still there."""


class NotReadError(ValueError):
    """A file of a results folder is not there, or damaged."""


def node() -> str:
    """This machine, in eight letters."""
    return digest(socket.gethostname(), 8)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that no reader ever sees half of it, and a crash leaves the old one or none. Raises NotWrittenError."""
    part = path.with_name(f".{path.name}.{node()}-{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        why = error.strerror or str(error)
        raise NotWrittenError(f"{path}: cannot be written ({why}); what was finished before is still there") from error


PART = re.compile(r"\..+\.(?:([0-9a-f]{8})-)?(\d+)\.part")
"""How the half of a file is called that a process writes: the machine and the process are its last words."""


def alive(pid: int) -> bool:
    """Is there such a process on this machine?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def sweep_up(folder: Path) -> list[Path]:
    """Delete what processes of this machine had half written in a folder when they were killed; returns what was deleted."""
    gone = []
    for path in folder.glob(".*.part") if folder.is_dir() else ():
        named = PART.fullmatch(path.name)
        if named and named[1] in (None, node()) and not alive(int(named[2])):
            path.unlink(missing_ok=True)
            gone.append(path)
    return gone


def content(arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 of named arrays: names, types, shapes and bytes."""
    whole = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        whole.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        whole.update(array.data if array.size else b"")
    return whole.hexdigest()


DIGEST, RUN = "sha256", "run"
"""The names under which a file says what it held when it was written, and of which run it is."""


TRACE = "trace_"
"""How the arrays of a trace are called in a shard."""


DAMAGED = (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error, NotImplementedError)
"""What NumPy raises of an archive that is none, or was cut off or changed."""


def sealed(arrays: Mapping[str, np.ndarray], run: str) -> dict[str, np.ndarray]:
    """Named arrays, the run's name, and a digest of these."""
    whole = {**arrays, RUN: np.array(run)}
    return whole | {DIGEST: np.array(content(whole))}


def unsealed(path: Path, run: str, *names: str) -> tuple[dict[str, np.ndarray], str]:
    """(arrays of a file, the digest of all of them). With names only these, and the digest goes unchecked.

    Raises ValueError, naming the file, for one that is damaged, was changed since it was written, or is another run's. Files of
    earlier versions say neither.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            told = {name: str(archive[name]) for name in (DIGEST, RUN) if name in archive.files}
            arrays = {name: archive[name] for name in names or archive.files if name != DIGEST}
    except DAMAGED as error:
        raise ValueError(f"{path}: damaged ({error}); delete it and run again") from error
    if told.get(RUN, run) != run:
        raise ValueError(f"{path}: is of another run, {told[RUN]}; delete it and run again")
    found = "" if names else content(arrays)
    if not names and told.get(DIGEST, found) != found:
        raise ValueError(f"{path}: was changed since it was written; delete it and run again")
    arrays.pop(RUN, None)
    return arrays, found


class Shard(NamedTuple):
    """Finished items: images [n, *shape] (of fields [n, views, *shape]), packed or as they are, and what they cost together.

    params: [n, *psi], what the images show, where that is not the image itself; read by `read_params`. latents: [n, *latent],
    what they were decoded from; read by `read_latents`. trace: see `sdi_bench.trace`; read by `read_trace`. sha256: of all that
    a shard that was read holds.
    """

    items: tuple[Item, ...]
    images: Pictures
    rows: Mapping[str, int]
    seconds: float
    peak_mb: float
    params: np.ndarray | None = None
    latents: np.ndarray | None = None
    trace: Mapping[str, np.ndarray] | None = None
    sha256: str = ""


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    def shard_path(self, items: Sequence[Item]) -> Path:
        """Where these items' shard is or will be."""
        return self.path / "shards" / f"{digest([[item.prompt, item.seed] for item in items], 16)}.npz"

    def has(self, items: Sequence[Item]) -> bool:
        """True if these items are finished: a file that is empty or cut off is none."""
        return is_zipfile(self.shard_path(items))

    def _read(self, items: Sequence[Item], *names: str) -> tuple[dict[str, np.ndarray], str]:
        """What a shard holds but its digest, and that. With names only these of its arrays, and the digest goes unchecked.

        Raises ValueError, naming the file, for one that is damaged, was changed since it was written, or holds other items.
        """
        path = self.shard_path(items)
        arrays, found = unsealed(path, self.path.name, *names, *(["items"] if names else []))
        try:
            listed = json.loads(str(arrays["items"]))
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}: damaged ({error}); delete it and run again") from error
        if listed != [[item.prompt, item.seed] for item in items]:
            raise ValueError(f"{path}: holds other items than its name says; delete it and run again")
        return arrays, found

    def _keep(self, items: Sequence[Item], arrays: Mapping[str, np.ndarray], cost: Mapping[str, Any], save: Callable) -> None:
        """Write a shard: named arrays, the first axis the items, and what they cost. Raises NotWrittenError."""
        listed = [[item.prompt, item.seed] for item in items]
        whole = {**arrays, "items": np.array(json.dumps(listed)), "cost": np.array(json.dumps(cost))}
        buffer = io.BytesIO()
        save(buffer, **sealed(whole, self.path.name))
        write_whole(self.shard_path(items), buffer.getvalue())

    def chunks(self) -> list[tuple[Item, ...]]:
        """The items of every finished shard, by seed and prompt; a shard that a larger one repeats is left out."""
        found: list[tuple[Item, ...]] = []
        for path in sorted((self.path / "shards").glob("[!.]*.npz")):
            try:
                with np.load(path, allow_pickle=False) as archive:
                    found.append(tuple(Item(prompt, seed) for prompt, seed in json.loads(str(archive["items"]))))
            except (*DAMAGED, TypeError) as error:
                raise ValueError(f"{path}: damaged ({error}); delete it and run again") from error
        met: set[Item] = set()
        kept = []
        for chunk in sorted(found, key=len, reverse=True):
            if met.isdisjoint(chunk):
                kept.append(chunk)
                met |= set(chunk)
        if not kept:
            raise ValueError(f"{self.path}: holds no finished shard")
        return sorted(kept, key=lambda chunk: [(item.seed, item.prompt or "") for item in chunk])

    def write_shard(self, shard: Shard) -> None:
        """Keep finished items. Raises NotWrittenError."""
        cost = {"rows": dict(shard.rows), "seconds": shard.seconds, "peak_mb": shard.peak_mb}
        arrays: dict[str, Any] = {"images": shard.images, "params": shard.params, "latents": shard.latents}
        arrays |= {f"{TRACE}{name}": array for name, array in (shard.trace or {}).items()}
        save: Callable = np.savez
        if isinstance(shard.images, Packed):
            arrays |= {"images": shard.images.values, "lost": shard.images.lost, "beyond": shard.images.beyond}
            save = np.savez_compressed
        self._keep(shard.items, {name: array for name, array in arrays.items() if array is not None}, cost, save)

    def read_shard(self, items: Sequence[Item]) -> Shard:
        """Finished items. Raises ValueError, naming the file, for one that is damaged, was changed, or holds other items."""
        arrays, found = self._read(items)
        try:
            cost = json.loads(str(arrays["cost"]))
            kept = arrays["images"]
            images: Pictures = Packed(kept, arrays["lost"], arrays["beyond"]) if "lost" in arrays else kept
            return Shard(tuple(items), images, cost["rows"], cost["seconds"], cost["peak_mb"], sha256=found)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.shard_path(items)}: damaged ({error}); delete it and run again") from error

    def read_params(self, items: Sequence[Item]) -> np.ndarray:
        """What finished items are made of. Raises ValueError, naming the file, if it was not kept."""
        return self._read(items, "params")[0]["params"]

    def read_latents(self, items: Sequence[Item]) -> np.ndarray:
        """[n, *latent], what finished pictures were decoded from (keep=latents). Raises ValueError as read_params does."""
        return self._read(items, "latents")[0]["latents"]

    def read_trace(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        """What finished items keep of their way (`sdi_bench.trace`); nothing in a shard of an earlier version.

        Raises ValueError, naming the file, for one that is damaged.
        """
        path = self.shard_path(items)
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name.removeprefix(TRACE): archive[name] for name in archive.files if name.startswith(TRACE)}
        except DAMAGED as error:
            raise ValueError(f"{path}: damaged ({error}); delete it and run again") from error

    def checkpoint_path(self, items: Sequence[Item]) -> Path:
        """Where unfinished items are kept."""
        shard = self.shard_path(items)
        return shard.with_name(f".{shard.stem}.unfinished.npz")

    def write_checkpoint(self, items: Sequence[Item], arrays: Mapping[str, np.ndarray]) -> None:
        """Keep where a batch stands."""
        buffer = io.BytesIO()
        np.savez(buffer, **sealed(arrays, self.path.name))  # type: ignore[arg-type]
        write_whole(self.checkpoint_path(items), buffer.getvalue())

    def read_checkpoint(self, items: Sequence[Item]) -> dict[str, np.ndarray] | None:
        """Where a batch stood; None if it was never kept, or is damaged or another run's: it is then begun again."""
        try:
            return unsealed(self.checkpoint_path(items), self.path.name)[0]
        except ValueError:
            return None

    def drop_checkpoint(self, items: Sequence[Item]) -> None:
        """Forget where a batch stood."""
        self.checkpoint_path(items).unlink(missing_ok=True)

    def write_probed(self, items: Sequence[Item], arrays: Mapping[str, np.ndarray], cost: Mapping[str, Any]) -> None:
        """Keep what a probe measured of some items: named arrays, the first axis the items. Raises NotWrittenError."""
        self._keep(items, arrays, cost, np.savez_compressed)

    def read_probed(self) -> tuple[list[Item], dict[str, np.ndarray]]:
        """(items, named arrays) of all that a probe measured. Raises ValueError, naming the file, as read_shard does."""
        items: list[Item] = []
        parts: list[dict[str, np.ndarray]] = []
        for chunk in self.chunks():
            arrays, _ = self._read(chunk)
            parts.append({name: array for name, array in arrays.items() if name not in ("items", "cost")})
            items.extend(chunk)
        return items, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def write_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Keep named arrays (trajectory.npz: what the states of the first items looked like on the way).

        As they are: noise does not pack, and to try costs more than to sample it.
        """
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_whole(self.path / name, buffer.getvalue())

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Named arrays. Raises ValueError, naming the file, if it is not there, damaged, was changed, or is another run's."""
        return unsealed(self.path / name, self.path.name)[0]

    def write_text(self, name: str, text: str) -> None:
        """Keep a small text file."""
        write_whole(self.path / name, text.encode())

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep a small table."""
        self.write_text(name, json.dumps(value, indent=1) + "\n")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A small table, or None if there is none. Raises ValueError, naming the file, if it is damaged."""
        path = self.path / name
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: damaged ({error}); delete it and run again") from error
        if not isinstance(found, dict):
            raise ValueError(f"{path}: damaged (no table); delete it and run again")
        return found

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Keep what was chosen. Raises NotWrittenError."""
        whole = {**config, RUN: self.path.name}
        self.write_text("config.yaml", yaml.safe_dump(whole | {DIGEST: digest(whole, 64)}, sort_keys=False))

    def read_config(self) -> dict[str, Any]:
        """What was chosen. Raises NotReadError, naming the file, if it is gone, damaged, was changed, or is another run's."""
        path = self.path / "config.yaml"
        try:
            found = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise NotReadError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
        if not isinstance(found, dict):
            raise NotReadError(f"{path}: damaged (no settings)")
        told = found.pop(DIGEST, None)
        if told is not None and told != digest(found, 64):
            raise NotReadError(f"{path}: was changed since it was written; the run's command writes it again")
        if found.pop(RUN, self.path.name) != self.path.name:
            raise NotReadError(f"{path}: is of another run; the run's command writes it again")
        return found


@dataclass(frozen=True)
class Listed:
    """A run of an experiment: where it stands in the experiment's file, and its folder."""

    tier: str
    row: str
    label: str
    gamma: float
    folder: RunFolder

    def config(self) -> dict[str, Any]:
        """What was chosen. Raises ValueError, naming the file."""
        return self.folder.read_config()


INDEX = "index.json"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """While this lasts no other process is in here with the same file; the system lets go of it when a process dies.

    On systems without fcntl there is no lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_index(experiment: Path, entries: Sequence[Listed]) -> None:
    """Remember which runs make up an experiment; the others stay as they are. Several processes may do so at once."""
    place = RunFolder(experiment)
    told = {(entry.tier, entry.row, entry.label, entry.gamma) for entry in entries}
    rows = [{"tier": e.tier, "row": e.row, "label": e.label, "gamma": e.gamma, "folder": e.folder.path.name} for e in entries]
    with locked(experiment / ".index.lock"):
        known = (place.read_json(INDEX) or {"runs": []})["runs"]
        others = [row for row in known if (row["tier"], row["row"], row["label"], row["gamma"]) not in told]
        place.write_json(INDEX, {"runs": [*others, *rows]})


def read_index(experiment: Path) -> list[Listed]:
    """The runs of an experiment that have been asked for, finished or not. Raises ValueError if there is no index."""
    found = RunFolder(experiment).read_json(INDEX)
    if found is None:
        raise ValueError(f"{experiment}: has no {INDEX}; run the experiment first")
    try:
        return [Listed(**row | {"folder": RunFolder(experiment / Path(row["folder"]).name)}) for row in found["runs"]]
    except (KeyError, TypeError) as error:
        where = experiment / INDEX
        raise ValueError(f"{where}: damaged ({error}); delete it and give the experiment's command again") from error


def writable(folder: Path, field: str) -> None:
    """Raise ValueError, naming the field, unless files can be made in this folder (it is created)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / ".writable", b"")
        (folder / ".writable").unlink()
    except (OSError, NotWrittenError) as error:
        why = error.__cause__ if isinstance(error, NotWrittenError) else error
        raise ValueError(f"{field}={str(folder)!r}: cannot write there ({getattr(why, 'strerror', why)})") from error
