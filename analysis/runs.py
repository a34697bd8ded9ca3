"""An experiment's finished runs as analysis sees them: arrays, images and measures, read from the store alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sdi_bench.draws import Item
from sdi_bench.measuring import clustered
from sdi_bench.sizes import whole
from sdi_bench.stats import clusters_of, jackknife, mean_of
from sdi_bench.store import Listed, read_index


class MissingRunError(ValueError):
    """A run that is asked about is not here."""


@dataclass(frozen=True)
class Run:
    """A finished run: its place in the experiment, and what it kept."""

    listed: Listed

    @property
    def row(self) -> str:
        """The row, with what varies in it: `mixed lam=1 n_levels=50`."""
        return self.listed.label

    @property
    def gamma(self) -> float:
        """Its guidance scale."""
        return self.listed.gamma

    @cached_property
    def config(self) -> dict[str, Any]:
        """What was chosen."""
        return self.listed.config()

    @cached_property
    def probed(self) -> tuple[list[Item], dict[str, np.ndarray]]:
        """(items, named arrays) of a run with a probe."""
        return self.listed.folder.read_probed()

    @cached_property
    def images(self) -> tuple[list[Item], np.ndarray]:
        """(items, images [n, *shape]) of a run without."""
        shards = [self.listed.folder.read_shard(chunk) for chunk in self.listed.folder.chunks()]
        return [item for shard in shards for item in shard.items], np.concatenate([whole(shard.images) for shard in shards])


@dataclass(frozen=True)
class Runs:
    """The runs of an experiment, results/<experiment>."""

    folder: Path

    def tier(self, name: str) -> list[Run]:
        """Its finished runs, in the order of the experiment's file. Raises MissingRunError if there are none."""
        try:
            listed = [entry for entry in read_index(self.folder) if entry.tier == name]
        except ValueError as why:
            raise MissingRunError(str(why)) from why
        found = [Run(entry) for entry in listed if (entry.folder.path / "shards").is_dir()]
        if not found:
            raise MissingRunError(f"{self.folder}: no finished run of tier {name!r}; run the experiment with tier={name!r}")
        return found

    def measures(self, tier: str) -> pd.DataFrame:
        """The tidy measures of a tier, as `python -m sdi_bench.evaluate` wrote them. Raises ValueError if there are none."""
        path = self.folder / "measures.csv"
        frame = pd.read_csv(path) if path.is_file() else pd.DataFrame({"tier": []})
        found = frame[frame["tier"] == tier]
        if found.empty:
            raise ValueError(f"{path}: no measures of tier {tier!r}; run python -m sdi_bench.evaluate experiment=understanding")
        return found


def interval(values: np.ndarray, items: Sequence[Item]) -> dict[str, float]:
    """The mean over items with its 95 % jackknife interval over measure.clustered's clusters, whatever the model.

    values [items]. Where one is not finite so is the mean, and there is no interval.
    """
    if not np.isfinite(values).all():
        return {"point": float(values.mean()), "low": np.nan, "high": np.nan, "n": len(values)}
    return jackknife(mean_of(values), clusters_of(clustered(items).labels))._asdict() | {"n": len(values)}
