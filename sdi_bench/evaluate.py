"""python -m sdi_bench.evaluate: measure finished runs or folders of pictures, apart from how they were made."""

import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from . import prompts
from .compare import ROW_USES, any_measured, cell, clustering, framed, missing
from .data.world import SPLITS, World
from .draws import Item
from .jobs import Plan, every_view, finished
from .measure import (
    N_TRUTH,
    Clusters,
    Samples,
    clustered,
    compared,
    diverged,
    fresh_data,
    measure,
    samples_of,
    tried,
)
from .metrics import Metric, Sights, UndefinedError
from .models.base import Denoiser
from .run import conf_dir, experiment_of, explain, preflight, quoted, read_experiment
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

    clusters: what its intervals are over. Of objects, items and images are the n_views pictures around each, as sights says.
    """

    label: str
    items: tuple[Item, ...]
    images: np.ndarray
    clusters: Clusters
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
        return cls(label, views, images, clustered(items, model).repeat(n_views), cost, model, scale, n_views, sights)

    @property
    def counts(self) -> dict[str, int]:
        """n: items, or objects; diverged: those with a picture that has."""
        n = len(self.items) // self.n_views
        return {"n": n, "diverged": int(diverged(self.images.reshape(n, -1)).sum())}

    def given(
        self,
        uint8: bool,
        real: np.ndarray | None = None,
        samples: np.ndarray | None = None,
        paired: np.ndarray | None = None,
    ) -> Samples:
        """As it is measured, held against the data of its model and whatever else is there."""
        truth = None if self.model is None else fresh_data(self.model, self.items, N_TRUTH, seed=0)
        about = (self.images, self.items, self.clusters, self.model, self.scale, truth, uint8, self.sights)
        return samples_of(*about, real, samples, paired)


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
    scene = instantiate(config["sampler"]["scene"], _convert_="all") if "scene" in config["sampler"] else Still()
    model = instantiate(config["model"], _convert_="all")
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


def records(run: Finished, given: Samples, metrics: Mapping[str, Metric], about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tidy rows: what the run is, each measure, and the cost an image."""
    n = run.counts["n"]
    cost = {f"rows_{use}": run.cost["rows"][use] / n for use in ROW_USES} if run.cost else {}
    if run.cost:
        cost |= {"seconds": run.cost["seconds"] / n, "peak_mb": run.cost["peak_mb"]}
    common = {**about, "run": run.label, "gamma": run.scale} | run.counts
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
        found += records(run, run.given(settings["uint8"], real, drawn, pair), metrics, {})
    return framed(found)


# ---------------------------------------------------------------------------------------------------------- experiments


def chosen(names: Sequence[str]) -> dict[str, Metric]:
    """The metrics of conf/metric by name."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = OmegaConf.to_container(compose("evaluate", [f"metric=[{','.join(names)}]"]).metric, resolve=True)
    assert isinstance(cfg, dict)
    return {str(name): instantiate(node, _convert_="all") for name, node in cfg.items()}


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
        found[row, gamma] = Row(run, run.given(uint8, real, samples, paired), command, folder)
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
        about = {"a": a.run.label, "b": b.run.label, "gamma": a.run.scale, "measure": name, "unit": metric.unit}
        about["clusters"] = a.given.over
        found.append(about | tried(partial(against, a.given, b.given, metric, margins.get(name))))
    return found


def against(a: Samples, b: Samples, metric: Metric, margin: float | None) -> dict[str, Any]:
    """The difference as a row, and itself as `gap`. Raises UndefinedError."""
    gap, n_clusters = compared(*shared(a, b), metric)
    found = gap.estimate._asdict() | {"n_clusters": n_clusters, "effect": gap.effect, "p": gap.p}
    if margin is not None:
        found |= {"margin": margin, "p_equal": equivalent(gap, margin).p}
    return found | {"gap": gap}


def verdicts(pairs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The pairs as a table, with p-values by Holm over all of them, those asked `later` apart, and the verdict of each."""
    adjusted: dict[int, float] = {}
    for later in (False, True):
        made = [i for i, pair in enumerate(pairs) if pair.get("p", np.nan) >= 0 and pair.get("later", False) == later]
        adjusted |= dict(zip(made, holm(np.array([pairs[i]["p"] for i in made])), strict=True)) if made else {}
    rows = []
    for i, pair in enumerate(pairs):
        row = {key: value for key, value in pair.items() if key != "gap"}
        if "gap" in pair:
            p = adjusted.get(i, np.nan)
            row |= {"p_holm": p, "verdict": verdict(pair["gap"], pair.get("margin"), p)}
        rows.append(row)
    return pd.DataFrame(rows)


def experiment(name: str, settings: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """measures: of all rows; differences: from the tier's baseline at the same gamma; claims. Unfinished rows are left out."""
    said = read_experiment(name)
    words = [f"experiment={name}", f"results={settings['results']}", *settings["also"]]
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
    return {"measures": framed(measures), "differences": verdicts(differences), "claims": verdicts(claims)}


# ------------------------------------------------------------------------------------------------------------- command


def show(frame: pd.DataFrame) -> str:
    """The measures as a table to read: a line each, why those that are undefined are, and what ± is."""
    lines = []
    for run, rows in frame.groupby("run", sort=False) if len(frame) else ():
        lines.append(f"{run}   n {rows['n'].iloc[0]}, diverged {rows['diverged'].iloc[0]}")
        for row in rows.to_dict("records"):
            if pd.isna(row["point"]):
                lines.append(f"  {row['measure']:16s} - ({row['undefined']})")
            else:
                lines.append(f"  {row['measure']:16s} {cell(row['point'], row['low'], row['high'])}  {row['unit']}")
    return "\n".join([*lines, *clustering(frame)])


def main() -> None:
    """Check, measure, write. Exit status 2 for bad input, 1 if nothing of what was asked could be measured."""
    argv = quoted(sys.argv[1:])
    folders, words = [word for word in argv if "=" not in word], [word for word in argv if "=" in word]
    warnings.showwarning = lambda message, *_: print(f"sdi_bench.evaluate: {message}", file=sys.stderr)
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = compose("evaluate", words)
        settings: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
        name, output = settings["experiment"], settings["output"]
        if name is not None:
            if experiment_of([f"experiment={name}"]) is None:
                known = ", ".join(sorted(path.stem for path in (conf_dir() / "experiments").glob("*.yaml")))
                raise ValueError(f"experiment={name!r}: must be one of {known}")
            if "tiers" not in read_experiment(name):
                raise ValueError(f"experiment={name!r}: has no rows; the main job measures it, or name its folders here")
            folder = Path(output or Path(settings["results"]) / name)
            tables = experiment(name, settings)
            for table, frame in tables.items():
                write_whole(folder / f"{table}.csv", frame.to_csv(index=False, float_format="%.6g").encode())
                print("written:", folder / f"{table}.csv")
            print(*missing(tables["measures"]), sep="\n")
            sys.exit(0 if any_measured(tables["measures"]) else 1)
        metrics = {key: instantiate(node, _convert_="all") for key, node in (settings.get("metric") or {}).items()}
        frame = evaluate(folders, settings, metrics)
        print(show(frame))
        if output is not None:
            write_whole(Path(output), frame.to_csv(index=False).encode())
            print("written:", output)
        sys.exit(0 if any_measured(frame) else 1)
    except (ValueError, HydraException, OmegaConfBaseException) as error:
        print(f"sdi_bench.evaluate: {explain(error, words, 'evaluate')}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
