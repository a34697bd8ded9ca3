"""The page: all that a folder holds, in order, written as HTML."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..reading import MEASURED, Place, Run, groups_of, places_of, read_table, runs_of
from .figures import Figure, figures_of
from .films import Film, films_of
from .grids import Grid, grids_of
from .plots import LETTERS, RIGHT, SHAPES, TOP, WIDTH, Plot, plot_of
from .tables import Table, pairs_of, table_of, tabled, words_of


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
    versions: Sequence[tuple[str, str]]
    lacking: Sequence[str]
    words: Sequence[str]
    tables: Sequence[Table]
    plots: Sequence[Plot]
    grids: Sequence[Grid]
    films: Sequence[Film]
    figures: Sequence[Figure]
    texts: Sequence[tuple[str, str]]
    runs: Sequence[About]


def listed(said: Iterable[Mapping[str, object]]) -> list[tuple[str, str]]:
    """What all of them say, by key; what differs among them is listed."""
    made: dict[str, dict[str, None]] = {}
    for one in said:
        for key, what in one.items():
            if what is not None:
                made.setdefault(key, {})[str(what)] = None
    return [(key, ", ".join(whats)) for key, whats in made.items()]


def facts_of(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What the runs were made with, but for the versions of packages."""
    keys = {"results version": "results_version", "platform": "platform", "Python": "python"}
    return [("runs here", str(len(runs))), *listed({name: run.made.get(key) for name, key in keys.items()} for run in runs)]


def about(run: Run, places: Sequence[Place], commands: Mapping[str, str]) -> About:
    """What is told of a run. commands: run folder -> the one that makes it alone."""
    alone = [("alone", commands[run.name])] if run.name in commands else []
    records = [*run.made.get("earlier", []), run.made]
    asked = [("as it was run" + (f", {made['date']}" if "date" in made else ""), made.get("command")) for made in records]
    labels = [" · ".join(filter(None, (place.tier, place.label))) for place in places]
    return About(
        run.name,
        labels,
        [*alone, *((how, command) for how, command in asked if command)],
        yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True),
        yaml.safe_dump({k: v for k, v in run.made.items() if k != "command"}, sort_keys=False),
    )


def prepare(folder: Path) -> Page:
    """All that the page shows of a folder. Raises ValueError, naming it, if there is nothing to show."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    frames = {path.stem: read_table(path) for path in sorted(folder.glob("[!.]*.csv"))}
    measures, differences, claims = (frames.get(name, pd.DataFrame()) for name in ("measures", "differences", "claims"))
    runs, wrong = runs_of(folder)
    here = [run.name for run in runs]
    measured_here = list(tabled(frames, measures))
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
    films, spoilt = films_of(groups)
    figures, left_out = figures_of(folder)
    commands = {}
    if {"results", "command"} <= set(measures):
        commands = dict(zip(measures["results"].astype(str), measures["command"].astype(str), strict=True))
    return Page(
        folder.resolve().name,
        facts_of(runs),
        listed(run.made.get("versions", {}) for run in runs),
        [*lacks(frames, runs, commands), *wrong, *spoilt, *([f"figures left out: {', '.join(left_out)}"] if left_out else [])],
        words_of([frame for _, _, frame in measured_here]),
        tables,
        [plot for plot in plots if plot.panels],
        grids_of(groups),
        films,
        figures,
        [(path.name, path.read_text("utf-8", errors="replace")) for path in sorted(folder.glob("[!.]*.txt"))],
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
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    films = [{"items": film.items, "runs": film.runs} for film in page.films]
    geometry = {"width": WIDTH, "right": WIDTH - RIGHT, "top": TOP, "letters": LETTERS, "shapes": list(SHAPES.values())}
    return env.get_template("page.html.j2").render(page=page, at=geometry, film_data=films)
