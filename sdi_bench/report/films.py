"""Runs on their way: x0 and κ state by state, in strips that the page's script moves under a window."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pictures import name_of
from ..reading import Group, Run
from ..sizes import Packed
from .pictures import cost_of, on_page, strip

FILMED, STATES = 8, 64
"""At most: items a film, states a film."""

FILM_SIDE = 96
"""Pixels: larger states are made smaller."""

FILM_BYTES = 6e6
"""What films may take of the page; fewer items and states are shown where they would take more."""


@dataclass(frozen=True)
class Film:
    """Runs on their way, as the page's script reads it: see strips()."""

    title: str
    items: Sequence[str]
    runs: Sequence[Mapping[str, Any]]
    side: int
    sharp: bool
    latent: bool
    turning: bool


def path_of(run: Run) -> dict[str, np.ndarray]:
    """trajectory.npz: x0, eps, kappa [states, items, c, h, w], sigma [states, items], index [states]. Raises ValueError."""
    assert run.images is not None
    try:
        found = run.folder.read_arrays("trajectory.npz")
        path = {name: found[name] for name in ("x0", "kappa", "sigma", "index")}
    except (ValueError, KeyError) as error:
        raise ValueError("trajectory.npz damaged") from error
    n = path["x0"].shape[1]
    exact = not isinstance(run.images, Packed) and path["x0"].shape[2:] == run.images.shape[1:]
    if exact and not np.array_equal(path["x0"][-1], run.images[:n].astype(path["x0"].dtype), equal_nan=True):
        raise ValueError("trajectory.npz is of other items than the run's first shard")
    return path


def reel(states: np.ndarray, quality: int | None) -> str:
    """The strip of states [n, c, h, w] in [-1, 1]; a state that is NaN throughout is grey."""
    return strip([np.zeros_like(state) if np.isnan(state).all() else state for state in states], FILM_SIDE, quality)


def spread(states: np.ndarray) -> np.ndarray:
    """Standard deviation of each state [n, ...] over what is finite; NaN where nothing is."""
    flat = [state[np.isfinite(state)] for state in states]
    return np.array([state.std() if state.size else np.nan for state in flat])


def scaled(states: np.ndarray, std: np.ndarray) -> np.ndarray:
    """States [n, ...] so that three standard deviations fill the range."""
    return states / np.where(std > 0, 3 * std, 1).reshape(-1, *[1] * (states.ndim - 1))


def strips(label: str, path: Mapping[str, np.ndarray], places: Sequence[int], n_states: int, latent: bool) -> dict[str, Any]:
    """A run of a film: index of its states; x0, kappa: a strip an item (None: none was added); sigma, its std: [item][state].

    kappa, and x0 of a latent, are divided by three of their standard deviations, kappa state by state.
    """
    n = len(path["index"])
    kept = np.unique(np.linspace(0, n - 1, min(n, n_states)).round().astype(int))
    made: dict[str, Any] = {"label": label, "index": path["index"][kept].tolist(), "last": int(path["index"][-1])}
    made |= {"x0": [], "kappa": [], "sigma": [], "std": []}
    for i in places:
        x0, kappa = path["x0"][kept, i], path["kappa"][kept, i]
        if latent:
            x0 = scaled(x0, np.repeat(spread(x0[None]), len(x0)))
        std = spread(kappa)
        made["x0"].append(reel(x0, None if x0.shape[-1] <= 64 else 88))
        made["kappa"].append(None if np.isnan(kappa).all() else reel(scaled(kappa, std), None if kappa.shape[-1] <= 16 else 80))
        made["sigma"].append([f"{sigma:.3g}" for sigma in path["sigma"][kept, i]])
        made["std"].append([None if math.isnan(s) else f"{s:.3g}" for s in std])
    return made


def film_of(group: Group, n_items: int, n_states: int) -> tuple[Film | None, list[tuple[str, str]]]:
    """(the runs of a group on their way, what is wrong with others and which): the first items that all of them kept."""
    paths, wrong = [], []
    for label, run in group.runs:
        if run.filmed:
            try:
                paths.append((label, run, path_of(run)))
            except ValueError as error:
                wrong.append((str(error), run.name))
    if not paths:
        return None, wrong
    kept = [list(run.items[: path["x0"].shape[1]]) for _, run, path in paths]
    some = [item for item in kept[0] if all(item in items for items in kept)][:n_items]
    if not some:
        return None, [*wrong, ("trajectory.npz of different items", group.title)]
    shape = paths[0][2]["x0"].shape[2:]
    latent = shape != group.shape[-3:]
    made = [
        strips(label, path, [items.index(item) for item in some], n_states, latent)
        for (label, _, path), items in zip(paths, kept, strict=True)
    ]
    side, sharp = on_page(shape, FILM_SIDE)
    return Film(group.title, [name_of(item) for item in some], made, side, sharp, latent, group.turning), wrong


def films_of(groups: Sequence[Group]) -> tuple[list[Film], list[str]]:
    """(films, what is wrong), with as many items and states as there is room for."""
    able = [Group(g.title, [pair for pair in g.runs if pair[1].filmed], g.items) for g in groups]
    able = [group for group in able if group.runs]
    sizes = [(FILMED, STATES), (4, STATES), (4, 32), (2, 32), (2, 16), (1, 16)]
    n_items, n_states = next((s for s in sizes if 2 * math.prod(s) * cost_of(able, FILM_SIDE) / 1.6 <= FILM_BYTES), sizes[-1])
    made = [film_of(group, n_items, n_states) for group in able]
    faults: dict[str, dict[str, None]] = {}
    for _, wrong in made:
        for why, which in wrong:
            faults.setdefault(why, {})[which] = None
    return [film for film, _ in made if film], [f"{why} ({', '.join(which)})" for why, which in faults.items()]
