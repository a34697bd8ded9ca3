"""python -m analysis.plot figure=all: every figure of the experiment `understanding`, from stored runs.

    python -m sdi_bench.run experiment=understanding          some hours: runs
    python -m sdi_bench.evaluate experiment=understanding     minutes: measures.csv
    python -m analysis.plot figure=all                        a minute: <figure>.csv, <figure>.png, FIGURES.md

figure=residual,paths: these. runs=, output=: folders, by default results/understanding. The same runs give the same csv bytes.
Where there are no runs, figures are drawn anew from the csv files; pictures of samples stay as they are.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import matplotlib
import pandas as pd
import yaml

from sdi_bench.command_line import conf_dir
from sdi_bench.reading import read_table
from sdi_bench.store import INDEX, write_whole
from sdi_bench.texts import near_match

from .runs import Runs

matplotlib.use("Agg")
FOLDER = Path(__file__).resolve().parent.parent / "results" / "understanding"
SETTINGS = ("figure", "runs", "output")


@runtime_checkable
class Figure(Protocol):
    """A figure: numbers first, ink from the numbers."""

    def prepare(self, runs: Runs) -> pd.DataFrame:
        """The tidy table behind the figure. Raises ValueError, saying what to run, where runs are missing."""

    def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
        """Write a PNG. `runs` is for pictures alone; every number shown stands in the table."""


@runtime_checkable
class Pictured(Protocol):
    """A figure of numbers that has samples beside it, in a file of their own."""

    def draw_pictures(self, runs: Runs, path: Path) -> None:
        """Write a PNG of samples."""


def tabled(figure: Figure, runs: Runs, path: Path) -> pd.DataFrame:
    """The table behind a figure as its csv holds it: written from the runs where these are there, else the one that lies there.

    Raises ValueError, saying what to run, where neither is.
    """
    if (runs.folder / INDEX).is_file() or not path.is_file():
        write_whole(path, figure.prepare(runs).to_csv(index=False, float_format="%.6g").encode())
    return read_table(path)


@dataclass(frozen=True)
class Named:
    """A figure of conf/figure: title; where (section or figure of the thesis or paper); claim (theirs); seen (ours)."""

    name: str
    figure: Figure
    title: str
    where: str
    claim: str
    seen: str


def named(name: str) -> Named:
    """The figure that a yaml describes. Raises ValueError if there is none of that name."""
    from hydra.utils import instantiate

    path = conf_dir() / "figure" / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"figure={name!r}: {near_match(name, names())}")
    said: dict[str, Any] = yaml.safe_load(path.read_text())
    words = {key: " ".join(str(said.pop(key)).split()) for key in ("title", "where", "claim", "seen")}
    return Named(name, instantiate(said, _convert_="all"), **words)


def names() -> list[str]:
    """All figures."""
    return sorted(path.stem for path in (conf_dir() / "figure").glob("*.yaml"))


def page(figures: Sequence[Named]) -> str:
    """The figures with their captions."""
    parts = ["# Understanding: figures\n\nMade by `python -m analysis.plot figure=all`; the numbers of each are in its csv."]
    for one in figures:
        claim = f"**The paper** ({one.where}): {one.claim}\n\n" if one.claim != "-" else ""
        samples = f"![Samples: {one.title}]({one.name}_pictures.png)\n\n" if isinstance(one.figure, Pictured) else ""
        shown = f"![{one.title}]({one.name}.png)\n\n{samples}"
        parts.append(f"## {one.title}\n\n{shown}{claim}**Here**: {one.seen}  ([csv]({one.name}.csv))")
    return "\n\n".join(parts) + "\n"


def plot(which: Sequence[str], runs: Runs, output: Path) -> None:
    """Write csv and png of each figure; all that can be made are made before what is missing is told.

    Without runs, those are drawn that a csv is enough for.
    """
    missing = []
    for name in which:
        one = named(name)
        try:
            table = tabled(one.figure, runs, output / f"{name}.csv")
            one.figure.draw(table, runs, output / f"{name}.png")
            print("written:", output / f"{name}.csv", output / f"{name}.png")
            if isinstance(one.figure, Pictured):
                one.figure.draw_pictures(runs, output / f"{name}_pictures.png")
        except ValueError as why:
            missing.append(f"{name}: {why}")
    if missing:
        raise ValueError("; ".join(missing))


def main() -> None:
    """Exit status 2 for bad input."""
    words = {word.partition("=")[0]: word.partition("=")[2] for word in sys.argv[1:]}
    try:
        if {"-h", "--help"} & set(words):
            print(__doc__, f"figures: {', '.join(names())}")
            return
        for key in words:
            if key not in SETTINGS:
                raise ValueError(f"{key}: no such setting; {near_match(key, SETTINGS)}")
        runs = Runs(Path(words.get("runs", FOLDER)))
        output = Path(words.get("output", runs.folder))
        asked = words.get("figure", "all")
        which = names() if asked == "all" else asked.split(",")
        for name in which:
            named(name)
        if asked == "all":
            write_whole(output / "FIGURES.md", page([named(name) for name in which]).encode())
        plot(which, runs, output)
    except ValueError as error:
        print(f"analysis.plot: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
