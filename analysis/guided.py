"""python -m analysis.guided: tables and pictures of the experiment `guided`, the paper's claims on the built-in prior.

python -m sdi_bench.run experiment=guided         # an hour in two processes (part=0/2, part=1/2)
python -m sdi_bench.evaluate experiment=guided    # minutes: measures.csv, differences.csv, claims.csv
python -m analysis.guided                         # seconds: tables.txt and the figures

What needs the runs (--runs) stays as it is without them: pictures.png and objects.png.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from sdi_bench.evaluate import TABLES, read_table
from sdi_bench.models.builtin import pictures
from sdi_bench.store import write_whole

from . import benchmark3d
from .figures.correlation import Correlation
from .figures.residual import Residual
from .figures.scatter import Scatter
from .figures.tiles import picture, place_of
from .plot import Figure
from .runs import Runs
from .trained import SOLVERS, Lines, draw_lines, draw_probes, run_at, told

FOLDER = Path(__file__).resolve().parent.parent / "results" / "guided"

TITLES = {
    "pictures": "the first 192 val captions at 32 x 32, each sampler on the same items",
    "objects": "text to 3D: 20 prompts, one seed, 48 pictures around each object",
    "inversion steps guided": "the default prompts, four seeds, over the number of inversion steps",
}

PROBES: dict[str, Figure] = {
    "residual": Residual(["residual guided"], ["on DDIM's path", "on real images"], SOLVERS, gamma=3.0),
    "scatter": Scatter(["scatter guided"], ["paths guided"]),
    "correlation": Correlation(["paths guided"], ["previous", "sds", "fixed", "sdi"]),
}
"""The figures of the experiment `understanding` that are drawn for it."""

GAMMAS = (1.0, 3.0, 7.5)

N_SHOWN = 12
"""Items whose pictures are shown, evenly from all."""

OBJECTS = ("a red motorbike", "a brown table", "a white sofa")


def tables(measures: pd.DataFrame, differences: pd.DataFrame, claims: pd.DataFrame) -> str:
    """All tables as text."""
    return told(measures, differences, claims, "built-in", TITLES, {})


def draw_pictures(runs: Runs, path: Path) -> None:
    """The same items in columns: a held-out picture of the caption, then each sampler at each guidance; previous is ddim."""
    made = [(run, gamma) for gamma in GAMMAS for run in runs.tier("pictures") if run.gamma == gamma and run.row != "previous"]
    items = made[0][0].images[0]
    chosen = [items[k] for k in np.linspace(0, len(items) - 1, N_SHOWN).round().astype(int)]
    held = pictures()[1]
    size = made[0][0].images[1].shape[-1]
    real = [held[item.prompt][0].reshape(3, size, 64 // size, size, 64 // size).mean((2, 4)) / 127.5 - 1 for item in chosen]
    lines: Lines = [("held-out picture", real)]
    lines += [(f"{run.row}, γ {gamma:g}", [picture(run, item.prompt, item.seed) for item in chosen]) for run, gamma in made]
    draw_lines(lines, [item.prompt.replace(" emoji", "") for item in chosen], path)


def draw_objects(runs: Runs, path: Path) -> None:
    """Each prompt: the nearest true object, and what the samplers made, from the eight known angles."""
    lines: Lines = []
    for prompt in OBJECTS:
        made = []
        for gamma in GAMMAS:
            for row in ("sds", "sdi"):
                run = run_at(runs, "objects", row, gamma)
                if run is not None:
                    items, images = run.images
                    made.append((f"{row}, γ {gamma:g}", images[place_of(items, prompt, 0)][::6]))
        lines += [(f"{prompt}: true, nearest", benchmark3d.truth(prompt, made[0][1])), *made]
    draw_lines(lines, [f"{45 * k}°" for k in range(8)], path)


def main() -> None:
    """Tables and pictures beside the csv files."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.guided", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--runs", type=Path, default=Path("results/guided"), help="where the runs are")
    options = parser.parse_args()
    measures, differences, claims = (read_table(options.folder / f"{name}.csv") for name in TABLES)
    text = tables(measures, differences, claims)
    write_whole(options.folder / "tables.txt", text.encode())
    runs = Runs(options.runs)
    draw_probes(PROBES, runs, options.folder)
    if (options.runs / "index.json").exists():
        draw_pictures(runs, options.folder / "pictures.png")
        draw_objects(runs, options.folder / "objects.png")
    print(text)


if __name__ == "__main__":
    main()
