"""The runs of a folder as figures see them: labels, traces, pictures, measures; from the store alone, no model is opened."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from ..draws import Item
from ..measuring import clustered
from ..reading import MEASURED, Run, places_of, read_table, runs_of
from ..sizes import Pictures
from ..stats import FEWEST, clusters_of, spread_of
from ..trace import PARTS

MOST = 512
"""Items of a run whose traces and pictures are read: the first ones."""

AGAIN = "give the run's command again with overwrite=true"


class Traces(NamedTuple):
    """A run's traces, places from the noisiest level to the least noisy: see sdi_bench.trace.

    gradient, noise [items, places, values]; rms: name -> [items, places]. alike: do items share their levels?
    """

    items: list[Item]
    sigma: Float[np.ndarray, "items places"]
    gradient: Float[np.ndarray, "items places values"]
    noise: Float[np.ndarray, "items places values"]
    rms: Mapping[str, Float[np.ndarray, "items places"]]


@dataclass(frozen=True)
class Row:
    """A finished run. label: what it is called among those of its guidance scale; tables: where it stands in the csv files."""

    label: str
    run: Run
    tables: pd.DataFrame

    @property
    def gamma(self) -> float:
        """Its guidance scale."""
        return self.run.gamma

    @cached_property
    def path(self) -> Traces | None:
        """Its traces; None where none was kept, as in a run of a probe or of an earlier version."""
        items: list[Item] = []
        parts: list[dict[str, np.ndarray]] = []
        for chunk in self.run.folder.chunks():
            trace = self.run.folder.read_trace(chunk)
            if trace and (not parts or np.array_equal(trace["index"], parts[0]["index"])) and len(items) < MOST:
                items.extend(chunk)
                parts.append(trace)
        if not parts:
            return None
        sigma, rms, values = (np.concatenate([part[name] for part in parts]) for name in ("sigma", "rms", "values"))
        order = np.argsort(-sigma, axis=1, kind="stable")
        sigma, rms = np.take_along_axis(sigma, order, 1), np.take_along_axis(rms.astype(float), order[:, :, None], 1)
        values = np.take_along_axis(values, order[:, :, None, None], 1).astype(np.float64)
        named = {name: rms[:, :, k] for k, name in enumerate(PARTS)}
        return Traces(items, sigma, values[:, :, 0], values[:, :, 1], named)

    @cached_property
    def pictures(self) -> tuple[list[Item], list[Pictures]]:
        """(items, their pictures by shards)."""
        items: list[Item] = []
        parts: list[Pictures] = []
        for chunk in self.run.folder.chunks():
            if len(items) < MOST:
                items.extend(chunk)
                parts.append(self.run.folder.read_shard(chunk).images)
        return items, parts

    @property
    def n_levels(self) -> int | None:
        """How many levels it visits, or steps it makes."""
        said = self.run.config["sampler"]
        said = said.get("timeline", said)
        grid = said.get("grid") or {}
        return grid.get("n_levels", said.get("n_steps"))

    def has(self, measure: str) -> bool:
        """Has it a value?"""
        return bool(self.tables.loc[self.tables["measure"] == measure, "point"].notna().any())

    def left_out(self, measure: str) -> np.ndarray | None:
        """The measure without each group of clusters in turn; None where that was not kept, or an item diverged."""
        known = self.run.folder.read_json("metrics.json") or {}
        values = known.get("left_out", {}).get(measure, [])
        whole = known.get("n") == known.get("measures", {}).get(measure, {}).get("n_used")
        return np.array(values, dtype=float) if whole and len(values) >= FEWEST else None


@dataclass(frozen=True)
class Rows:
    """Runs of one model. name: of the model, in front of the figures' where a folder has several; folder: of the results."""

    name: str
    folder: Path
    rows: Sequence[Row]

    @cached_property
    def gammas(self) -> list[float]:
        """The guidance scales, FACETS at most, evenly."""
        found = sorted({row.gamma for row in self.rows})
        return [found[k] for k in sorted({int(i) for i in np.linspace(0, len(found) - 1, min(FACETS, len(found))).round()})]

    def at(self, gamma: float) -> list[Row]:
        """The runs at a guidance scale, SHOWN at most."""
        return [row for row in self.rows if row.gamma == gamma][:SHOWN]

    def traced(self) -> list[Row]:
        """The runs that are drawn, with a trace. Raises ValueError where there are none."""
        found = [row for gamma in self.gammas for row in self.at(gamma) if row.path is not None]
        if not found:
            raise ValueError(f"no run here has a trace (made by an earlier version, or by a probe); {AGAIN}")
        return found

    def baseline(self, row: Row, measure: str | None = None) -> Row | None:
        """What a run is held against: DDIM with the most levels at the same guidance scale, else the first run there; None if
        that is itself. measure: only one that has it.
        """
        mates = [other for other in self.rows if other.gamma == row.gamma and (measure is None or other.has(measure))]
        mates = [other for other in mates if is_ddim(other)] or mates[:1]
        if not mates:
            return None
        best = max(mates, key=lambda other: other.n_levels or 0)
        return None if best is row else best


FACETS, SHOWN = 4, 12
"""Guidance scales, and runs at each, that a figure shows at most."""


def is_ddim(row: Row) -> bool:
    """Is it a run of DDIM itself?"""
    return str(row.run.config["sampler"].get("_target_", "")).endswith("Ddim")


def open_folder(folder: Path, only: Sequence[str] = ()) -> tuple[list[Rows], list[str]]:
    """(the runs of a folder, those of each model on their own; what is wrong with others).

    only: names of run folders; nothing means all. Raises ValueError, naming the folder, if it holds no finished run.
    """
    if not folder.is_dir():
        raise ValueError(f"folder={str(folder)!r}: no such folder; python -m sdi_bench.run name={folder.name} makes it")
    runs, wrong = runs_of(folder)
    frames = {path.stem: read_table(path) for path in sorted(folder.glob("[!.]*.csv"))}
    runs = [run for run in runs if not only or run.name in only]
    if not runs:
        one = (folder / "shards").is_dir()
        hint = "it is a run itself, name the folder that holds it" if one else "python -m sdi_bench.run makes some"
        raise ValueError(f"folder={str(folder)!r}: holds no finished run; {hint}")
    places = places_of(folder, frames, runs)
    order = {name: i for i, name in enumerate(places)}
    by_model: dict[tuple[Any, ...], list[Run]] = {}
    for run in sorted(runs, key=lambda run: order[run.name]):
        solid = run.images is not None and run.images.ndim == 5
        key = run.name.partition("-")[0], str(run.config.get("fingerprint")), solid
        by_model.setdefault(key, []).append(run)
    found = []
    names = [key[0] for key in by_model]
    for key, members in by_model.items():
        told: dict[tuple[float, str], int] = {}
        rows = []
        for run in members:
            label = " ".join(word for word in places[run.name][0].label.split(" ") if word != f"scale={run.gamma:g}")
            told[run.gamma, label] = told.get((run.gamma, label), 0) + 1
            if told[run.gamma, label] > 1:
                label = f"{label} ({run.name.rpartition('-')[2][:4]})"
            rows.append(Row(label, run, table_of(frames, run.name)))
        name = key[0] if names.count(key[0]) == 1 else f"{key[0]}{'-3d' if key[2] else ''}-{key[1][:4]}"
        found.append(Rows(name if len(by_model) > 1 else "", folder, rows))
    return found, wrong


def table_of(frames: Mapping[str, pd.DataFrame], name: str) -> pd.DataFrame:
    """measure, point, low, high, unit of a run, from the csv files beside it; the first of a measure."""
    parts = []
    for frame in frames.values():
        key = next((key for key in ("results", "folder") if key in frame), None)
        if key and set(frame) >= MEASURED:
            parts.append(frame[frame[key].astype(str) == name])
    if not parts:
        return pd.DataFrame(columns=["measure", "point", "low", "high", "unit"])
    return pd.concat(parts).drop_duplicates("measure")[["measure", "point", "low", "high", "unit"]]


Columns = Callable[[Shaped[np.ndarray, " m"]], Float[np.ndarray, " places"]]
"""Numbers, a place each, computed from a subset of the items, given by index."""


def estimates(statistic: Columns, items: Sequence[Item]) -> list[dict[str, float]]:
    """point, low, high at every place, with 95 % jackknife intervals over measure.clustered's clusters."""
    groups = clusters_of(clustered(items).labels)
    index = np.arange(len(items))
    point, names = statistic(index), np.unique(groups)
    if len(names) < FEWEST:
        return [{"point": float(p), "low": np.nan, "high": np.nan} for p in point]
    left = np.stack([statistic(index[groups != name]) for name in names])
    return [
        spread_of(float(p), left[:, k]).interval()._asdict() if np.isfinite(left[:, k]).all() and np.isfinite(p)
        else {"point": float(p), "low": np.nan, "high": np.nan}
        for k, p in enumerate(point)
    ]  # fmt: skip


def prompts_of(items: Sequence[Item]) -> np.ndarray:
    """The prompt of each item, as text."""
    return np.array([str(item.prompt) for item in items])


def listed(values: Mapping[str, float], unit: str = "", most: int = 5) -> str:
    """`sds 0.51, ddim 0.02`, from the largest down; `sds γ 1: 0.51` where names hold a guidance scale."""
    ranked = sorted(values.items(), key=lambda pair: -pair[1])
    colon = ":" if any(" γ " in name for name in values) else ""
    told = [f"{name}{colon} {value:.2g}{unit}" for name, value in ranked]
    return ", ".join(told if len(told) <= most else [*told[: most - 2], "…", *told[-2:]])
