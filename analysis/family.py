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

from sdi_bench.compare import ROW_USES
from sdi_bench.evaluate import TABLES, read_table
from sdi_bench.plotting.style import captioned, look, panels, save, whiskers
from sdi_bench.store import write_whole

from .benchmark2d import block, pairs
from .figures.tiles import picture
from .runs import Runs
from .trained import Lines, draw_lines

matplotlib.use("Agg")

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

QUALITY = {"kd_effnet": "KD to real pictures (less is better)", "sharpness": "sharpness, log ratio to real pictures"}

KINDS = {
    "as it is: formulas, SDS": ["ddim", "sds", "ddim, flow", "sds, flow"],
    "another noise": ["sdi", "dsd", "cfd", "ucm", "rfds_rev"],
    "another direction": ["ism", "csd", "nfsd", "bridge", "asd", "vsd", "msd"],
    "steps of Adam": ["sjc", "hifa", "rfds"],
}
"""What a method is told apart by -> the rows."""

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


def draw_frontier(table: pd.DataFrame, path: Path) -> None:
    """A line a method, a column a measure of each prior: at 50 levels (full), and at as many rows as sdi (hollow)."""
    panes = [(prior, measure) for prior in dict.fromkeys(table["prior"]) for measure in QUALITY]
    names = [run for runs in KINDS.values() for run in runs if run in set(table["run"])]
    places = {run: place for place, run in enumerate(names)}
    looks = look(names)
    figure, axes = panels(1, len(panes), width=3.1, height=0.24 * len(names) + 1.1)
    for axis, (prior, measure) in zip(axes[0], panes, strict=True):
        rows = table[(table["prior"] == prior) & (table["measure"] == measure)]
        for (run, equal), some in rows.groupby(["run", "equal"]):
            about: dict[str, Any] = {
                "color": looks[str(run)]["color"],
                "marker": looks[str(run)]["marker"],
                "linestyle": "none",
            }
            about |= {"markersize": 4.5, "linewidth": 0.9}
            about["markerfacecolor"] = about["color"] if equal == "steps" else "white"
            place = places[str(run)] + (-0.16 if equal == "steps" else 0.16)
            axis.errorbar(some["point"], [place] * len(some), xerr=whiskers(some), **about)
        axis.axvline(0, color="0.5", linewidth=0.7)
        for group in np.cumsum([sum(run in places for run in runs) for runs in KINDS.values()])[:-1]:
            axis.axhline(group - 0.5, color="0.85", linewidth=0.7)
        axis.set_title(f"{prior}, γ {GAMMA:g}", fontsize=9)
        axis.set_xlabel(QUALITY[measure], fontsize=8)
        axis.tick_params(labelsize=8)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_yticks(range(len(names)), [""] * len(names))
    spent = table[table["equal"] == "steps"].groupby("run")["spent"].median()
    axes[0][0].set_yticks(
        range(len(names)), [f"{run} ({spent[run]:.0f})" if run in spent else run for run in names], fontsize=8
    )
    captioned(
        figure,
        "Full: 50 levels, for as many network rows an image as stands beside the name. Hollow: some 554 rows, what SDI takes "
        "for 50 levels. Bars are 95 % intervals over concepts. From above: formulas and SDS; another noise; another direction; "
        "steps of Adam.",
    )
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
