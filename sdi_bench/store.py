"""The only reader and writer of results/, pictures apart.

results/<experiment>/<choices>-<hash>/{config.yaml, provenance.json, shards/<hash of items>.npz, trajectory.npz, metrics.json}
results/<experiment>/index.json: of an experiment of conf/experiments, which run is which row

A run is a set of shards of items. A shard is written whole or not at all: a killed run loses the shard in hand.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import yaml
from jaxtyping import Float

from .draws import Item

RESULTS_VERSION = 2
"""Raised whenever the numbers a configuration gives change: old results are then not mixed with new ones."""


def digest(value: object, length: int = 12) -> str:
    """A short hash of plain data."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that no reader ever sees half of it, and a crash leaves the old one or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


class Shard(NamedTuple):
    """Finished items: images [n, *shape] (of fields [n, views, *shape]) and what they cost together.

    params: [n, *psi], what the images show, where that is not the image itself; read by `read_params`.
    """

    items: tuple[Item, ...]
    images: Float[np.ndarray, "n *shape"]
    rows: Mapping[str, int]
    seconds: float
    peak_mb: float
    params: np.ndarray | None = None


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    def shard_path(self, items: Sequence[Item]) -> Path:
        """Where these items' shard is or will be."""
        return self.path / "shards" / f"{digest([[item.prompt, item.seed] for item in items], 16)}.npz"

    def has(self, items: Sequence[Item]) -> bool:
        """True if these items are finished."""
        return self.shard_path(items).exists()

    def chunks(self) -> list[tuple[Item, ...]]:
        """The items of every finished shard, by seed and prompt; a shard that a larger one repeats is left out."""
        found: list[tuple[Item, ...]] = []
        for path in sorted((self.path / "shards").glob("[!.]*.npz")):
            try:
                with np.load(path, allow_pickle=False) as archive:
                    found.append(tuple(Item(prompt, seed) for prompt, seed in json.loads(str(archive["items"]))))
            except (OSError, ValueError, KeyError, BadZipFile) as error:
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
        """Keep finished items."""
        cost = {"rows": dict(shard.rows), "seconds": shard.seconds, "peak_mb": shard.peak_mb}
        listed = [[item.prompt, item.seed] for item in shard.items]
        buffer = io.BytesIO()
        arrays = {"images": shard.images, "items": np.array(json.dumps(listed)), "cost": np.array(json.dumps(cost))}
        if shard.params is not None:
            arrays["params"] = shard.params
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_whole(self.shard_path(shard.items), buffer.getvalue())

    def read_shard(self, items: Sequence[Item]) -> Shard:
        """Finished items. Raises ValueError, naming the file, if it is damaged."""
        path = self.shard_path(items)
        try:
            with np.load(path, allow_pickle=False) as archive:
                cost = json.loads(str(archive["cost"]))
                return Shard(tuple(items), archive["images"], cost["rows"], cost["seconds"], cost["peak_mb"])
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise ValueError(f"{path}: damaged ({error}); delete it and run again") from error

    def read_params(self, items: Sequence[Item]) -> np.ndarray:
        """What finished items are made of. Raises ValueError, naming the file, if it was not kept."""
        path = self.shard_path(items)
        try:
            with np.load(path, allow_pickle=False) as archive:
                return np.asarray(archive["params"])
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise ValueError(f"{path}: holds no parameters of a scene ({error})") from error

    def checkpoint_path(self, items: Sequence[Item]) -> Path:
        """Where unfinished items are kept."""
        shard = self.shard_path(items)
        return shard.with_name(f".{shard.stem}.unfinished.npz")

    def write_checkpoint(self, items: Sequence[Item], arrays: Mapping[str, np.ndarray]) -> None:
        """Keep where a batch stands."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_whole(self.checkpoint_path(items), buffer.getvalue())

    def read_checkpoint(self, items: Sequence[Item]) -> dict[str, np.ndarray] | None:
        """Where a batch stood; None if it was never kept, or is damaged: it is then begun again."""
        try:
            with np.load(self.checkpoint_path(items), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, KeyError, BadZipFile):
            return None

    def drop_checkpoint(self, items: Sequence[Item]) -> None:
        """Forget where a batch stood."""
        self.checkpoint_path(items).unlink(missing_ok=True)

    def write_probed(self, items: Sequence[Item], arrays: Mapping[str, np.ndarray], cost: Mapping[str, Any]) -> None:
        """Keep what a probe measured of some items: a shard of named arrays, the first axis the items."""
        listed = [[item.prompt, item.seed] for item in items]
        buffer = io.BytesIO()
        extra = {"items": np.array(json.dumps(listed)), "cost": np.array(json.dumps(cost))}
        np.savez_compressed(buffer, **arrays, **extra)  # type: ignore[arg-type]
        write_whole(self.shard_path(items), buffer.getvalue())

    def read_probed(self) -> tuple[list[Item], dict[str, np.ndarray]]:
        """(items, named arrays) of all that a probe measured. Raises ValueError, naming the file, if one is damaged."""
        items: list[Item] = []
        parts: list[dict[str, np.ndarray]] = []
        for chunk in self.chunks():
            with np.load(self.shard_path(chunk), allow_pickle=False) as archive:
                parts.append({name: archive[name] for name in archive.files if name not in ("items", "cost")})
            items.extend(chunk)
        return items, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def write_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Keep named arrays (trajectory.npz: what the states of the first items looked like on the way)."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_whole(self.path / name, buffer.getvalue())

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Named arrays. Raises ValueError, naming the file, if it is damaged or not there."""
        path = self.path / name
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise ValueError(f"{path}: damaged ({error})") from error

    def write_text(self, name: str, text: str) -> None:
        """Keep a small text file."""
        write_whole(self.path / name, text.encode())

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep a small table."""
        self.write_text(name, json.dumps(value, indent=1) + "\n")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A small table, or None if there is none."""
        path = self.path / name
        return json.loads(path.read_text()) if path.exists() else None

    def remove(self) -> None:
        """Throw the run away."""
        shutil.rmtree(self.path, ignore_errors=True)


@dataclass(frozen=True)
class Listed:
    """A run of an experiment: where it stands in the experiment's file, and its folder."""

    tier: str
    row: str
    label: str
    gamma: float
    folder: RunFolder

    def config(self) -> dict[str, Any]:
        """What was chosen."""
        found = yaml.safe_load((self.folder.path / "config.yaml").read_text())
        assert isinstance(found, dict)
        return found


INDEX = "index.json"


def write_index(experiment: Path, entries: Sequence[Listed]) -> None:
    """Remember which runs make up an experiment; the others stay as they are."""
    place = RunFolder(experiment)
    known = (place.read_json(INDEX) or {"runs": []})["runs"]
    told = {(entry.tier, entry.row, entry.label, entry.gamma) for entry in entries}
    rows = [row for row in known if (row["tier"], row["row"], row["label"], row["gamma"]) not in told]
    rows += [{"tier": e.tier, "row": e.row, "label": e.label, "gamma": e.gamma, "folder": e.folder.path.name} for e in entries]
    place.write_json(INDEX, {"runs": rows})


def read_index(experiment: Path) -> list[Listed]:
    """The runs of an experiment that have been asked for, finished or not. Raises ValueError if there is no index."""
    found = RunFolder(experiment).read_json(INDEX)
    if found is None:
        raise ValueError(f"{experiment}: has no {INDEX}; run the experiment first")
    return [Listed(**row | {"folder": RunFolder(experiment / row["folder"])}) for row in found["runs"]]


def writable(folder: Path, field: str) -> None:
    """Raise ValueError, naming the field, unless files can be made in this folder (it is created)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / ".writable", b"")
        (folder / ".writable").unlink()
    except OSError as error:
        raise ValueError(f"{field}={str(folder)!r}: cannot write there ({error.strerror})") from error
