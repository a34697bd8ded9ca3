"""What a folder holds: finished runs, where each stands, and which can be held against each other."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import prompts
from .draws import Item
from .guidance import gamma_said
from .sizes import Pictures, whole
from .store import RunFolder, read_index

MEASURED = {"run", "measure", "point", "low", "high"}
"""The columns that make a csv file a table of measures."""

RUNS = 12
"""At most, in a group."""


@dataclass(frozen=True)
class Run:
    """A finished run: its config.yaml, its provenance.json, the first items and their images; why: images are missing.

    images: [items, c, h, w], of objects [items, views, c, h, w].
    """

    folder: RunFolder
    config: Mapping[str, Any]
    made: Mapping[str, Any]
    items: tuple[Item, ...]
    images: Pictures | None
    why: str = ""

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.folder.path.name

    @property
    def gamma(self) -> float:
        """Its guidance scale."""
        return gamma_said(self.config["sampler"]["guidance"])

    @property
    def filmed(self) -> bool:
        """True if there are pictures, and something is kept of the way to them."""
        return self.images is not None and (self.folder.path / "trajectory.npz").exists()

    def picture(self, item: Item) -> np.ndarray:
        """An item's image."""
        assert self.images is not None
        return whole(self.images[self.items.index(item)])


@dataclass(frozen=True)
class Place:
    """Where a run stands: its tier in an experiment ("" if there is none), its guidance scale, what it is called there."""

    tier: str
    gamma: float
    label: str


@dataclass(frozen=True)
class Group:
    """Runs that can be held against each other: (label, run) each, and the items that all of them have, of one shape."""

    title: str
    runs: Sequence[tuple[str, Run]]
    items: Sequence[Item]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an item: [c, h, w], of an object [views, c, h, w]."""
        return self.runs[0][1].picture(self.items[0]).shape

    @property
    def turning(self) -> bool:
        """True if the items are objects."""
        return len(self.shape) == 4


def read_table(path: Path) -> pd.DataFrame:
    """A table that a command wrote earlier; empty if there is none. Raises ValueError for one that cannot be read."""
    try:
        return pd.read_csv(path) if path.is_file() and path.stat().st_size > 1 else pd.DataFrame()
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as a table ({error}); move it away to measure anew") from error


def first_chunk(config: Mapping[str, Any], chunks: Sequence[tuple[Item, ...]]) -> tuple[Item, ...]:
    """The items that were made first (the trajectory is of the first of these): the chunk that begins as the prompts do."""
    asked: Sequence[str | None] = config["prompts"] if isinstance(config.get("prompts"), list) else []
    if not asked and config.get("prompt_file"):
        with suppress(ValueError):  # the file may have gone since
            asked = prompts.read(config["prompt_file"])
    return next((chunk for chunk in chunks if asked and chunk[0].prompt == asked[0]), chunks[0])


def open_run(path: Path) -> Run:
    """A run, with the images of its first shard. Raises ValueError, naming the file, for what can't be read."""
    folder = RunFolder(path)
    try:
        config, made = folder.read_config(), folder.read_json("provenance.json") or {}
        gamma_said(config["sampler"]["guidance"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name}: its config.yaml or provenance.json cannot be read") from error
    items = first_chunk(config, folder.chunks())
    if config.get("probe"):
        return Run(folder, config, made, items, None, "a probe measured it and kept no pictures")
    images = folder.read_shard(items).images
    if images.ndim not in (4, 5):
        return Run(folder, config, made, items, None, "points, not pictures")
    return Run(folder, config, made, items, images)


def runs_of(folder: Path) -> tuple[list[Run], list[str]]:
    """(the runs of an experiment, what is wrong with others)."""
    found, wrong = [], []
    for path in sorted(path for path in folder.iterdir() if (path / "shards").is_dir()):
        try:
            found.append(open_run(path))
        except ValueError as error:
            wrong.append(str(error).replace(f"{folder}/", ""))
    return found, wrong


def places_of(folder: Path, frames: Mapping[str, pd.DataFrame], runs: Sequence[Run]) -> dict[str, list[Place]]:
    """run folder -> where it stands, by the csv files and the experiment's index, else by its own name; in the order met."""
    found: dict[str, list[Place]] = {}
    gammas = {run.name: run.gamma for run in runs}

    def add(name: object, tier: object, label: object) -> None:
        if str(name) in gammas and str(tier) not in [place.tier for place in found.get(str(name), [])]:
            found.setdefault(str(name), []).append(Place(str(tier), gammas[str(name)], str(label)))

    for frame in frames.values():
        key = "results" if "results" in frame else "folder" if "folder" in frame else None
        if key and set(frame) >= MEASURED:
            for row in frame.drop_duplicates(["run", key, *(["tier"] if "tier" in frame else [])]).to_dict("records"):
                add(row[key], row.get("tier", ""), row["run"])
    try:
        listed = read_index(folder)
    except (ValueError, KeyError, TypeError):
        listed = []
    for entry in listed:
        add(entry.folder.path.name, entry.tier, entry.label)
    for run in runs:
        if run.name not in found:
            add(run.name, "", run.name.rpartition("-")[0])
    return found


def groups_of(runs: Sequence[Run], places: Mapping[str, Sequence[Place]]) -> list[Group]:
    """Runs with pictures by tier (those of none last), guidance scale and size, RUNS at most, that all share an item."""
    sets: dict[tuple[str, float, tuple[int, ...]], list[tuple[list[tuple[str, Run]], list[Item]]]] = {}
    order = {name: i for i, name in enumerate(places)}
    tiers = [*dict.fromkeys(place.tier for told in places.values() for place in told if place.tier), ""]
    ranked = sorted(
        ((place, run) for run in runs if run.images is not None for place in places[run.name]),
        key=lambda pair: (tiers.index(pair[0].tier), pair[0].gamma, order[pair[1].name]),
    )
    for place, run in ranked:
        assert run.images is not None
        mates = sets.setdefault((place.tier, place.gamma, run.images.shape[1:]), [])
        for k, (members, shared) in enumerate(mates):
            both = [item for item in shared if item in run.items]
            if both and len(members) < RUNS:
                mates[k] = ([*members, (place.label, run)], both)
                break
        else:
            mates.append(([(place.label, run)], list(run.items)))
    found = []
    for (tier, gamma, shape), mates in sets.items():
        sizes = len({other[2] for other in sets if other[:2] == (tier, gamma)})
        for k, (members, shared) in enumerate(mates):
            size = f"{shape[-1]} × {shape[-2]}" + (f", {shape[0]} views" if len(shape) == 4 else "")
            parts = [tier, f"γ {gamma:g}", size if sizes > 1 else ""]
            many = f" ({k + 1} of {len(mates)})" if len(mates) > 1 else ""
            found.append(Group(" · ".join(filter(None, parts)) + many, members, shared))
    return found
