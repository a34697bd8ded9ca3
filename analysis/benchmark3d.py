"""python -m analysis.benchmark3d: the tables and pictures of the 3D benchmark.

python -m sdi_bench.run experiment=benchmark3d         # hours: fields
python -m sdi_bench.evaluate experiment=benchmark3d    # minutes: measures.csv, differences.csv, claims.csv
python -m analysis.benchmark3d                         # seconds: tables.txt, map.png, objects.png, turntable.gif

The pictures of objects need the runs (--runs); without them those in the folder stay as they are.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from sdi_bench.evaluate import TABLES, read_table
from sdi_bench.metrics.known import named_in, trained
from sdi_bench.pictures import shown
from sdi_bench.plotting.style import look, save, tile, whiskers
from sdi_bench.store import write_whole

from .benchmark2d import block, pairs
from .figures.tiles import place_of, run_of
from .runs import Runs

matplotlib.use("Agg")
from matplotlib import pyplot as plt

FOLDER = Path(__file__).resolve().parent.parent / "results" / "benchmark3d"

LOOK = {
    "contrast": "contrast",
    "sharpness": "sharpness",
    "spectrum": "spectrum",
    "saturation": "saturation",
    "floaters": "floaters",
}
KNOWN = {
    "to_shape": "PSNR",
    "to_blend": "to a blend",
    "parted": "parted",
    "shape_lpips": "LPIPS",
    "silhouette": "IoU",
    "mixed": "mixed",
    "chamfer": "Chamfer",
}
BLOCKS = {
    "text, by all 48 pictures around each object": {
        "rprec": "rprec",
        "rprec5": "in top 5",
        "named": "named",
        "tclip": "tclip",
        "view": "view",
        "janus": "Janus",
        "kd_effnet": "KD real",
        "fd_effnet": "FD real",
    },
    "look (log ratios to real pictures of the same captions; spectrum: dB)": LOOK,
    "against the nearest known object (the prior's; else training objects of that name; Chamfer: where there is one)": KNOWN,
}
"""title -> measure -> how it is headed."""

MAP = {
    "shapes, all alike to the prompt": {"1 shape": "1", "2 shapes": "2", "4 shapes": "4", "14 shapes": "14"},
    "2 shapes and blends of them between": {
        "2 shapes": "0",
        "2 shapes, 1 blend": "1",
        "2 shapes, 3 blends": "3",
        "2 shapes, 7 blends": "7",
        "2 shapes, 63 blends": "63",
    },
    "4 shapes, other denoisers": {"4 shapes": "optimal", "4 shapes, wide": "wide\n(0.2)", "4 shapes, windows": "windows"},
}
"""panel -> tier -> how it is named there."""
ACROSS = dict(zip(MAP, ("how many shapes", "how many blends between the two", "how the prior denoises"), strict=True))
"""panel -> what varies in it."""
YARDSTICKS = {
    "to_shape": "PSNR to the nearest\ntrue shape (dB)",
    "to_blend": "PSNR to the nearest\nblend of them (dB)",
}
LINES = {"sds": "sds", "sdi": "sdi", "sdi, t_min .2": "sdi, t_min .2", "ism, t_min .2": "ism, t_min .2", "zero": "no noise"}

PROMPTS = ("a red motorbike", "a green cactus", "a brown table", "a white sofa")
ROWS = ("sds", "sdi")


def tables(measures: pd.DataFrame, differences: pd.DataFrame, claims: pd.DataFrame) -> str:
    """All tables as text."""
    parts = []
    for tier, rows in measures.groupby("tier", sort=False):
        for title, columns in BLOCKS.items():
            there = {name: head for name, head in columns.items() if name in set(rows["measure"])}
            if there:
                parts.append(f"{tier}: {title}\n\n{block(rows.sort_values('gamma', kind='stable'), there)}")
    if len(claims):
        said = claims.assign(claim=claims["claim"] + np.where(claims["later"], " (asked later)", ""))
        parts.append(f"claims of arXiv 2405.15891 on 3D, on the built-in prior\n\n{pairs(said)}")
    for tier, rows in differences.groupby("tier", sort=False) if len(differences) else ():
        parts.append(f"{tier}: differences from sds at the same gamma\n\n{pairs(rows)}")
    return "\n\n\n".join(parts) + "\n"


def prepare(measures: pd.DataFrame) -> pd.DataFrame:
    """The priors of known shapes: tier, run, measure, point, low, high."""
    tiers = {tier for panel in MAP.values() for tier in panel}
    keep = measures["tier"].isin(tiers) & measures["run"].isin(list(LINES)) & measures["measure"].isin(list(YARDSTICKS))
    return measures.loc[keep, ["tier", "run", "measure", "point", "low", "high"]].dropna(subset="point")


def draw(table: pd.DataFrame, path: Path) -> None:
    """A line a sampler, a column for each way in which priors differ, a row a yardstick."""
    widths = [len(panel) for panel in MAP.values()]
    styles = look(list(LINES))
    figure, axes = plt.subplots(
        2, len(MAP), figsize=(9.6, 5.4), sharex="col", sharey=True, layout="constrained", gridspec_kw={"width_ratios": widths}
    )
    for line, (measure, unit) in zip(axes, YARDSTICKS.items(), strict=True):
        for axis, tiers in zip(line, MAP.values(), strict=True):
            for k, (run, name) in enumerate(LINES.items()):
                rows = table[(table["run"] == run) & (table["measure"] == measure)].set_index("tier").reindex(list(tiers))
                places = np.arange(len(tiers)) + 0.05 * (k - (len(LINES) - 1) / 2)
                axis.errorbar(places, rows["point"], yerr=whiskers(rows), label=name, **styles[run])
            axis.set_xticks(range(len(tiers)), list(tiers.values()))
            axis.tick_params(labelsize=8)
            axis.grid(axis="y", linewidth=0.3)
        line[0].set_ylabel(unit, fontsize=9)
    for above, below, (title, across) in zip(*axes, ACROSS.items(), strict=True):
        above.set_title(title, fontsize=9)
        below.set_xlabel(across, fontsize=8)
    handles = axes[0][0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(LINES), fontsize=8, frameon=False)
    save(figure, path)


def views(runs: Runs, row: str, prompt: str) -> np.ndarray:
    """The pictures around an object of seed 0 at gamma 1, [48, 3, h, w]."""
    run = run_of(runs, "objects", row)
    items, images = run.images
    return np.asarray(images[place_of(items, prompt, 0)])


def truth(prompt: str, like: np.ndarray) -> np.ndarray:
    """The eight views of the training object that `like` (eight views) is nearest to."""
    name = named_in(prompt)
    assert name is not None
    known = trained(name, like.shape[-1])
    return np.asarray(known[np.square(known - like).mean((1, 2, 3, 4)).argmin()])


def objects(runs: Runs, prompts: Sequence[str], rows: Sequence[str], path: Path) -> None:
    """Each prompt: the nearest true object, and what the samplers made, from every other known angle."""
    lines = [(prompt, row) for prompt in prompts for row in ("nearest true object", *rows)]
    figure, axes = plt.subplots(len(lines), 8, figsize=(8.6, 0.92 * len(lines)), layout="constrained")
    for line, (prompt, row) in zip(axes, lines, strict=True):
        made = views(runs, rows[0] if row not in rows else row, prompt)[::6]
        for k, (axis, image) in enumerate(zip(line, made if row in rows else truth(prompt, made), strict=True)):
            tile(axis, image, f"{prompt}\n{row}" if k == 0 else "", f"{45 * k}°" if line[0] is axes[0, 0] else "")
    save(figure, path)


def framed(sheet: Image.Image, above: Sequence[str], beside: Sequence[str], under: str) -> Image.Image:
    """A sheet on white: a name above each column, one beside each line, and a line below."""
    left, top, below = 84, 18, 18
    font = ImageFont.truetype(findfont("DejaVu Sans"), 11)
    found = Image.new("RGB", (left + sheet.width, top + sheet.height + below), "white")
    found.paste(sheet, (left, top))
    pen = ImageDraw.Draw(found)
    wide, high = sheet.width / len(above), sheet.height / len(beside)
    for k, name in enumerate(above):
        pen.text((left + (k + 0.5) * wide, top / 2), name, fill="black", font=font, anchor="mm")
    for k, name in enumerate(beside):
        pen.multiline_text((left / 2, top + (k + 0.5) * high), name, fill="black", font=font, anchor="mm", align="center")
    pen.text((left + sheet.width / 2, top + sheet.height + below / 2), under, fill="black", font=font, anchor="mm")
    return found


def turntable(runs: Runs, prompts: Sequence[str], rows: Sequence[str], path: Path, scale: int = 3) -> None:
    """A GIF, labelled: prompts in columns; the nearest true object (at its eight angles), then what each sampler made."""
    columns = []
    for prompt in prompts:
        made = [views(runs, row, prompt) for row in rows]
        columns.append([truth(prompt, made[0][::6]).repeat(6, axis=0), *made])
    frames = []
    for k in range(0, 48, 2):
        sheet = np.concatenate(
            [np.concatenate([shown(cell[k]) for cell in line], axis=1) for line in zip(*columns, strict=True)], axis=0
        )
        picture = Image.fromarray(np.round(sheet * 255).astype(np.uint8))
        picture = picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.BICUBIC)
        beside = ("nearest true\nobject, at\nevery 45°", *rows)
        frames.append(framed(picture, prompts, beside, f"seen from {7.5 * k:g}°; γ 1, seed 0"))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=200, loop=0, optimize=True)


def main() -> None:
    """Tables and figures beside the csv files."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.benchmark3d", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--runs", type=Path, default=Path("results/benchmark3d"), help="where the fields are")
    options = parser.parse_args()
    measures, differences, claims = (read_table(options.folder / f"{name}.csv") for name in TABLES)
    text = tables(measures, differences, claims)
    write_whole(options.folder / "tables.txt", text.encode())
    draw(prepare(measures), options.folder / "map.png")
    if (options.runs / "index.json").exists():
        runs = Runs(options.runs)
        objects(runs, PROMPTS, ROWS, options.folder / "objects.png")
        turntable(runs, PROMPTS, ROWS, options.folder / "turntable.gif")
    print(text)


if __name__ == "__main__":
    main()
