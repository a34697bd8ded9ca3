"""python -m analysis.report results/<experiment>: one page of all that a folder holds, in one file that opens from disk.

Runs (config.yaml, provenance.json, shards/, trajectory.npz), tables (sweep-*.csv; measures.csv, differences.csv, claims.csv),
the figures and texts beside them: whatever is there, and a line on what is not.
"""

import argparse
import base64
import io
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.ticker import MaxNLocator
from PIL import Image

from sdi_bench import prompts
from sdi_bench.compare import EXPLAINED, ROW_USES
from sdi_bench.draws import Item
from sdi_bench.pictures import name_of, shown
from sdi_bench.store import RunFolder, read_index, write_whole

from .benchmark2d import read, value

MEASURED = {"run", "measure", "point", "low", "high"}
"""The columns that make a csv file a table of measures."""

RUNS, ITEMS, FILMED, STATES, SIDES = 12, 12, 8, 64, 16
"""At most: runs a grid, items a grid, items a film, states a film, sides of an object."""

TURN = 2400
"""Milliseconds in which an object turns once."""

SIDE, FILM_SIDE = 128, 96
"""Pixels: larger pictures are made smaller."""

GRID_BYTES, FILM_BYTES, FIGURE_BYTES = 4e6, 6e6, 3e6
"""What grids, films and figures may take of the page; fewer items and states are shown where they would take more."""

PER_PIXEL = 1.6 * 4 / 3
"""Bytes of a pixel of noise (WebP, base64): what a picture costs at worst."""

MARKS = 6
"""Markers that differ by shape; past these they repeat, hollow."""


@dataclass(frozen=True)
class Column:
    """A column of a table: what it is called, its unit and direction in a few words, the same in full; words: of no numbers."""

    name: str
    about: str = ""
    title: str = ""
    words: bool = False


@dataclass(frozen=True)
class Cell:
    """What a cell says, what it sorts by (None: undefined, last), and why it says that."""

    text: str
    key: float | str | None
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a table; run: the folder that it links to, if that is on the page."""

    label: str
    cells: Sequence[Cell]
    run: str = ""


@dataclass(frozen=True)
class Table:
    """A table to sort. long: shown folded."""

    name: str
    title: str
    columns: Sequence[Column]
    lines: Sequence[Line]
    notes: Sequence[str] = ()
    long: bool = False


@dataclass(frozen=True)
class Dot:
    """A run's point with its interval in a panel; places in the panel's units. mark: which marker."""

    label: str
    y: float
    x: float
    low: float
    high: float
    mark: int
    said: str


@dataclass(frozen=True)
class Panel:
    """One measure, a line a run. ticks: (place, what it says). ideal: where perfect samples are, if that is in sight."""

    title: str
    about: str
    dots: Sequence[Dot]
    ticks: Sequence[tuple[float, str]]
    ideal: float | None
    left: float
    height: float


@dataclass(frozen=True)
class Plot:
    """The panels of a table."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Run:
    """A finished run: its config.yaml, its provenance.json, the first items and their images; why: images are missing.

    images: [items, c, h, w], of objects [items, views, c, h, w].
    """

    folder: RunFolder
    config: Mapping[str, Any]
    made: Mapping[str, Any]
    items: tuple[Item, ...]
    images: np.ndarray | None
    why: str = ""

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.folder.path.name

    @property
    def gamma(self) -> float:
        """Its guidance scale."""
        return float(self.config["sampler"]["guidance"]["scale"])

    @property
    def filmed(self) -> bool:
        """True if there are pictures, and something is kept of the way to them."""
        return self.images is not None and (self.folder.path / "trajectory.npz").exists()


@dataclass(frozen=True)
class Place:
    """Where a run stands: its tier in an experiment ("" if there is none), its guidance scale, what it is called there."""

    tier: str
    gamma: float
    label: str


@dataclass(frozen=True)
class Group:
    """Runs that can be held against each other: (label, run) each, and the items that all of them have."""

    title: str
    runs: Sequence[tuple[str, Run]]
    items: Sequence[Item]


@dataclass(frozen=True)
class Grid:
    """Pictures [run][item] as data URIs. side: of a picture on the page, in CSS pixels; sharp: its pixels are to be seen.

    turning: they are objects.
    """

    title: str
    labels: Sequence[str]
    items: Sequence[str]
    pictures: Sequence[Sequence[str]]
    side: int
    sharp: bool
    turning: bool


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


@dataclass(frozen=True)
class Figure:
    """A figure that lay beside the tables."""

    name: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class About:
    """What is told of a run: (what, command) pairs, its configuration and provenance as text."""

    name: str
    labels: Sequence[str]
    commands: Sequence[tuple[str, str]]
    config: str
    provenance: str


@dataclass(frozen=True)
class Page:
    """All that the page shows."""

    title: str
    facts: Sequence[tuple[str, str]]
    lacking: Sequence[str]
    words: Sequence[str]
    tables: Sequence[Table]
    plots: Sequence[Plot]
    grids: Sequence[Grid]
    films: Sequence[Film]
    figures: Sequence[Figure]
    texts: Sequence[tuple[str, str]]
    runs: Sequence[About]


# -------------------------------------------------------------------------------------------------------------- tables


def direction(ideal: object) -> str:
    """What is good, in a word."""
    if not isinstance(ideal, int | float) or math.isnan(ideal):
        return "no direction"
    return "higher is better" if ideal == math.inf else f"{ideal:g} is best"


def key_of(number: object) -> float | None:
    """What a number sorts by; None for none."""
    return float(number) if isinstance(number, int | float) and not math.isnan(number) else None


def number(found: object, form: str = ".4g") -> Cell:
    """A number; a dash for none."""
    key = key_of(found)
    return Cell("–", None) if key is None else Cell(format(key, form), key)


def measured(row: Mapping[Any, Any] | None) -> Cell:
    """point ±half, or a dash and why."""
    if row is None:
        return Cell("–", None, "not measured")
    why = row.get("undefined")
    flagged = "more than 1 % of the items diverged" if row.get("flagged") is True else ""
    key = key_of(row.get("point"))
    return Cell("–" if key is None else value(row), key, why if key is None and isinstance(why, str) else flagged)


def columns_of(frame: pd.DataFrame) -> dict[str, Column]:
    """measure -> its column."""
    found = {}
    for name, rows in frame.groupby("measure", sort=False):
        first = rows.dropna(subset=["unit"]).head(1).to_dict("records") if "unit" in rows else []
        row = first[0] if first else {}
        unit, good = str(row.get("unit", "")), direction(row.get("ideal"))
        how = row.get("preprocessing")
        full = [unit, good, *([f"preprocessing {how}"] if isinstance(how, str) else [])]
        found[str(name)] = Column(str(name), "; ".join(filter(None, (unit, good))), "; ".join(filter(None, full)))
    return found


def keyed(frame: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], list[dict[Any, Any]]]]:
    """((run, gamma if the table has it), rows) of each run."""
    keys = ["run", *(["gamma"] if "gamma" in frame else [])]
    for key, rows in frame.groupby(keys, sort=False, dropna=False):
        yield key, rows.to_dict("records")


def costs(row: Mapping[Any, Any]) -> list[Cell]:
    """Network rows by use, seconds an image, items diverged."""
    used = [row.get(f"rows_{use}", math.nan) for use in ROW_USES]
    known = all(key_of(rows) is not None for rows in used)
    rows = Cell("/".join(f"{rows:.4g}" for rows in used), float(sum(used))) if known else Cell("–", None)
    return [rows, number(row.get("seconds"), ".3f"), number(row.get("diverged"), ".0f")]


COSTS = (
    Column("rows c/u/inv/oth", "an image", "network rows an image: conditional/unconditional/inversion/other"),
    Column("seconds", "an image", "seconds an image"),
    Column("diverged", "items", "items with a pixel not finite or beyond ±100"),
)


def words_of(frames: Sequence[pd.DataFrame]) -> list[str]:
    """What the measures are, for all tables at once."""
    measures = {name for frame in frames for name in frame.loc[frame["point"].notna(), "measure"]}
    known = [text for names, text in EXPLAINED.items() if measures & set(names.split(", "))]
    return ["± is half of a 95 % interval; ! after it: more than 1 % of the items diverged.", *known] if measures else []


def gaps_of(frame: pd.DataFrame) -> list[str]:
    """Why cells of a table of measures are empty."""
    if "undefined" not in frame:
        return []
    gaps: dict[tuple[str, str], list[str]] = {}
    for (measure, why), rows in frame.dropna(subset=["undefined"]).groupby(["measure", "undefined"], sort=False):
        gaps.setdefault((", ".join(dict.fromkeys(rows["run"].astype(str))), str(why)), []).append(str(measure))
    return [f"No {', '.join(measures)} for {runs}: {why}." for (runs, why), measures in gaps.items()]


def table_of(name: str, title: str, frame: pd.DataFrame, here: Sequence[str]) -> Table:
    """A row a run, a column a measure. here: the run folders on the page."""
    columns, lines = columns_of(frame), []
    with_gamma = "gamma" in frame
    for key, rows in keyed(frame):
        by_measure, first = {row["measure"]: row for row in rows}, rows[0]
        told = [number(key[1], "g")] if with_gamma else []
        cells = [
            *told,
            number(first.get("n"), ".0f"),
            *(measured(by_measure.get(measure)) for measure in columns),
            *costs(first),
        ]
        folder = str(first.get("results", first.get("folder", "")))
        lines.append(Line(str(key[0]), cells, folder if folder in here else ""))
    gamma = [Column("γ", title="guidance scale")] if with_gamma else []
    head = [Column("run"), *gamma, Column("n", "items", "number of items"), *columns.values(), *COSTS]
    return Table(name, title, head, lines, gaps_of(frame))


def pairs_of(name: str, title: str, frame: pd.DataFrame, long: bool) -> Table:
    """A row a pair and measure: the difference, how sure, the verdict, and what was claimed if anything was."""
    claimed, lines = "claim" in frame, []
    for row in frame.to_dict("records"):
        said = row["verdict"] if isinstance(row.get("verdict"), str) else None
        pair, unit = f"{row['a']} − {row['b']}", str(row.get("unit", ""))
        cells = [
            *([Cell(pair, pair)] if claimed else []),
            number(row.get("gamma"), "g"),
            Cell(str(row["measure"]), str(row["measure"])),
            measured(row),
            Cell(unit, unit),
            number(row.get("effect"), ".2f"),
            number(row.get("p_holm"), ".2g"),
            Cell(said, said) if said else Cell(str(row.get("undefined", "–")), None),
            *([Cell(str(row["expected"]), str(row["expected"]))] if claimed else []),
        ]
        lines.append(Line(str(row["claim"]) if claimed else pair, cells))
    head = [
        *([Column("claim"), Column("a − b", words=True)] if claimed else [Column("a − b", words=True)]),
        Column("γ", title="guidance scale"),
        Column("measure", words=True),
        Column("difference", "±half of 95 %", "a less b, ± half of a 95 % interval"),
        Column("unit", words=True),
        Column("effect", "in std", "effect size: the difference in standard deviations"),
        Column("p", "Holm", "p-value, by Holm over all rows of the file"),
        Column("verdict", words=True),
        *([Column("claimed", words=True)] if claimed else []),
    ]
    return Table(name, title, head, lines, long=long)


# --------------------------------------------------------------------------------------------------------------- plots

WIDTH, RIGHT, STEP, TOP = 360.0, 12.0, 17.0, 8.0
"""A panel: its width, what is free at the right, the height of a line, what is free above."""

LETTER, LETTERS = 6.2, 22
"""The width of a letter, and how many a label shows."""


def panel(column: Column, rows: Sequence[tuple[str, int, Mapping[Any, Any]]], ideal: object) -> Panel:
    """The points of one measure with their intervals; rows: (label, marker, row) each."""
    ends = np.array([[row[end] for end in ("low", "high", "point")] for _, _, row in rows], dtype=float)
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    best = key_of(ideal)
    if best is not None and math.isfinite(best) and low - (high - low) <= best <= high + (high - low):
        low, high = min(low, best), max(high, best)
    else:
        best = None
    pad = 0.04 * (high - low) or 0.5
    low, high = low - pad, high + pad
    left = 16 + LETTER * min(LETTERS, max(len(label) for label, *_ in rows))

    def place(x: float) -> float:
        return round(left + (x - low) / (high - low) * (WIDTH - left - RIGHT), 2)

    dots = []
    for i, (label, mark, row) in enumerate(rows):
        known = not (pd.isna(row["low"]) or pd.isna(row["high"]))
        x, a, b = (place(row[end]) for end in (("point", "low", "high") if known else ("point",) * 3))
        dots.append(Dot(label, TOP + STEP * (i + 0.5), x, a, b, mark, value(row)))
    ticks = [(place(t), f"{t:.6g}") for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high]
    at = None if best is None else place(best)
    return Panel(column.name, column.about, dots, ticks, at, left, TOP + STEP * len(rows) + 30)


def plot_of(title: str, frame: pd.DataFrame) -> Plot:
    """A panel a measure, for measures that two runs have."""
    kept = frame[np.isfinite(frame["point"])]
    marks = {run: i for i, run in enumerate(dict.fromkeys(kept["run"].astype(str)))}
    several = "gamma" in kept and kept["gamma"].nunique(dropna=False) > 1
    panels = []
    for name, column in columns_of(frame).items():
        rows = kept[kept["measure"] == name]
        if len(rows) < 2:
            continue
        order = rows.sort_values("gamma", kind="stable") if several else rows
        told = [
            (f"{row['run']} γ {row['gamma']:g}" if several else str(row["run"]), marks[str(row["run"])], row)
            for row in order.to_dict("records")
        ]
        panels.append(panel(column, told, rows["ideal"].iloc[0] if "ideal" in rows else None))
    return Plot(title, panels)


# ---------------------------------------------------------------------------------------------------------------- runs


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
        config, made = yaml.safe_load((path / "config.yaml").read_text()), folder.read_json("provenance.json") or {}
        float(config["sampler"]["guidance"]["scale"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
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
            parts = [tier, f"γ {gamma:g}", f"{shape[-1]} × {shape[-2]}" if sizes > 1 else ""]
            many = f" ({k + 1} of {len(mates)})" if len(mates) > 1 else ""
            found.append(Group(" · ".join(filter(None, parts)) + many, members, shared))
    return found


# ------------------------------------------------------------------------------------------------------------- pictures


def pixels(image: np.ndarray, side: int) -> np.ndarray:
    """[c, h, w] in [-1, 1] -> uint8 [h, w, 3], at most `side`. One channel is grey, of more than three the first three."""
    made = np.round(shown(image[: 3 if len(image) >= 3 else 1]) * 255).astype(np.uint8)
    if max(made.shape[:2]) <= side:
        return made
    scale = side / max(made.shape[:2])
    size = (max(1, round(made.shape[1] * scale)), max(1, round(made.shape[0] * scale)))
    return np.asarray(Image.fromarray(made).resize(size, Image.Resampling.LANCZOS))


def data_uri(picture: Image.Image, quality: int | None = None) -> str:
    """A picture as a WebP data URI; quality None: without loss."""
    buffer = io.BytesIO()
    if quality is None:
        picture.save(buffer, "WEBP", lossless=True, quality=60)
    else:
        picture.save(buffer, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def frames(views: np.ndarray) -> list[np.ndarray]:
    """What is shown of an object [views, c, h, w], a whole turn in at most SIDES steps; of a picture [c, h, w], itself."""
    return [views] if views.ndim == 3 else list(views[:: -(-len(views) // SIDES)])


def picture_uri(image: np.ndarray) -> str:
    """A picture [c, h, w], or an object [views, c, h, w] that turns, as a WebP data URI."""
    first, *others = (Image.fromarray(pixels(view, SIDE)) for view in frames(image))
    quality = None if first.width <= 64 else 88
    if not others:
        return data_uri(first, quality)
    buffer = io.BytesIO()
    first.save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=TURN // (len(others) + 1),
        loop=0,
        lossless=quality is None,
        quality=quality or 60,
    )
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def on_page(shape: Sequence[int], side: int) -> tuple[int, bool]:
    """(width on the page in CSS pixels, whether pixels are to be seen) of pictures [..., h, w]: whole multiples if small."""
    width = round(shape[-1] * min(1, side / max(shape[-2:])))
    return width * max(1, round(96 / width)), width < 64


def cost_of(groups: Sequence[Group], side: int, turning: bool) -> float:
    """Bytes at most of a picture of every run; turning: of objects, of all their sides that are shown."""
    return sum(
        len(group.runs)
        * (len(frames(run.images[0])) if turning else 1)
        * math.prod(min(side, n) for n in run.images.shape[-2:])
        * PER_PIXEL
        for group in groups
        for run in [group.runs[0][1]]
        if run.images is not None
    )


def grid_of(group: Group, n_items: int) -> Grid:
    """The first shared items of every run."""
    some, rows = group.items[:n_items], []
    for _, run in group.runs:
        assert run.images is not None
        place = {item: i for i, item in enumerate(run.items)}
        rows.append([picture_uri(run.images[place[item]]) for item in some])
    first = group.runs[0][1].images
    assert first is not None
    side, sharp = on_page(first.shape, SIDE)
    return Grid(
        group.title, [label for label, _ in group.runs], [name_of(item) for item in some], rows, side, sharp, first.ndim == 5
    )


def path_of(run: Run) -> dict[str, np.ndarray]:
    """trajectory.npz: x0, eps, kappa [states, items, c, h, w], sigma [states, items], index [states]. Raises ValueError."""
    assert run.images is not None
    try:
        found = run.folder.read_arrays("trajectory.npz")
        path = {name: found[name] for name in ("x0", "kappa", "sigma", "index")}
    except (ValueError, KeyError) as error:
        raise ValueError("trajectory.npz damaged") from error
    n = path["x0"].shape[1]
    if path["x0"].shape[2:] == run.images.shape[1:] and not np.array_equal(path["x0"][-1], run.images[:n], equal_nan=True):
        raise ValueError("trajectory.npz is of other items than the run's first shard")
    return path


def strip(states: np.ndarray, quality: int | None) -> str:
    """A film strip: states [n, c, h, w] in [-1, 1] beside each other; a state that is NaN throughout is grey."""
    frames = [pixels(np.zeros_like(state) if np.isnan(state).all() else state, FILM_SIDE) for state in states]
    return data_uri(Image.fromarray(np.concatenate(frames, axis=1)), quality)


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
        made["x0"].append(strip(x0, None if x0.shape[-1] <= 64 else 88))
        made["kappa"].append(
            None if np.isnan(kappa).all() else strip(scaled(kappa, std), None if kappa.shape[-1] <= 16 else 80)
        )
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
    first = paths[0][1].images
    assert first is not None
    shape = paths[0][2]["x0"].shape[2:]
    latent = shape != first.shape[-3:]
    made = [
        strips(label, path, [items.index(item) for item in some], n_states, latent)
        for (label, _, path), items in zip(paths, kept, strict=True)
    ]
    side, sharp = on_page(shape, FILM_SIDE)
    return Film(group.title, [name_of(item) for item in some], made, side, sharp, latent, first.ndim == 5), wrong


def films_of(groups: Sequence[Group]) -> tuple[list[Film], list[str]]:
    """(films, what is wrong), with as many items and states as there is room for."""
    able = [Group(g.title, [pair for pair in g.runs if pair[1].filmed], g.items) for g in groups]
    able = [group for group in able if group.runs]
    sizes = [(FILMED, STATES), (4, STATES), (4, 32), (2, 32), (2, 16), (1, 16)]
    n_items, n_states = next(
        (s for s in sizes if 2 * math.prod(s) * cost_of(able, FILM_SIDE, turning=False) / 1.6 <= FILM_BYTES), sizes[-1]
    )
    made = [film_of(group, n_items, n_states) for group in able]
    faults: dict[str, dict[str, None]] = {}
    for _, wrong in made:
        for why, which in wrong:
            faults.setdefault(why, {})[which] = None
    return [film for film, _ in made if film], [f"{why} ({', '.join(which)})" for why, which in faults.items()]


def figures_of(folder: Path) -> tuple[list[Figure], list[str]]:
    """(the figures beside the tables, the names of those for which there is no room or that can't be read)."""
    found, left_out, spent = [], [], 0
    for path in sorted(folder.glob("[!.]*.png")):
        try:
            with Image.open(path) as file:
                picture = file.convert("RGB")
        except OSError:
            left_out.append(path.name)
            continue
        uri = data_uri(picture)
        uri = uri if len(uri) < 1e6 else data_uri(picture, 85)
        if spent + len(uri) > FIGURE_BYTES:
            left_out.append(path.name)
            continue
        spent += len(uri)
        found.append(Figure(path.name, uri, picture.width, picture.height))
    return found, left_out


# ---------------------------------------------------------------------------------------------------------------- page


def facts_of(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What the runs were made with; what differs among them is listed."""
    made: dict[str, dict[str, None]] = {}
    for run in runs:
        said = {"results version": run.made.get("results_version"), "platform": run.made.get("platform")}
        said |= {"Python": run.made.get("python"), **run.made.get("versions", {})}
        for key, what in said.items():
            if what is not None:
                made.setdefault(key, {})[str(what)] = None
    return [("runs here", str(len(runs))), *((key, ", ".join(whats)) for key, whats in made.items())]


def about(run: Run, places: Sequence[Place], commands: Mapping[str, str]) -> About:
    """What is told of a run. commands: run folder -> the one that makes it alone."""
    alone = [("alone", commands[run.name])] if run.name in commands else []
    asked = run.made.get("command")
    labels = [" · ".join(filter(None, (place.tier, place.label))) for place in places]
    return About(
        run.name,
        labels,
        [*alone, *([("as it was run", asked)] if asked else [])],
        yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True),
        yaml.safe_dump({k: v for k, v in run.made.items() if k != "command"}, sort_keys=False),
    )


def tabled(
    frames: Mapping[str, pd.DataFrame], measures: pd.DataFrame, here: Sequence[str]
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(name, title, rows) of each table of measures: the tiers of an evaluation, then the sweeps."""
    if len(measures):
        tiers = measures.groupby("tier", sort=False) if "tier" in measures else [("measures", measures)]
        yield from ((f"tier {tier}", f"{tier}: measures", rows) for tier, rows in tiers)
    for name, frame in frames.items():
        if name not in ("measures", "differences", "claims") and set(frame) >= MEASURED:
            runs = ", ".join(dict.fromkeys(frame["run"].astype(str)))
            yield name, f"{name}: {runs if len(runs) <= 60 else runs[:57] + '…'}", frame


def prepare(folder: Path) -> Page:
    """All that the page shows of a folder. Raises ValueError, naming it, if there is nothing to show."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    frames = {path.stem: read(path) for path in sorted(folder.glob("[!.]*.csv"))}
    measures, differences, claims = (frames.get(name, pd.DataFrame()) for name in ("measures", "differences", "claims"))
    runs, wrong = runs_of(folder)
    here = [run.name for run in runs]
    measured_here = list(tabled(frames, measures, here))
    if not runs and not measured_here and not len(differences) and not len(claims):
        hint = "; it is a run itself, give the folder that holds it" if (folder / "shards").is_dir() else ""
        said = "".join(f"; {text}" for text in wrong)
        raise ValueError(f"{folder}: holds no finished run and no table of measures{hint}{said}")
    tables = [table_of(name, title, frame, here) for name, title, frame in measured_here]
    if len(claims):
        tables.append(pairs_of("claims", "Claims", claims, long=False))
    if len(differences):
        tiers = differences.groupby("tier", sort=False) if "tier" in differences else [("all", differences)]
        tables += [pairs_of(f"differences {tier}", f"{tier}: differences", rows, long=True) for tier, rows in tiers]
    plots = [plot_of(title, frame) for _, title, frame in measured_here]
    places = places_of(folder, frames, runs)
    groups = groups_of(runs, places)
    n_items = next((n for n in (ITEMS, 8, 6, 4, 2) if n * cost_of(groups, SIDE, turning=True) <= GRID_BYTES), 1)
    films, spoilt = films_of(groups)
    figures, left_out = figures_of(folder)
    commands = {}
    if {"results", "command"} <= set(measures):
        commands = dict(zip(measures["results"].astype(str), measures["command"].astype(str), strict=True))
    return Page(
        folder.resolve().name,
        facts_of(runs),
        [*lacks(frames, runs, commands), *wrong, *spoilt, *([f"figures left out: {', '.join(left_out)}"] if left_out else [])],
        words_of([frame for _, _, frame in measured_here]),
        tables,
        [plot for plot in plots if plot.panels],
        [grid_of(group, n_items) for group in groups],
        films,
        figures,
        [(path.name, path.read_text(errors="replace")) for path in sorted(folder.glob("[!.]*.txt"))],
        [about(run, places[run.name], commands) for run in runs],
    )


def counted(n: int) -> str:
    """1 run, 2 runs."""
    return f"{n} run" if n == 1 else f"{n} runs"


def lacks(frames: Mapping[str, pd.DataFrame], runs: Sequence[Run], commands: Mapping[str, str]) -> list[str]:
    """What is not in the folder."""
    found = []
    if not any(set(frame) >= MEASURED for frame in frames.values()):
        found.append("tables of measures (sweep-*.csv, measures.csv)")
    if "measures" in frames:
        found += [f"{name}.csv" for name in ("differences", "claims") if not len(frames.get(name, ()))]
        gone = set(commands) - {run.name for run in runs}
        if gone and runs:
            found.append(f"{len(gone)} of the {counted(len(commands))} in measures.csv")
    if not runs:
        found.append("runs, so there are no pictures")
    for why in dict.fromkeys(run.why for run in runs if run.why):
        found.append(f"pictures of {counted(sum(run.why == why for run in runs))} ({why})")
    unfilmed = sum(run.images is not None and not run.filmed for run in runs)
    if unfilmed:
        found.append(f"trajectory.npz of {counted(unfilmed)}")
    return found


def draw(page: Page) -> str:
    """The page as HTML."""
    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    films = [{"items": film.items, "runs": film.runs} for film in page.films]
    geometry = {"width": WIDTH, "right": WIDTH - RIGHT, "top": TOP, "letters": LETTERS, "marks": MARKS}
    return env.get_template("report.html.j2").render(page=page, at=geometry, film_data=films, turn=f"{TURN / 1000:g}")


def main() -> None:
    """Read a folder, write a page. Exit status 2 if there is nothing to show."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="results/<experiment>")
    parser.add_argument("--output", type=Path, help="the page to write; report.html in the folder if not said")
    args = parser.parse_args()
    output = args.output or args.folder / "report.html"
    try:
        html = draw(prepare(args.folder)).encode()
        write_whole(output, html)
    except (ValueError, OSError) as error:
        print(f"analysis.report: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"written: {output} ({len(html) / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
