"""x0 on its way: what each run's picture looks like at some levels of its path."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..draws import Item
from ..pictures import name_of
from ..probes.base import evenly
from ..texts import wrapped
from .rows import AGAIN, Row, Rows, listed
from .style import panels, tile

RUNS, STATES, ITEMS = 8, 8, 2
"""Runs, states and items that are shown at most; one item where runs are many."""


def path_of(row: Row) -> tuple[list[Item], np.ndarray, np.ndarray, np.ndarray] | None:
    """(items, x0 [states, items, c, h, w], sigma [states, items], index [states]) of trajectory.npz; None without pictures."""
    if not (row.run.folder.path / "trajectory.npz").exists():
        return None
    kept = row.run.folder.read_arrays("trajectory.npz")
    if kept["x0"].ndim != 5:
        return None
    return list(row.run.items[: kept["x0"].shape[1]]), kept["x0"], kept["sigma"], kept["index"]


def shown_of(rows: Rows) -> tuple[list[Row], list[Item]]:
    """(the runs that are drawn, the items that all of them kept). Raises ValueError where there are none."""
    members: list[Row] = []
    shared: list[Item] = []
    for row in [row for gamma in rows.gammas for row in rows.at(gamma)]:
        path = path_of(row)
        if path is None or len(members) == RUNS:
            continue
        both = [item for item in shared if item in path[0]] if members else path[0]
        if both:
            members, shared = [*members, row], both
    if not members:
        if all(row.run.images is None for row in rows.rows):
            raise ValueError("these are points, or a probe's numbers, not pictures; model=builtin, digits, diffusers draw some")
        raise ValueError(f"no run here kept its way (trajectory.npz); {AGAIN}")
    return members, shared[: ITEMS if 2 * len(members) <= RUNS else 1]


def prepare(rows: Rows) -> pd.DataFrame:
    """run, item, state, sigma, change: rms of x0's change since the state kept before (0 at the first).

    Raises ValueError where no run kept its way.
    """
    members, items = shown_of(rows)
    several = len({row.gamma for row in members}) > 1
    found = []
    for row in members:
        path = path_of(row)
        assert path is not None
        known, x0, sigma, index = path
        for item in items:
            at = known.index(item)
            step = np.diff(x0[:, at], axis=0, prepend=x0[:1, at]).reshape(len(x0), -1)
            for k, change in enumerate(np.sqrt(np.square(step).mean(axis=1))):
                label = f"{row.label} γ {row.gamma:g}" if several else row.label
                about = {"run": label, "item": name_of(item), "state": int(index[k])}
                found.append(about | {"sigma": float(sigma[k, at]), "change": float(change)})
    return pd.DataFrame(found)


def seen(x0: np.ndarray) -> np.ndarray:
    """States [n, c, h, w] as pictures; of latents three channels, three standard deviations of the last in the range."""
    if x0.shape[1] in (1, 3):
        return x0
    return x0[:, :3] / (3 * x0[-1].std() or 1)


def draw(table: pd.DataFrame, rows: Rows) -> Figure:
    """A row of pictures a run and item, from the start to the sample; σ above each."""
    members, items = shown_of(rows)
    labels = list(dict.fromkeys(table["run"]))
    figure, axes = panels(len(items) * len(members), STATES, width=0.95, height=1.08)
    for i, item in enumerate(items):
        for j, (row, label) in enumerate(zip(members, labels, strict=True)):
            path = path_of(row)
            assert path is not None
            known, x0, sigma, _ = path
            at, line = known.index(item), axes[i * len(members) + j]
            pictures, chosen = seen(x0[:, at]), evenly(len(x0), STATES)
            for axis in line[len(chosen) :]:
                axis.set_axis_off()
            for axis, k in zip(line, chosen, strict=False):
                name = f"{label}\n{wrapped(name_of(item), 18, 2)}" if k == 0 else ""
                tile(axis, pictures[k], name, f"σ {sigma[k, at]:.2g}")
    return figure


def caption(table: pd.DataFrame) -> str:
    """What is seen, in a sentence."""
    length = {str(run): float(line.groupby("item")["change"].sum().mean()) for run, line in table.groupby("run", sort=False)}
    what = "x0(t) from the start to the sample; of latents three channels, in 3D the view of that step"
    return f"{what}. Length of the way (rms, mean over the items shown): {listed(length)}."
