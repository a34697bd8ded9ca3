"""Tables of measures, to sort: a row a run, or a row a pair of runs and measure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..compare import EXPLAINED, clustering, missing, spent, value
from ..reading import MEASURED


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
    used = spent(row)
    known = all(key_of(rows) is not None for rows in used)
    rows = Cell("/".join(f"{rows:.4g}" for rows in used), float(sum(used))) if known else Cell("–", None)
    return [rows, number(row.get("seconds"), ".3f"), number(row.get("diverged"), ".0f")]


COSTS = (
    Column(
        "rows c/u/inv/oth",
        "an image",
        "network rows an image: conditional/unconditional/inversion/other, /training where a student is",
    ),
    Column("seconds", "an image", "seconds an image"),
    Column("diverged", "items", "items with a pixel not finite or beyond ±100"),
)


def words_of(frames: Sequence[pd.DataFrame]) -> list[str]:
    """What the measures are, for all tables at once."""
    measures = {name for frame in frames for name in frame.loc[frame["point"].notna(), "measure"]}
    known = [text for names, text in EXPLAINED.items() if measures & set(names.split(", "))]
    return ["! after a number: more than 1 % of the items diverged.", *known] if measures else []


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
    return Table(name, title, head, lines, [*clustering(frame), *missing(frame)])


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
    return Table(name, title, head, lines, clustering(frame), long)


def tabled(frames: Mapping[str, pd.DataFrame], measures: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(name, title, rows) of each table of measures: the tiers of an evaluation, then the sweeps."""
    if len(measures):
        tiers = measures.groupby("tier", sort=False) if "tier" in measures else [("measures", measures)]
        yield from ((f"tier {tier}", f"{tier}: measures", rows) for tier, rows in tiers)
    for name, frame in frames.items():
        if name not in ("measures", "differences", "claims") and set(frame) >= MEASURED:
            runs = ", ".join(dict.fromkeys(frame["run"].astype(str)))
            yield name, f"{name}: {runs if len(runs) <= 60 else runs[:57] + '…'}", frame
