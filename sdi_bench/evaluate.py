"""python -m sdi_bench.evaluate: measure finished runs or folders of pictures, apart from how they were made."""

import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from . import prompts
from .compare import ROW_USES, cell
from .data.world import SPLITS, World
from .draws import Item
from .jobs import Plan, every_view, finished
from .measure import N_TRUTH, Samples, compared, diverged, fresh_data, measure, rounded
from .metrics import Metric, Sights, UndefinedError
from .models.base import Denoiser, ExactModel, HasData
from .run import built, conf_dir, experiment_of, explain, literal, preflight, quoted, read_experiment, stoppable
from .scenes import Image as Still
from .scenes import Scene
from .stats import equivalent, holm, verdict
from .store import RunFolder, write_whole

OBJECTS = "objects"
"""Real pictures: of the training objects, from the eight angles around them."""

LISTS = {"furniture": "val", "furniture_tune": "tune"}
"""Real pictures: those that a list of prompts that ships is of, and the split they are from."""

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class Finished:
    """A run of which all is done, or a folder of pictures (items without a prompt, no cost, no model).

    clusters: what stands or falls together. Of objects, items and images are the n_views pictures around each, as sights says.
    """

    label: str
    items: tuple[Item, ...]
    images: np.ndarray
    clusters: np.ndarray
    cost: Mapping[str, Any] | None = None
    model: Denoiser | None = None
    scale: float | None = None
    n_views: int = 1
    sights: Sights | None = None

    @classmethod
    def of(
        cls,
        label: str,
        items: Sequence[Item],
        images: np.ndarray,
        scene: Scene,
        folder: RunFolder | None = None,
        chunks: Sequence[Sequence[Item]] = (),
        cost: Mapping[str, Any] | None = None,
        model: Denoiser | None = None,
        scale: float | None = None,
    ) -> "Finished":
        """Pictures, or objects taken apart into theirs."""
        views, n_views, sights = every_view(scene, items, folder, chunks)
        images = images if sights is None else images.reshape(-1, *images.shape[2:])
        return cls(label, views, images, np.repeat(labels(items), n_views), cost, model, scale, n_views, sights)


@cache
def concepts() -> dict[str, str]:
    """caption -> concept, of the built-in world."""
    table = World.open().table
    return dict(zip(table["caption"], table["concept"], strict=True))


def labels(items: Sequence[Item]) -> np.ndarray:
    """What stands or falls together: the concept that a prompt shows, all views and seeds; else the prompt; else the seed.

    Where there is but one prompt, its seeds.
    """
    names = [item.prompt and concepts().get(item.prompt, item.prompt) for item in items]
    alike = len({item.prompt for item in items}) == 1
    return np.array([str(item.seed) if alike or name is None else name for item, name in zip(items, names, strict=True)])


def pictures(folder: Path, field: str) -> np.ndarray:
    """The pictures of a folder, [n, 3, h, w] in [-1, 1]. Raises ValueError, naming the field, for none or mixed sizes."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not paths:
        raise ValueError(
            f"{field}={str(folder)!r}: holds neither a finished run (shards/) nor pictures ({', '.join(PICTURES)})"
        )
    found: list[np.ndarray] = []
    for path in paths:
        try:
            with Image.open(path) as file:
                found.append(np.asarray(file.convert("RGB")).transpose(2, 0, 1))
        except (OSError, UnidentifiedImageError) as error:
            raise ValueError(f"{field}: {str(path)!r} is not a readable picture") from error
        if found[-1].shape != found[0].shape:
            sizes = ["x".join(map(str, image.shape[:0:-1])) for image in (found[0], found[-1])]
            raise ValueError(
                f"{field}={str(folder)!r}: {paths[0].name} is {sizes[0]}, {path.name} is {sizes[1]}; one size is needed"
            )
    return np.stack(found) / 127.5 - 1


def open_folder(path: Path, field: str) -> Finished:
    """A finished run or a folder of pictures. Raises ValueError, naming the field."""
    if not path.is_dir():
        raise ValueError(f"{field}={str(path)!r}: no such folder")
    if not (path / "shards").is_dir():
        images = pictures(path, field)
        return Finished.of(path.name, [Item(None, i) for i in range(len(images))], images, Still())
    try:
        config = yaml.safe_load((path / "config.yaml").read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{field}={str(path)!r}: its config.yaml cannot be read") from error
    folder = RunFolder(path)
    chunks = folder.chunks()
    images, cost = finished(folder, chunks)
    items = tuple(item for chunk in chunks for item in chunk)
    scale = config["sampler"]["guidance"]["scale"]
    scene = built(config["sampler"]["scene"]) if "scene" in config["sampler"] else Still()
    model = built(config["model"])
    return Finished.of(path.name, items, images, scene, folder, chunks, cost, model, scale)


def real_pictures(source: str | None, size: int) -> np.ndarray | None:
    """Of a split of the built-in world or a list of prompts, of its training objects, or of a folder. Raises ValueError."""
    if source is None:
        return None
    if source == OBJECTS:
        world = World.open().where("train", "object")
        return world.rows(world.around).pixels(size)
    if source in LISTS:
        world = World.open().where(LISTS[source], "object")
        return world.rows(world.table["caption"].isin(prompts.read(source)).to_numpy()).pixels(size)
    if source in SPLITS:
        return World.open().where(source).pixels(size)
    if not Path(source).is_dir():
        raise ValueError(f"real={source!r}: must be one of {', '.join((*SPLITS, *LISTS))}, {OBJECTS}, or a folder of pictures")
    return pictures(Path(source), "real")


def samples_of(
    run: Finished,
    uint8: bool,
    real: np.ndarray | None = None,
    samples: np.ndarray | None = None,
    paired: np.ndarray | None = None,
) -> Samples:
    """A run as it is measured, and what it is held against; where the law of the data is known, unrounded: that law does not
    end at [-1, 1].
    """
    truth = None
    uint8 = uint8 and not (isinstance(run.model, ExactModel) and not isinstance(run.model, HasData))
    if run.model is not None and run.items[0].prompt is not None:
        truth = fresh_data(run.model, run.items, N_TRUTH, seed=0)
    shown, real, samples, paired = (
        images if images is None or not uint8 else rounded(images) for images in (run.images, real, samples, paired)
    )
    assert shown is not None
    same_law = run.scale == 1 and run.model is not None and not isinstance(run.model, HasData)
    return Samples(shown, run.items, run.clusters, run.model, truth, same_law, real, samples, paired, run.images, run.sights)


def records(run: Finished, given: Samples, metrics: Mapping[str, Metric], about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tidy rows: what the run is, each measure, and the cost an image."""
    n = len(run.items) // run.n_views
    cost = {f"rows_{use}": run.cost["rows"][use] / n for use in ROW_USES} if run.cost else {}
    if run.cost:
        cost |= {"seconds": run.cost["seconds"] / n, "peak_mb": run.cost["peak_mb"]}
    common = {**about, "run": run.label, "gamma": run.scale, "n": n, "diverged": int(diverged(run.images).sum())}
    return [common | {"measure": name} | values | cost for name, values in measure(given, metrics).items()]


def matched(run: Finished, other: Finished, field: str) -> np.ndarray:
    """The other's picture of each item of a run. Raises ValueError, naming the field, if one is missing."""
    place = {item: i for i, item in enumerate(other.items)}
    missing = [item for item in run.items if item not in place]
    if missing:
        raise ValueError(f"{field}={other.label!r}: lacks {len(missing)} of the items of {run.label}, as {missing[0]}")
    return other.images[[place[item] for item in run.items]]


def evaluate(folders: Sequence[str], settings: Mapping[str, Any], metrics: Mapping[str, Metric]) -> pd.DataFrame:
    """The tidy table of finished runs. Raises ValueError, naming the field, before anything is measured."""
    if not folders:
        raise ValueError("folder: none is given; name finished runs (results/<experiment>/<run>) or folders of pictures")
    runs = [open_folder(Path(folder), "folder") for folder in folders]
    shapes = {run.images.shape[1:] for run in runs}
    if len(shapes) > 1:
        raise ValueError(f"folder: the runs are of different sizes, {', '.join(map(str, sorted(shapes)))}")
    real = real_pictures(settings["real"], runs[0].images.shape[-1])
    paired = settings["paired"] and open_folder(Path(settings["paired"]), "paired")
    other = settings["samples"] and open_folder(Path(settings["samples"]), "samples")
    drawn = other.images[~diverged(other.images)] if other else None
    for field, images in (("real", real), ("samples", drawn)):
        if images is not None and images.shape[1:] != runs[0].images.shape[1:]:
            raise ValueError(
                f"{field}={settings[field]!r}: pictures of {images.shape[1:]}, the runs' are {runs[0].images.shape[1:]}"
            )
    pairs = [matched(run, paired, "paired") if paired else None for run in runs]
    found = []
    for run, pair in zip(runs, pairs, strict=True):
        found += records(run, samples_of(run, settings["uint8"], real, drawn, pair), metrics, {})
    return pd.DataFrame(found)


# ---------------------------------------------------------------------------------------------------------- experiments


def chosen(names: Sequence[str]) -> dict[str, Metric]:
    """The metrics of conf/metric by name."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = OmegaConf.to_container(compose("evaluate", [f"metric=[{','.join(names)}]"]).metric, resolve=True)
    assert isinstance(cfg, dict)
    return {str(name): built(node) for name, node in cfg.items()}


@dataclass(frozen=True)
class Row:
    """A finished run of an experiment, ready to be measured."""

    run: Finished
    given: Samples
    command: str
    folder: str


def rows_of(argv: Sequence[str], tier: str, part: Mapping[str, Any], uint8: bool) -> dict[tuple[str, float], Row]:
    """(row, gamma) -> each run of a tier that is finished, with what it is held against."""
    runs = {}
    for plan in finished_plans(argv, tier):
        images, cost = finished(plan.folder, plan.chunks)
        job = plan.job
        run = Finished.of(plan.label, plan.items, images, job.scene, plan.folder, plan.chunks, cost, job.model, plan.gamma)
        runs[plan.label, plan.gamma] = (run, plan.folder.path.name)
    others = {plan.gamma: plan for plan in finished_plans(argv, part["samples"])} if "samples" in part else {}
    found = {}
    for (row, gamma), (run, folder) in runs.items():
        command = f"python -m sdi_bench.run {shlex.join([argv[0], f'tier={tier}', f'row={row}', *argv[2:]])}"
        reference = runs.get((part.get("paired", ""), gamma))
        drawn = finished(others[gamma].folder, others[gamma].chunks)[0] if gamma in others else None
        real = real_pictures(part.get("real"), run.images.shape[-1])
        samples = None if drawn is None else drawn[~diverged(drawn)]
        paired = None if reference is None or row == part["paired"] else matched(run, reference[0], "paired")
        found[row, gamma] = Row(run, samples_of(run, uint8, real, samples, paired), command, folder)
    return found


def finished_plans(argv: Sequence[str], tier: str) -> list[Plan]:
    """The runs of a tier that are finished."""
    return [plan for plan, *_ in preflight([*argv, f"tier={tier}"]) if not plan.missing]


def shared(a: Samples, b: Samples) -> tuple[Samples, Samples]:
    """The items that both have. Raises UndefinedError if there are none."""
    both = set(a.items) & set(b.items)
    if not both:
        raise UndefinedError("they have no item in common")
    first, second = (some.only(np.array([item in both for item in some.items])) for some in (a, b))
    return first, second


def judged(a: Row, b: Row, names: Sequence[str], margins: Mapping[str, float]) -> list[dict[str, Any]]:
    """a against b on the items that both have, a row a measure: the difference with interval, effect size and p, and whether
    it is within the margin.
    """
    found = []
    for name, metric in chosen(names).items():
        about: dict[str, Any] = {"a": a.run.label, "b": b.run.label, "gamma": a.run.scale, "measure": name, "unit": metric.unit}
        try:
            gap = compared(*shared(a.given, b.given), metric)
        except UndefinedError as why:
            found.append(about | {"undefined": str(why)})
            continue
        about |= gap.estimate._asdict() | {"effect": gap.effect, "p": gap.p}
        if name in margins:
            about |= {"margin": margins[name], "p_equal": equivalent(gap, margins[name]).p}
        found.append(about | {"gap": gap})
    return found


def verdicts(pairs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The pairs as a table, with p-values by Holm over all of them, those asked `later` apart, and the verdict of each."""
    adjusted: dict[int, float] = {}
    for later in (False, True):
        made = [i for i, pair in enumerate(pairs) if "gap" in pair and pair.get("later", False) == later]
        adjusted |= dict(zip(made, holm(np.array([pairs[i]["p"] for i in made])), strict=True)) if made else {}
    rows = []
    for i, pair in enumerate(pairs):
        row = {key: value for key, value in pair.items() if key != "gap"}
        if i in adjusted:
            row |= {"p_holm": adjusted[i], "verdict": verdict(pair["gap"], pair.get("margin"), adjusted[i])}
        rows.append(row)
    return pd.DataFrame(rows)


def experiment(name: str, settings: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """measures: of all rows; differences: from the tier's baseline at the same gamma; claims. Unfinished rows are left out."""
    said = read_experiment(name)
    words = [f"experiment={name}", f"results={literal(settings['results'])}", *settings["also"]]
    margins = said["criteria"]["margins"]
    measures: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    for tier, part in said["tiers"].items():
        if settings["tier"] not in (None, tier) or "metrics" not in part:  # runs with a probe have none
            continue
        rows = rows_of(words, tier, part, settings["uint8"])
        lacking = [f"{plan.label} at gamma {plan.gamma:g}" for plan, *_ in preflight([*words, f"tier={tier}"]) if plan.missing]
        if lacking:
            print(f"{tier}: not finished, left out: {', '.join(lacking)}")
        metrics = chosen(part["metrics"])
        for (row, gamma), made in tqdm(rows.items(), desc=tier, mininterval=5):
            about = {"tier": tier, "command": made.command, "results": made.folder}
            measures += records(made.run, made.given, metrics, about)
            base = rows.get((part.get("baseline", row), gamma))
            if base is not None and base is not made:
                differences += [{"tier": tier} | pair for pair in judged(made, base, part.get("compared", []), margins)]
        for claim in said["criteria"]["claims"]:
            a, b = (rows.get((claim[side], float(claim["gamma"]))) for side in ("a", "b"))
            if claim["tier"] == tier and a is not None and b is not None:
                found = judged(a, b, list(claim["expects"]), margins)
                about = {"claim": claim["says"], "tier": tier, "later": claim.get("later", False)}
                claims += [about | {"expected": claim["expects"][pair["measure"]]} | pair for pair in found]
    return {"measures": pd.DataFrame(measures), "differences": verdicts(differences), "claims": verdicts(claims)}


# ------------------------------------------------------------------------------------------------------------- command


def show(frame: pd.DataFrame) -> str:
    """The measures as a table to read: a line a run."""
    lines = []
    for run, rows in frame.groupby("run", sort=False):
        lines.append(f"{run}   n {rows['n'].iloc[0]}, diverged {rows['diverged'].iloc[0]}")
        for row in rows.to_dict("records"):
            value = (
                cell(row["point"], row["low"], row["high"])
                if row.get("point") == row.get("point")
                else f"- ({row['undefined']})"
            )
            lines.append(f"  {row['measure']:16s} {value}  {row['unit']}")
    return "\n".join(lines)


def main() -> None:
    """Check, measure, write. Exit status 2 for bad input."""
    argv = sys.argv[1:]
    folders, words = [word for word in argv if "=" not in word], [word for word in argv if "=" in word]
    warnings.showwarning = lambda message, *_: print(f"sdi_bench.evaluate: {message}", file=sys.stderr)
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = compose("evaluate", quoted(words))
        settings: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
        name, output = settings["experiment"], settings["output"]
        if name is not None:
            if experiment_of([f"experiment={name}"]) is None:
                known = ", ".join(sorted(path.stem for path in (conf_dir() / "experiments").glob("*.yaml")))
                raise ValueError(f"experiment={name!r}: must be one of {known}")
            if "tiers" not in read_experiment(name):
                raise ValueError(f"experiment={name!r}: has no rows; the main job measures it, or name its folders here")
            folder = Path(output or Path(settings["results"]) / name)
            for table, frame in experiment(name, settings).items():
                write_whole(folder / f"{table}.csv", frame.to_csv(index=False, float_format="%.6g").encode())
                print("written:", folder / f"{table}.csv")
            return
        metrics = {key: built(node) for key, node in (settings["metric"] or {}).items()}
        frame = evaluate(folders, settings, metrics)
        print(show(frame))
        if output is not None:
            write_whole(Path(output), frame.to_csv(index=False).encode())
            print("written:", output)
    except (ValueError, HydraException, OmegaConfBaseException) as error:
        print(f"sdi_bench.evaluate: {explain(error, words, 'evaluate')}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    stoppable(main, "sdi_bench.evaluate")
