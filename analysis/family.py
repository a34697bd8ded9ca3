"""python -m analysis.family: the table and figures of the experiment `family`, every method on the same items.

python -m sdi_bench.run experiment=family         # an hour in two processes (part=0/2, part=1/2)
python -m sdi_bench.evaluate experiment=family    # minutes: measures.csv, differences.csv, claims.csv
python -m analysis.family                         # seconds: tables.txt, frontier.png, pictures.png

What needs the runs (--runs) stays as it is without them: pictures.png.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sdi_bench.compare import ROW_USES
from sdi_bench.evaluate import TABLES, read_table
from sdi_bench.plotting.style import look, save, whiskers
from sdi_bench.store import write_whole

from .benchmark2d import block, pairs
from .figures.tiles import picture
from .runs import Runs
from .trained import Lines, draw_lines

matplotlib.use("Agg")
from matplotlib import pyplot as plt

FOLDER = Path(__file__).resolve().parent.parent / "results" / "family"

TITLES = {
    "steps": "the built-in prior, 64 val captions, 50 levels each",
    "rows": "the same, some 554 network rows an image each",
    "seeds": "the built-in prior, 16 prompts, four seeds each, 50 levels",
    "trained": "the trained prior, 32 val captions of names it knows, 50 levels each",
    "trained, rows": "the first 16 of them, some 554 network rows an image each",
    "objects": "the built-in prior in 3D, 20 prompts, 400 steps of Adam each",
}

COLUMNS = {
    "kd_effnet": "KD real",
    "rprec": "rprec",
    "tclip": "tclip",
    "contrast": "contrast",
    "sharpness": "sharpness",
    "saturation": "saturation",
    "lpips": "LPIPS to ddim",
    "novelty": "novelty",
    "diversity": "diversity",
    "vendi": "Vendi",
    "named": "named",
    "view": "view",
    "to_shape": "PSNR to shape",
    "silhouette": "silhouette",
}
"""measure -> how it is headed."""

PRIORS = {"the built-in prior": ("steps", "rows"), "the trained prior": ("trained", "trained, rows")}
"""prior -> its tiers of equal steps and of equal rows."""

QUALITY = {"kd_effnet": "KD to real pictures (lower is better)", "sharpness": "sharpness, log ratio to real pictures"}

GAMMA = 3.0

SHOWN = {"steps": (0, 2, 5, 6, 11, 12, 13, 15), "trained": (0, 3, 6, 9, 12, 13)}
"""tier -> places in its list of items of those that are shown: among the first 16, which all rows have."""


def tables(measures: pd.DataFrame, differences: pd.DataFrame, claims: pd.DataFrame) -> str:
    """All tables as text."""
    parts = []
    for tier, rows in measures.groupby("tier", sort=False):
        there = set(rows.dropna(subset=["point"])["measure"])
        shown = {name: head for name, head in COLUMNS.items() if name in there}
        parts.append(f"{tier}: {TITLES[str(tier)]}\n\n{block(rows.sort_values('gamma', kind='stable'), shown)}")
    for tier, rows in claims.groupby("tier", sort=False) if len(claims) else ():
        parts.append(f"{tier}: claims of each paper about its own method\n\n{pairs(rows)}")
    for tier, rows in differences.groupby("tier", sort=False) if len(differences) else ():
        parts.append(f"{tier}: differences from {rows['b'].iloc[0]} at the same gamma\n\n{pairs(rows)}")
    return "\n\n\n".join(parts) + "\n"


def prepare_frontier(measures: pd.DataFrame) -> pd.DataFrame:
    """prior, equal (steps or rows), run, measure, spent (network rows an image), point, low, high; at guidance 3."""
    found = []
    for prior, tiers in PRIORS.items():
        for equal, tier in zip(("steps", "rows"), tiers, strict=True):
            here = (measures["tier"] == tier) & (measures["gamma"] == GAMMA) & measures["measure"].isin(list(QUALITY))
            found.append(measures[here].dropna(subset=["point"]).assign(prior=prior, equal=equal))
    table = pd.concat(found, ignore_index=True)
    table["spent"] = table[[f"rows_{use}" for use in ROW_USES if f"rows_{use}" in table]].sum(axis=1)
    return table[["prior", "equal", "run", "measure", "spent", "point", "low", "high"]]


def apart(places: np.ndarray, gap: float) -> np.ndarray:
    """Places in the same order, at least gap from each other, their mean kept."""
    order = np.argsort(places, kind="stable")
    moved = places[order].astype(float)
    for _ in range(1000):
        close = np.maximum(gap - np.diff(moved), 0)
        if close.max(initial=0) < 1e-3 * gap:
            break
        moved[:-1] -= close / 2
        moved[1:] += close / 2
    found = np.empty_like(moved)
    found[order] = moved
    return found


def beside(spent: pd.Series) -> pd.Series:
    """Rows an image of one panel's points, those within a tenth of their neighbours spread by a tenth about their middle."""
    order = spent.sort_values(kind="stable")
    heap = (order / order.shift() > 1.1).cumsum()
    return order.groupby(heap).transform(lambda some: some.median() * 1.1 ** np.linspace(-1, 1, len(some) + 2)[1:-1])


def draw_panel(axis: Axes, rows: pd.DataFrame) -> None:
    """A method's points at equal steps (full) and at equal rows (hollow), joined, with its name beside the last of them."""
    styles = look(list(rows["run"]))
    rows, ends = rows.assign(spent=beside(rows["spent"])), []
    for run, found in rows.groupby("run", sort=False):
        style = styles[str(run)] | {"linestyle": "none"}
        colour = style["color"]
        axis.plot(found["spent"], found["point"], color=colour, linewidth=0.7, alpha=0.5)
        for equal, some in found.groupby("equal"):
            face = {"markerfacecolor": colour if equal == "steps" else "white", "elinewidth": 0.8}
            axis.errorbar(some["spent"], some["point"], yerr=whiskers(some), **style | face)
        last = found.iloc[-1]
        ends.append((run, colour, last["spent"], last["point"]))
    axis.set_xscale("log")
    axis.set_xticks([100, 200, 500, 1000], ["100", "200", "500", "1000"])
    axis.minorticks_off()
    axis.set_xlim(80, 2600)
    low, high = axis.get_ylim()
    places = apart(np.array([point for *_, point in ends]), (high - low) / 22)
    for (run, colour, spent, point), place in zip(ends, places, strict=True):
        line: dict[str, Any] = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.6, "shrinkA": 0, "shrinkB": 3}
        where: dict[str, Any] = {"xytext": (1350, place), "va": "center", "arrowprops": line}
        axis.annotate(str(run), (spent, point), fontsize=7.5, color=colour, **where)
    edge = (high - low) / 40
    axis.set_ylim(min(low, places.min() - edge), max(high, places.max() + edge))


def draw_frontier(table: pd.DataFrame, path: Path) -> None:
    """Quality over network rows, a column a prior, a line a measure."""
    priors = list(dict.fromkeys(table["prior"]))
    size = (5.6 * len(priors), 4.6 * len(QUALITY))
    figure, axes = plt.subplots(len(QUALITY), len(priors), figsize=size, layout="constrained", squeeze=False)
    for line, (measure, title) in zip(axes, QUALITY.items(), strict=True):
        for axis, prior in zip(line, priors, strict=True):
            draw_panel(axis, table[(table["measure"] == measure) & (table["prior"] == prior)])
            axis.set_title(f"{prior}, γ {GAMMA:g}", fontsize=9)
            axis.set_ylabel(title, fontsize=8)
            axis.set_xlabel("network rows an image (equal ones are spread)", fontsize=8)
            axis.tick_params(labelsize=8)
            if measure == "sharpness":
                axis.axhline(0, color="0.5", linewidth=0.7)
    shape: dict[str, Any] = {"color": "0.4", "marker": "o", "linestyle": "none"}
    marks = [Line2D([], [], label="50 levels", **shape)]
    if "rows" in set(table["equal"]):
        marks += [Line2D([], [], label="as many rows as sdi with 50 levels", markerfacecolor="white", **shape)]
    figure.legend(handles=marks, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    save(figure, path)


def draw_pictures(measures: pd.DataFrame, runs: Runs, path: Path) -> None:
    """The same items in columns, those of each prior together, a line a method that was measured, 50 levels each."""
    titles, columns = [], []
    for tier, places in SHOWN.items():
        there = set(measures[measures["tier"] == tier]["run"])
        if not there:
            continue
        made = {run.row: run for run in runs.tier(tier) if run.gamma == GAMMA and run.row in there}
        fewest = min((run.images[0] for run in made.values()), key=len)
        items = [fewest[place] for place in places]
        titles += [str(item.prompt).replace(" emoji", "") for item in items]
        columns.append((made, items))
    names = [name for name in columns[0][0] if all(name in made for made, _ in columns)]
    lines: Lines = [
        (name, [picture(made[name], str(item.prompt), item.seed) for made, items in columns for item in items])
        for name in names
    ]
    draw_lines(lines, titles, path)


def main() -> None:
    """Tables and figures beside the csv files."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.family", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--runs", type=Path, default=Path("results/family"), help="where the runs are")
    options = parser.parse_args()
    measures, differences, claims = (read_table(options.folder / f"{name}.csv") for name in TABLES)
    text = tables(measures, differences, claims)
    write_whole(options.folder / "tables.txt", text.encode())
    draw_frontier(prepare_frontier(measures), options.folder / "frontier.png")
    if (options.runs / "index.json").exists():
        draw_pictures(measures, Runs(options.runs), options.folder / "pictures.png")
    print(text)


if __name__ == "__main__":
    main()
