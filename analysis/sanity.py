"""python -m analysis.sanity: what each metric says of real pictures that were spoilt by degrees. Some minutes.

256 val pictures, spoilt, against the other val pictures; the same 256 unspoilt are the data of the log ratios and the pairs.
Writes results/sanity/sanity.csv and sanity.txt: point by grade, whether it moves one way only, from which grade the interval
excludes the unspoilt value. fd_effnet is forced below its floor: all grades are at the same n.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from sdi_bench.data.world import World
from sdi_bench.draws import Item
from sdi_bench.evaluate import chosen
from sdi_bench.features.effnet import Effnet
from sdi_bench.measuring import Samples, clustered, measure, rounded
from sdi_bench.metrics import Fd
from sdi_bench.store import write_whole

from .text import lines

FOLDER = Path(__file__).resolve().parent.parent / "results" / "sanity"
N = 256
SETS = ["kd_effnet", "precision", "recall", "density", "coverage"]
TEXT = ["rprec", "tclip", "view"]
LOOK = ["contrast", "sharpness", "laplacian", "spectrum", "saturation", "clipped"]
PAIRS = ["lpips", "ssim", "psnr", "rms"]
LUMA = np.array([0.299, 0.587, 0.114])[:, None, None]

Harm = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def noise(images: np.ndarray, grade: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of standard deviation `grade`."""
    return images + grade * rng.standard_normal(images.shape)


def blur(images: np.ndarray, grade: float, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian filter of `grade` pixels."""
    return gaussian_filter(images, (0, 0, grade, grade)) if grade else images


def saturate(images: np.ndarray, grade: float, rng: np.random.Generator) -> np.ndarray:
    """Colours 1 + grade times as far from grey."""
    grey = (images * LUMA).sum(axis=1, keepdims=True)
    return grey + (1 + grade) * (images - grey)


def fade(images: np.ndarray, grade: float, rng: np.random.Generator) -> np.ndarray:
    """Colours 1 - grade times as far from grey."""
    return saturate(images, -grade, rng)


HARMS: dict[str, tuple[Harm, tuple[float, ...]]] = {
    "noise": (noise, (0, 0.05, 0.1, 0.3)),
    "blur": (blur, (0, 0.5, 1, 2)),
    "saturation": (saturate, (0, 0.25, 0.5, 1)),
    "fading": (fade, (0, 0.25, 0.5, 1)),
}
"""name -> (what is done to the pictures, grades)."""
DROPPED, COPIED = (0, 0.25, 0.5, 0.9), (0, 0.25, 0.5, 1)
"""Shares of the concepts that are dropped, others shown instead; of the pictures that are copies of real ones."""


def spoilt(size: int) -> list[tuple[str, float, Samples]]:
    """(harm, grade, the spoilt set and what it is held against), every one of N pictures of size x size."""
    val, rng = World.open().where("val"), np.random.default_rng(0)
    order = rng.permutation(len(val))
    images, table = val.pixels(size).astype(float), val.table
    some, rest = order[:N], rounded(images[order[N:]])
    clean = images[some]
    items = [Item(caption, i) for i, caption in enumerate(table["caption"].iloc[some])]
    clusters = clustered(items).labels

    def held(spoils: np.ndarray, items: list[Item] = items, clusters: np.ndarray = clusters, paired: bool = True) -> Samples:
        return Samples(rounded(spoils), items, clusters, truth=clean, real=rest, paired=clean if paired else None, raw=spoils)

    found = [
        (name, grade, held(harm(clean, grade, np.random.default_rng(1))))
        for name, (harm, grades) in HARMS.items()
        for grade in grades
    ]
    concepts = rng.permutation(np.unique(clusters))
    for grade in DROPPED:
        kept = np.flatnonzero(np.isin(clusters, concepts[round(grade * len(concepts)) :]))
        drawn = np.concatenate([kept, rng.choice(kept, N - len(kept))])
        found.append(("mode dropping", grade, held(clean[drawn], [items[i] for i in drawn], clusters[drawn], paired=False)))
    for grade in COPIED:
        k = round(grade * N)
        captions = table["caption"].iloc[np.concatenate([order[N : N + k], some[k:]])]
        copies = [Item(caption, i) for i, caption in enumerate(captions)]
        found.append(
            ("copying", grade, held(np.concatenate([rest[:k], clean[k:]]), copies, clustered(copies).labels, paired=False))
        )
    return found


def prepare(size: int) -> pd.DataFrame:
    """harm, grade, measure, point, low, high, unit, ideal."""
    metrics = {"fd_effnet": Fd(Effnet(principal=True), force=True)} | chosen([*SETS, *TEXT, *LOOK, *PAIRS])
    rows = []
    for harm, grade, given in tqdm(spoilt(size), desc="sanity", mininterval=5):
        for name, values in measure(given, metrics).items():
            rows.append({"harm": harm, "grade": grade, "measure": name} | values)
    return pd.DataFrame(rows)


def told(rows: pd.DataFrame) -> tuple[str, str]:
    """("yes" or how it turns, the first grade whose interval excludes the unspoilt value)."""
    points = rows["point"].to_numpy(float)
    steps, width = np.diff(points), (rows["high"] - rows["low"]).to_numpy(float) / 2
    up, down = (steps > width[1:] / 2).any(), (-steps > width[1:] / 2).any()  # turns smaller than that are noise
    seen = rows["grade"][1:][((rows["low"] > points[0]) | (rows["high"] < points[0]))[1:].to_numpy()]
    way = "turns" if up and down else "rises" if up else "falls" if down else "flat"
    return way, f"{seen.iloc[0]:g}" if len(seen) else "never"


def table(frame: pd.DataFrame) -> str:
    """One table a harm: a line a measure, its points by grade."""
    parts = []
    for harm, block in frame.groupby("harm", sort=False):
        grades = sorted(block["grade"].unique())
        body = []
        for name, rows in block.dropna(subset=["point"]).groupby("measure", sort=False):
            rows = rows.sort_values("grade")
            if len(rows) == len(grades):
                body.append([str(name), *(f"{point:.3g}" for point in rows["point"]), *told(rows)])
        parts.append(f"{harm}\n\n{lines(['measure', *(f'{grade:g}' for grade in grades), 'way', 'seen from'], body)}")
    return "\n\n\n".join(parts) + "\n"


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.sanity", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--size", type=int, default=32, help="pixels a side: 64 or 32 (default: that of the benchmark)")
    asked = parser.parse_args()
    frame = prepare(asked.size)
    write_whole(asked.folder / "sanity.csv", frame.to_csv(index=False, float_format="%.6g").encode())
    write_whole(asked.folder / "sanity.txt", table(frame).encode())
    print(table(frame))


if __name__ == "__main__":
    main()
