"""python -m analysis.trained: tables and figures of the experiment `trained`, the trained prior beside the built-in one.

python -m sdi_bench.run experiment=trained         # an hour: samples, fields, probes
python -m sdi_bench.evaluate experiment=trained    # minutes: measures.csv, differences.csv, claims.csv
python -m analysis.trained                         # seconds: tables.txt and the figures

What needs the runs (--runs) stays as it is without them: samples.png and objects.png.
"""

import argparse
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from sdi_bench.data.world import World
from sdi_bench.evaluate import TABLES, read_table
from sdi_bench.plotting.style import ordered, panels, save, tile, whiskers
from sdi_bench.store import write_whole

from . import benchmark3d
from .benchmark2d import LOOK, best, block, draw_curves, pairs, prepare_curves
from .figures.correlation import Correlation
from .figures.residual import Residual
from .figures.scatter import Scatter
from .figures.tiles import picture, place_of
from .plot import Figure, tabled
from .runs import Run, Runs
from .text import PRIORS, titled

matplotlib.use("Agg")
from matplotlib import pyplot as plt

FOLDER = Path(__file__).resolve().parent.parent / "results" / "trained"

TITLES = {
    "tune": "the trained prior over guidance, on 144 tuning captions",
    "furniture": "the trained prior, 256 val captions of names it knows (sdi, ism: 128), each sampler on the same items",
    "furniture, builtin": "the built-in prior on these items",
    "objects": "text to 3D by the trained prior: 20 prompts, one seed, 48 pictures around each object",
}

TEXT = {
    "kd_effnet": "KD real",
    "rprec": "rprec",
    "tclip": "tclip",
    "view": "view",
    "novelty": "novelty",
    "lpips": "LPIPS to ddim",
}
FIELD = {
    "rprec5": "in top 5",
    "named": "named",
    "janus": "Janus",
    "to_shape": "PSNR",
    "shape_lpips": "LPIPS",
    "silhouette": "IoU",
    "chamfer": "Chamfer",
    "floaters": "floaters",
}
"""measure -> how it is headed."""

BESIDE = ("rprec", "kd_effnet", "sharpness", "saturation")
"""The measures whose differences from ddim are drawn for both priors."""
MODELS = {"furniture": "trained", "furniture, builtin": "builtin"}
"""tier -> model."""

SHOWN = {
    "furniture, builtin": [("ddim", 1.0), ("sds", 1.0), ("sdi", 1.0), ("ddim", 3.0), ("sds", 3.0), ("sdi", 3.0), ("ism", 3.0)],
    "furniture": [
        ("ddim", 1.0),
        ("sds", 1.0),
        ("sdi", 1.0),
        ("ddim", 3.0),
        ("sds", 3.0),
        ("sdi", 3.0),
        ("sdi, t_min .2", 3.0),
        ("ism", 3.0),
    ],
}
"""tier -> (row, gamma) of the pictures that are shown."""

OBJECTS = [("sds", 1.0), ("sdi", 1.0), ("sdi, t_min .2", 1.0), ("sds", 7.5), ("sdi", 7.5)]


def told(
    measures: pd.DataFrame,
    differences: pd.DataFrame,
    claims: pd.DataFrame,
    on: str,
    titles: Mapping[str, str],
    remarks: Mapping[str, str],
) -> str:
    """All tables of an experiment as text. on: the prior of the claims. titles, remarks: of tiers, above and below."""
    parts = []
    for tier, rows in measures.groupby("tier", sort=False):
        there = set(rows.dropna(subset=["point"])["measure"])
        blocks = [{name: head for name, head in columns.items() if name in there} for columns in (TEXT, LOOK, FIELD)]
        shown = [block(rows.sort_values("gamma", kind="stable"), columns) for columns in blocks if columns]
        remark = [remarks[str(tier)]] if tier in remarks else []
        parts.append("\n\n".join([f"{tier}: {titles[str(tier)]}", *shown, *remark]))
    if len(claims):
        parts.append(f"claims of arXiv 2405.15891, on the {on} prior\n\n{pairs(claims)}")
    for tier, rows in differences.groupby("tier", sort=False) if len(differences) else ():
        base = "sds" if str(tier).startswith("objects") else "ddim"
        parts.append(f"{tier}: differences from {base} at the same gamma\n\n{pairs(rows)}")
    return "\n\n\n".join(parts) + "\n"


def tables(measures: pd.DataFrame, differences: pd.DataFrame, claims: pd.DataFrame) -> str:
    """All tables as text."""
    lowest = ", ".join(f"{run} {gamma:g}" for run, gamma in best(measures, "kd_effnet").items())
    return told(measures, differences, claims, "trained", TITLES, {"tune": f"gamma of the lowest KD: {lowest}"})


def prepare_beside(differences: pd.DataFrame) -> pd.DataFrame:
    """Samplers less ddim on the same items: model, gamma, run, measure, point, low, high."""
    some = differences[differences["tier"].isin(list(MODELS)) & differences["measure"].isin(list(BESIDE))]
    some = some[some["a"] != "previous"].assign(model=some["tier"].map(MODELS)).rename(columns={"a": "run"})
    return some[["model", "gamma", "run", "measure", "point", "low", "high"]].dropna(subset="point")


def draw_beside(table: pd.DataFrame, path: Path) -> None:
    """A line a sampler, a panel a measure; the marker says which model, the shade which gamma."""
    runs = list(dict.fromkeys(table["run"]))[::-1]
    kinds = sorted({(model, gamma) for model, gamma in zip(table["model"], table["gamma"], strict=True)}, reverse=True)
    shades = ordered([f"{gamma:g}" for gamma in sorted(table["gamma"].unique())])
    figure, (axes,) = panels(1, len(BESIDE), width=3.05, height=0.62 * len(runs) + 1.0, sharey=True)
    for axis, measure in zip(axes, BESIDE, strict=True):
        for k, (model, gamma) in enumerate(kinds):
            rows = table[(table["measure"] == measure) & (table["model"] == model) & (table["gamma"] == gamma)]
            places = [runs.index(run) + 0.14 * ((len(kinds) - 1) / 2 - k) for run in rows["run"]]
            style = shades[f"{gamma:g}"] | {"marker": "o" if model == "trained" else "s", "linestyle": "none"}
            axis.errorbar(rows["point"], places, xerr=whiskers(rows), label=f"{PRIORS[model]}, γ {gamma:g}", **style)
        axis.axvline(0, color="0.5", linewidth=0.7)
        axis.set_title(f"{titled(measure)},\nless ddim's", fontsize=9)
        axis.set_yticks(range(len(runs)), runs, fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="x", linewidth=0.3)
        for place in range(1, len(runs)):
            axis.axhline(place - 0.5, color="0.8", linewidth=0.6)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(kinds), fontsize=8, frameon=False)
    save(figure, path)


def run_at(runs: Runs, tier: str, row: str, gamma: float) -> Run | None:
    """A tier's finished run of a row at a guidance, if there is one."""
    return next((run for run in runs.tier(tier) if run.row == row and run.gamma == gamma), None)


Lines = list[tuple[str, Iterable[np.ndarray]]]
"""Named lines of pictures."""


def draw_lines(lines: Lines, titles: Sequence[str], path: Path) -> None:
    """A title above each column, in lines that fit it."""
    titles = ["\n".join(textwrap.wrap(title, 14)) for title in titles]
    size = (0.86 * len(titles) + 1.7, 0.86 * len(lines) + 0.5)
    figure, axes = plt.subplots(len(lines), len(titles), figsize=size, layout="constrained")
    for i, (name, images) in enumerate(lines):
        for k, image in enumerate(images):
            tile(axes[i][k], image, name if k == 0 else "", titles[k] if i == 0 else "")
    save(figure, path)


def draw_samples(runs: Runs, prompts: Sequence[str], path: Path) -> None:
    """The same items in columns: a held-out picture of the caption, then each model and sampler."""
    world = World.open().where("val", "object")
    lines: Lines = []
    pixels = world.pixels(32)
    lines.append(("held-out picture", [pixels[list(world.table["caption"]).index(prompt)] for prompt in prompts]))
    for tier, rows in SHOWN.items():
        for row, gamma in rows:
            run = run_at(runs, tier, row, gamma)
            if run is not None:
                lines.append((f"{PRIORS[MODELS[tier]]}: {row}, γ {gamma:g}", [picture(run, prompt, 0) for prompt in prompts]))
    draw_lines(lines, [prompt.replace("a ", "", 1) for prompt in prompts], path)


def draw_objects(runs: Runs, prompts: Sequence[str], path: Path) -> None:
    """Each prompt: the nearest true object, and what the samplers made, from the eight known angles."""
    lines: Lines = []
    for prompt in prompts:
        made: list[tuple[str, np.ndarray]] = []
        for row, gamma in OBJECTS:
            run = run_at(runs, "objects", row, gamma)
            if run is not None:
                items, images = run.images
                made.append((f"{row}, γ {gamma:g}", images[place_of(items, prompt, 0)][::6]))
        lines += [(f"{prompt}: true, nearest", benchmark3d.truth(prompt, made[0][1])), *made]
    draw_lines(lines, [f"{45 * k}°" for k in range(8)], path)


SOLVERS = [
    *("cached", "zero", "fresh", "fixed point, 10", "gradient, 10"),
    *("inversion, -gamma", "inversion, 0", "inversion, gamma", "inversion, bounded", "Anderson, 10"),
]
"""The kappas whose residual is drawn."""

PROBES: dict[str, Figure] = {
    "residual": Residual(
        ["residual trained"], ["on DDIM's path", "on real images", "on SDS's own path", "on SDI's own path"], SOLVERS
    ),
    "scatter": Scatter(["scatter trained"], ["paths trained"]),
    "correlation": Correlation(["paths trained"], ["previous", "sds", "fixed", "sdi", "sdi, bounded"]),
}
"""The figures of the experiment `understanding` that are drawn for the trained prior."""


def draw_probes(figures: Mapping[str, Figure], runs: Runs, folder: Path) -> None:
    """Each figure and its table, from the csv where the runs are gone."""
    for name, figure in figures.items():
        figure.draw(tabled(figure, runs, folder / f"{name}.csv"), runs, folder / f"{name}.png")


PROMPTS = (
    *("a brown sofa, front view", "a gray chair, side view", "a gray desk, back view", "a brown bench, back view"),
    *("a brown wardrobe, side view", "a gray bookcase, front view", "a green stool", "a brown vase"),
    *("a brown woman, back view", "a green palm tree"),
)
"""Of the first 128 of the list furniture, which all samplers have."""


def main() -> None:
    """Tables and figures beside the csv files."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.trained", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--runs", type=Path, default=Path("results/trained"), help="where the runs are")
    options = parser.parse_args()
    measures, differences, claims = (read_table(options.folder / f"{name}.csv") for name in TABLES)
    text = tables(measures, differences, claims)
    write_whole(options.folder / "tables.txt", text.encode())
    draw_curves(prepare_curves(measures), options.folder / "gamma.png")
    draw_beside(prepare_beside(differences), options.folder / "beside.png")
    runs = Runs(options.runs)
    draw_probes(PROBES, runs, options.folder)
    if (options.runs / "index.json").exists():
        draw_samples(runs, PROMPTS, options.folder / "samples.png")
        draw_objects(runs, ("a red motorbike", "a brown table", "a white sofa"), options.folder / "objects.png")
    print(text)


if __name__ == "__main__":
    main()
