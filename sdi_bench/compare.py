"""What compares runs: distances to the paired reference, the table of a sweep, its csv."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from .draws import Item
from .features import SHAPES, lpips
from .measure import diverged
from .stats import Estimate, groups_of, jackknife, mean_of

EXPLAINED = {
    "contrast, sharpness, saturation": "contrast, sharpness, saturation: log ratio to data; 0 is as the data, below 0 is less.",
    "energy, sliced_w2": 'energy, sliced W2: distance to the law of the data; perfect samples get what "data" gets.',
    "modes": "modes: share of the modes that data would meet.",
    "nearest": "nearest: distance to the nearest training image (no direction).",
    "rprec": 'rprec: share that suits its own prompt best of 100 captions; chance is 0.01, the ceiling is what "data" gets.',
    "rprec5, named": "rprec5: share with its own prompt among the five best; named: objects with half of their sides so.",
    "to_shape, shape_lpips, silhouette, mixed": "to_shape (PSNR), shape_lpips, silhouette (IoU): eight sides of an "
    "object against the nearest known one's; mixed: share of the sides that are nearer to another known one.",
    "to_blend, parted": "to_blend (PSNR): against the nearest convex blend of the known ones; parted (dB): what "
    "each side gains by a blend of its own.",
    "chamfer": "chamfer: distance to the mesh of the one training object that the prompt means, at the best azimuth.",
    "janus, floaters": "janus: share of backs that look like a front; floaters: share of an object's pixels apart "
    "from its largest part.",
    "tclip": "tclip: 100·cos of picture and prompt, by a scorer trained on the built-in world (in its domain only).",
    "view": "view: share seen from the side asked for, the mean over sides; one answer for all gets 1 / sides. Ceiling: data.",
    "lpips": "lpips: LPIPS (AlexNet, at these few pixels) to the same item of the reference.",
}
"""What stands under the table, by the measures it is about."""

ROW_USES = ("conditional", "unconditional", "inversion", "other")


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    n_views: pictures of each object, where objects are seen from several sides; items and images then hold every view.
    cost: rows by use, seconds and peak_mb of the whole run; None for data drawn, not sampled.
    measures: as measure() gives them.
    """

    label: str
    items: tuple[Item, ...]
    images: Float[np.ndarray, "n *shape"]
    measures: Mapping[str, Mapping[str, Any]]
    cost: Mapping[str, Any] | None = None
    folder: Path | None = None
    n_views: int = 1


Gap = Callable[[np.ndarray, np.ndarray], np.ndarray]


def rms(a: Float[np.ndarray, "n *shape"], b: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, " n"]:
    """Root mean square pixel difference of each pair."""
    return np.sqrt(np.square((a - b).reshape(len(a), -1)).mean(axis=1))


def distance(
    a: Float[np.ndarray, "n *shape"], b: Float[np.ndarray, "n *shape"], items: Sequence[Item], gap: Gap = rms
) -> Estimate | None:
    """Mean gap of an item in a and in b; None if fewer than two items are finite in both."""
    kept = ~(diverged(a) | diverged(b))
    if kept.sum() < 2:
        return None
    seeds = np.array([item.seed for item in items], dtype=np.int64)[kept]
    return jackknife(mean_of(gap(a[kept], b[kept])), groups_of(seeds))


def other_seed(reference: Entry) -> Estimate | None:
    """The ceiling: distance of each reference sample to the one of the prompt's next seed. None with a single seed."""
    place = {item: i for i, item in enumerate(reference.items)}
    after: dict[Item, Item] = {}
    by_prompt: dict[str | None, list[Item]] = {}
    for item in reference.items:
        by_prompt.setdefault(item.prompt, []).append(item)
    for mates in by_prompt.values():
        after.update(zip(mates, [*mates[1:], mates[0]], strict=True))
    if any(len(mates) < 2 for mates in by_prompt.values()):
        return None
    shifted = reference.images[[place[after[item]] for item in reference.items]]
    return distance(reference.images, shifted, reference.items)


def tidy(entries: Sequence[Entry], reference: Entry | None) -> pd.DataFrame:
    """One row per run and measure: run, n, diverged, measure, unit, ideal, point, low, high, undefined, cost, folder."""
    records = []
    for entry in entries:
        measures = dict(entry.measures)
        if reference is not None and entry.cost is not None and entry is not reference:
            gaps: dict[str, tuple[str, Gap]] = {"to_reference": ("rms pixel", rms)}
            if entry.images.shape[1:] in SHAPES:
                gaps["lpips"] = ("LPIPS to the reference", lpips.distance)
            for name, (unit, gap) in gaps.items():
                to_reference = distance(entry.images, reference.images, entry.items, gap)
                measures[name] = {"unit": unit, "ideal": 0.0} | (
                    to_reference._asdict() if to_reference else {"undefined": "fewer than two items to compare"}
                )
        cost = entry.cost or {}
        n = len(entry.items) // entry.n_views
        per_image = {f"rows_{use}": cost["rows"][use] / n if cost else math.nan for use in ROW_USES}
        per_image |= {"seconds": cost.get("seconds", math.nan) / n, "peak_mb": cost.get("peak_mb", math.nan)}
        common = {"run": entry.label, "n": n, "diverged": int(diverged(entry.images).sum())}
        for name, values in measures.items():
            records.append(
                common | {"measure": name} | dict(values) | per_image | {"folder": entry.folder.name if entry.folder else ""}
            )
    columns = ["run", "n", "diverged", "measure", "unit", "ideal", "point", "low", "high", "undefined"]
    frame = pd.DataFrame(records)
    return frame.reindex(columns=[*columns, *(c for c in frame.columns if c not in columns)])


def cell(point: float, low: float, high: float) -> str:
    """point ±half of a 95 % interval, to the interval's precision."""
    half = (high - low) / 2
    if not math.isfinite(half):
        return f"{point:.3f}" if math.isfinite(point) else "-"
    digits = min(max(2, 1 - math.floor(math.log10(half))) if half > 0 else 3, 4)
    return f"{point:.{digits}f} ±{half:.{digits}f}"


def render(frame: pd.DataFrame) -> str:
    """The table a person reads: a line per run, in the order given."""
    names = {"to_reference": "to reference", "sliced_w2": "sliced W2"}
    measures = list(dict.fromkeys(frame["measure"]))
    head = ["run", "n", *(names.get(m, m) for m in measures), "rows c/u/inv/oth", "s/image", "diverged"]
    lines = [head]
    for run, rows in frame.groupby("run", sort=False):
        first = rows.iloc[0]
        cells = {
            r["measure"]: "-" if pd.isna(r["point"]) else cell(r["point"], r["low"], r["high"]) for _, r in rows.iterrows()
        }
        sampled = not pd.isna(first["seconds"])
        used = "/".join(f"{first[f'rows_{use}']:.4g}" for use in ROW_USES) if sampled else "-"
        seconds = f"{first['seconds']:.3f}" if sampled else "-"
        share = f"{first['diverged']}/{first['n']}" if first["diverged"] else "0"
        lines.append([str(run), str(first["n"]), *(cells.get(m, "-") for m in measures), used, seconds, share])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    shown = [
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width) for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join([shown[0], "-" * len(shown[0]), *shown[1:]])


def notes(frame: pd.DataFrame, entries: Sequence[Entry], reference: Entry | None) -> list[str]:
    """The lines under the table: what the numbers are held against, and why cells are empty."""
    ceiling = None if reference is None else other_seed(reference)
    shown = set(frame.loc[frame["point"].notna(), "measure"])
    lines = ["± is half of a 95 % interval (delete-a-group jackknife; from eight seeds on a group is whole seeds)."]
    lines += [text for names, text in EXPLAINED.items() if shown & set(names.split(", "))]
    views = max(entry.n_views for entry in entries)
    if views > 1:
        lines.append(f"n: objects, each seen from {views} sides; all sides are measured, rows and seconds are per object.")
    if reference is not None and ceiling is not None:
        lines.append(
            f'to reference: rms distance to the same item of "{reference.label}"; another seed of the same prompt is '
            f"{cell(*ceiling)} away."
        )
    for entry in (entry for entry in entries if entry.cost is None):
        n_distinct = len(np.unique(entry.images.reshape(len(entry.images), -1), axis=0))
        if n_distinct < len(entry.items):
            source = "no part of the model" if entry.label == "data" else "the model's own"
            lines.append(
                f"{entry.label}: {n_distinct} real pictures of these prompts, {source}, repeated: its ± is no interval."
            )
    missing = frame.dropna(subset=["undefined"])
    for (measure, why), rows in missing.groupby(["measure", "undefined"], sort=False):
        lines.append(f"no {measure} for {', '.join(dict.fromkeys(rows['run']))}: {why}.")
    if frame["diverged"].any():
        lines.append("diverged items (a pixel not finite or beyond ±100) count in n but can't enter a measure.")
    return lines
