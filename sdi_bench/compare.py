"""What compares runs: distances to the paired reference, the table of a sweep, its csv."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from . import texts
from .draws import Item
from .measuring import Clusters, diverged
from .metrics.paired import SMALLEST, lpips
from .sizes import Pictures, by_size, whole
from .stats import FEWEST, clusters_of, jackknife, mean_of

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

INSTEAD = {"log ratio to data": "log ratio to the reference", "dB": "dB to the reference"}
"""How the unit of what is held against data is called where nobody knows these, and the paired reference stands for them."""

FILES = (
    "more: fid and kid want Inception's file, clip_fid, clip_score and clip_iqa a CLIP folder, reward a model of yours; "
    "which, and where to put it: python -m sdi_bench.doctor."
)
"""What more there is for pictures of any size."""

ROW_USES = ("conditional", "unconditional", "inversion", "other", "training")


def spent(row: Mapping[Any, Any]) -> list[float]:
    """Network rows an image by use, of a row of the table; those of training only where a student was trained."""
    rows = [float(row.get(f"rows_{use}", math.nan)) for use in ROW_USES]
    return rows if rows[-1] > 0 else rows[:-1]


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    n_views: pictures of each object, where objects are seen from several sides; items and images then hold every view.
    measures: as measure() gives them. clusters: what its intervals are over.
    cost: rows by use, seconds and peak_mb of the whole run; None for data drawn, not sampled. about: its settings, for columns.
    """

    label: str
    items: tuple[Item, ...]
    images: Pictures
    measures: Mapping[str, Mapping[str, Any]]
    clusters: Clusters
    cost: Mapping[str, Any] | None = None
    folder: Path | None = None
    n_views: int = 1
    about: Mapping[str, Any] = field(default_factory=dict)


Gap = Callable[[np.ndarray, np.ndarray], np.ndarray]


def rms(a: Float[np.ndarray, "n *shape"], b: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, " n"]:
    """Root mean square pixel difference of each pair."""
    return np.sqrt(np.square((a - b).reshape(len(a), -1)).mean(axis=1))


def distance(a: Pictures, b: Pictures, clusters: Clusters, gap: Gap = rms) -> dict[str, Any]:
    """Mean gap of an item in a and in b, over the items that diverged in neither, as a row of a table of measures."""
    kept = ~(diverged(a) | diverged(b))
    if not kept.any():
        return {"undefined": "every item diverged in one of them", "clusters": clusters.over}
    labels = clusters.labels[kept]
    found = jackknife(mean_of(by_size(gap, a[kept], b[kept])), clusters_of(labels))
    return found._asdict() | {"clusters": clusters.over, "n_clusters": len(np.unique(labels))}


def other_seed(reference: Entry) -> dict[str, Any] | None:
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
    return distance(reference.images, shifted, reference.clusters)


def tidy(entries: Sequence[Entry], reference: Entry | None) -> pd.DataFrame:
    """One row per run and measure: run, its settings, n, diverged, measure, unit, ideal, point, low, high, undefined, cost,
    folder. What stands between run and n are the settings.
    """
    records, settings = [], list(dict.fromkeys(key for entry in entries for key in entry.about))
    for entry in entries:
        measures = dict(entry.measures)
        if reference is not None and entry.cost is not None and entry is not reference:
            gaps: dict[str, tuple[str, Gap]] = {"to_reference": ("rms pixel", rms)}
            channels, *sides = entry.images.shape[1:]
            if channels == 3 and len(sides) == 2 and min(sides) >= SMALLEST:
                gaps["lpips"] = ("LPIPS to the reference", lpips)
            for name, (unit, gap) in gaps.items():
                about = {"unit": unit, "ideal": 0.0}
                measures[name] = about | distance(entry.images, reference.images, entry.clusters, gap)
        cost = entry.cost or {}
        n = len(entry.items) // entry.n_views
        per_image = {f"rows_{use}": cost["rows"].get(use, 0) / n if cost else math.nan for use in ROW_USES}
        per_image |= {"seconds": cost.get("seconds", math.nan) / n, "peak_mb": cost.get("peak_mb", math.nan)}
        common = {
            "run": entry.label,
            **entry.about,
            "n": n,
            "diverged": int(diverged(entry.images).reshape(n, -1).any(axis=1).sum()),
        }
        for name, values in measures.items():
            records.append(
                common | {"measure": name} | dict(values) | per_image | {"folder": entry.folder.name if entry.folder else ""}
            )
    return framed(records, ("run", *settings, "n", "diverged", "measure", "unit", "ideal", *VALUE))


VALUE = ("point", "low", "high", "undefined", "clusters", "n_clusters")
"""What every table of measures has: a point, its interval over so many clusters where they are enough, or why it has none."""


def framed(records: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> pd.DataFrame:
    """A table of measures: these columns first, then as the records have them; with all of VALUE, filled or not."""
    frame = pd.DataFrame(records)
    return frame.reindex(columns=list(dict.fromkeys([*first, *frame.columns, *VALUE])))


def cell(point: float, low: float, high: float) -> str:
    """point ±half of a 95 % interval, to the interval's precision; the point alone where there is no interval."""
    half = (high - low) / 2
    if not math.isfinite(half):
        return f"{point:.3f}" if math.isfinite(point) else "-"
    digits = min(max(2, 1 - math.floor(math.log10(half))) if half > 0 else 3, 4)
    return f"{point:.{digits}f} ±{half:.{digits}f}"


def value(row: Mapping[Any, Any]) -> str:
    """A point with its interval; a dash where it is not defined; ! where too many diverged."""
    if pd.isna(row.get("point")):
        return "-"
    return cell(row["point"], row["low"], row["high"]) + ("!" if row.get("flagged") is True else "")


def settings_in(frame: pd.DataFrame) -> list[str]:
    """The columns of a table of measures that say what a run is: those between run and n."""
    columns = list(frame.columns)
    return columns[columns.index("run") + 1 : columns.index("n")]


def render(frame: pd.DataFrame, width: int | None = None, wide: bool = False) -> str:
    """The table a person reads: a line per run, in the order given, columns that hold nothing left out.

    width: of the terminal, in characters: what does not fit goes below, in blocks that each begin with the run. None: one
    piece. wide: in one piece whatever the width, with a column for each setting, and for the peak memory in MB.
    """
    names = {"to_reference": "to reference", "sliced_w2": "sliced W2"}
    measures = list(dict.fromkeys(frame.loc[frame["point"].notna(), "measure"]))
    settings = settings_in(frame) if wide else []
    head = ["run", *settings, "n", *(names.get(m, m) for m in measures), "rows c/u/inv/oth", "s/image", "diverged"]
    lines = [head + ["peak MB"] * wide]
    for run, rows in frame.groupby("run", sort=False):
        first = rows.iloc[0]
        cells = {
            r["measure"]: "-" if pd.isna(r["point"]) else cell(r["point"], r["low"], r["high"]) for _, r in rows.iterrows()
        }
        sampled = not pd.isna(first["seconds"])
        used = "/".join(f"{rows:.4g}" for rows in spent(first.to_dict())) if sampled else "-"
        seconds = f"{first['seconds']:.3f}" if sampled else "-"
        share = f"{first['diverged']}/{first['n']}" if first["diverged"] else "0"
        told = [
            "-" if pd.isna(first[key]) else f"{first[key]:g}" if is_number(first[key]) else str(first[key]) for key in settings
        ]
        peak = [f"{first['peak_mb']:.0f}" if sampled else "-"] * wide
        lines.append([str(run), *told, str(first["n"]), *(cells.get(m, "-") for m in measures), used, seconds, share, *peak])
    held = [k for k in range(len(lines[0])) if k == 0 or any(line[k] != "-" for line in lines[1:])]
    columns = [[line[k] for line in lines] for k in held]
    if width is not None and not wide:
        columns[0] = shortened(columns[0], width // 2)
    return "\n\n".join("\n".join(ruled(block)) for block in blocks(columns, None if wide else width))


def shortened(names: list[str], most: int) -> list[str]:
    """Names without the middle of those that are longer, unless two would be the same."""
    short = [texts.line(name, most) for name in names]
    return short if len(set(short)) == len(set(names)) else names


def is_number(value: object) -> bool:
    """Numbers are written short."""
    return isinstance(value, int | float | np.number)


def blocks(columns: Sequence[Sequence[str]], width: int | None) -> list[list[Sequence[str]]]:
    """Columns in blocks that are no wider than that, each with the first column before it; None: one block."""
    first, *rest = columns
    begins = max(map(len, first))
    found, left = [[first]], math.inf if width is None else width - begins
    for column in rest:
        needs = 2 + max(map(len, column))
        if needs > left and len(found[-1]) > 1:
            assert width is not None
            found.append([first])
            left = width - begins
        found[-1].append(column)
        left -= needs
    return found


def ruled(columns: Sequence[Sequence[str]]) -> list[str]:
    """Columns as lines, the first to the left, a rule below their heads."""
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths, strict=True)))
        for line in zip(*columns, strict=True)
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


@dataclass(frozen=True)
class Around:
    """What the lines under a table have to know of the runs that share a reference.

    reference: its label, "" where there is none. away: how far another seed of it is. repeated: of what is not sampled.
    """

    reference: str
    away: str
    n_views: int
    repeated: tuple[str, ...]

    @classmethod
    def of(cls, entries: Sequence[Entry], reference: Entry | None) -> "Around":
        """Of entries, the reference among them."""
        ceiling = None if reference is None else other_seed(reference)
        known = ceiling is not None and "point" in ceiling
        away = cell(ceiling["point"], ceiling["low"], ceiling["high"]) if ceiling is not None and known else ""
        repeated = []
        for entry in (entry for entry in entries if entry.cost is None):
            n_distinct = len(np.unique(whole(entry.images).reshape(len(entry.images), -1), axis=0))
            if n_distinct < len(entry.items):
                source = "no part of the model" if entry.label.startswith("data") else "the model's own"
                repeated.append(f"{entry.label}: {n_distinct} real pictures of these prompts, {source}, repeated.")
        label = "" if reference is None else reference.label
        return cls(label, away, max(entry.n_views for entry in entries), tuple(repeated))


def notes(frame: pd.DataFrame, around: Sequence[Around]) -> list[str]:
    """The lines under the table: what the numbers are held against, and why cells are empty."""
    shown = set(frame.loc[frame["point"].notna(), "measure"])
    lines = clustering(frame)
    held = list(dict.fromkeys(frame.loc[frame["unit"].isin(INSTEAD.values()) & frame["point"].notna(), "measure"]))
    lines += [text for names, text in EXPLAINED.items() if (shown - set(held)) & set(names.split(", "))]
    references = [f'"{group.reference}"' for group in around if group.reference]
    if held and references:
        ratios = "log ratios (of spectrum a distance in dB)" if "spectrum" in held else "log ratios"
        lines += [
            f"{', '.join(held)}: {ratios} to the pictures of {', '.join(references)}, for nobody knows the data of this model; "
            "0 is as these.",
            FILES,
        ]
    views = max(group.n_views for group in around)
    if views > 1:
        lines.append(f"n: objects, each seen from {views} sides; all sides are measured, rows and seconds are per object.")
    away = [group for group in around if group.away]
    if away:
        others = "".join(f'; of "{group.reference}", {group.away}' for group in away[1:])
        lines.append(
            f'to reference: rms distance to the same item of "{away[0].reference}"; another seed of the same prompt is '
            f"{away[0].away} away{others}."
        )
    lines += [text for group in around for text in group.repeated]
    lines += missing(frame)
    if frame["diverged"].any():
        lines.append("diverged items (a pixel not finite or beyond ±100) count in n but can't enter a measure.")
    return lines


def clustering(frame: pd.DataFrame) -> list[str]:
    """What ± is in a table of measures: over which clusters, and how many, the usual number first."""
    if not len(frame):
        return ["nothing was asked for (metric=[])."]
    known = frame[frame["point"].notna()]
    told = known[known["low"].notna() & known["high"].notna()]
    if "clusters" not in told:  # a table of before they were kept
        return ["± is half of a 95 % interval."]
    over: dict[tuple[int, str], list[str]] = {}
    for n, clusters, measure in zip(told["n_clusters"], told["clusters"], told["measure"], strict=True):
        over.setdefault((int(n), WORDS.get(clusters, clusters)), []).append(measure)
    found: list[str] = []
    for (n, clusters), measures in sorted(over.items(), key=lambda pair: -len(pair[1])):
        found.append(f"{n} {clusters}" + (f" for {', '.join(dict.fromkeys(measures))}" if found else ""))
    lines = [f"± is half of a 95 % interval over {'; over '.join(found)}."] if found else []
    if len(told) < len(known):
        lines.append(f"no ±: fewer than {FEWEST} clusters, or nothing left to measure without one of them.")
    return lines


def any_measured(frame: pd.DataFrame) -> bool:
    """False for a table of measures of which none could be had; a table of none asked nothing."""
    return not len(frame) or bool(frame["point"].notna().any())


WORDS = {"concepts": "prompts (concepts)"}
"""What clusters are called under a table."""


def missing(frame: pd.DataFrame) -> list[str]:
    """Why cells are empty."""
    if not {"measure", "undefined"} <= set(frame):
        return []
    gaps: dict[tuple[str, str], list[str]] = {}
    for (measure, why), rows in frame.dropna(subset=["undefined"]).groupby(["measure", "undefined"], sort=False):
        gaps.setdefault((", ".join(dict.fromkeys(rows["run"].astype(str))), str(why)), []).append(str(measure))
    return [f"no {', '.join(measures)} for {runs}: {why}." for (runs, why), measures in gaps.items()]
