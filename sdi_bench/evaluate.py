"""python -m sdi_bench.evaluate: measure finished runs or folders of pictures, apart from how they were made.

  python -m sdi_bench.evaluate gen/ --real real/ --prompts prompts.csv --metric fd_effnet,precision,recall,vendi
  python -m sdi_bench.evaluate mine/ --paired theirs/ --metric lpips,psnr,ssim --output table.csv
  python -m sdi_bench.evaluate results/main/* metric=[contrast,lpips] paired=results/main/builtin-ddim-g1-...
  python -m sdi_bench.evaluate mine/ prompts=captions.csv metric=[clip_score] metric.clip_score.folder=CLIP

python -m sdi_bench.evaluate FOLDER ... [--SETTING VALUE ...] [SETTING=VALUE ...] [-- FOLDER ...]

FOLDER is a finished run (results/<experiment>/<run>) or any folder of pictures, of any sizes. --SETTING VALUE says the same as
SETTING=VALUE, with commas for a list; a path with blanks, commas or quotes is taken as it stands. --real without --metric has
contrast, sharpness, saturation, kd_effnet, precision and recall measured. A word with "=" is a setting if its name is one of
those below, else a folder if there is one of that name; after -- all words are folders.
"""

import re
import shlex
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from . import helps, prompts
from .captions import captions
from .command_line import conf_dir, experiments, read_experiment
from .compare import ROW_USES, any_measured, cell, clustering, framed, missing
from .data.world import SIZE, SPLITS, World
from .draws import Item
from .explain import explain
from .guidance import gamma_said
from .jobs import Plan, every_view, finished
from .measuring import (
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
from .picture_files import Folder, places, read_folder
from .pictures import name_of
from .plans import built
from .provenance import provenance
from .reading import read_table
from .run import stoppable, warn_as
from .scenes import Image, Scene
from .sizes import Packed, Pictures, sizes, together
from .stats import UNTOLD, equivalent, holm, in_words
from .store import RunFolder, writable, write_whole
from .sweeps import preflight
from .texts import last_part, near_match
from .trust import settings_of
from .words import TEXTS, halves, literal, quoted

OBJECTS = "objects"
"""Real pictures: of the training objects, from the eight angles around them."""

LISTS = {"furniture": "val", "furniture_tune": "tune"}
"""Real pictures: those that a list of prompts that ships is of, and the split they are from."""


@dataclass(frozen=True)
class Finished:
    """A run of which all is done, or a folder of pictures (items without a prompt, no cost, no model).

    files: of a folder of pictures. clusters: what its intervals are over. Of objects, items and images are the n_views
    pictures around each, as sights says.
    """

    label: str
    items: tuple[Item, ...]
    images: Pictures
    clusters: Clusters
    cost: Mapping[str, Any] | None = None
    model: Denoiser | None = None
    scale: float | None = None
    n_views: int = 1
    sights: Sights | None = None
    files: Folder | None = None

    @property
    def names(self) -> list[str]:
        """What each picture is called: its file, or its prompt and seed."""
        if self.files is None:
            return [name_of(item) for item in self.items]
        return [self.files.names[i] for i in self.files.read]

    @classmethod
    def shown(cls, label: str, files: Folder, told: Sequence[str | None]) -> "Finished":
        """A folder of pictures, told: the prompt of each."""
        items = tuple(Item(prompt, i) for prompt, i in zip(told, files.read, strict=True))
        return cls(label, items, files.images, clustered(items), files=files)

    @classmethod
    def of(
        cls,
        label: str,
        items: Sequence[Item],
        images: Pictures,
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
        return {"n": n, "diverged": int(diverged(self.images).reshape(n, -1).any(axis=1).sum())}

    def given(
        self,
        uint8: bool,
        real: Pictures | None = None,
        samples: Pictures | None = None,
        paired: Pictures | None = None,
    ) -> Samples:
        """As it is measured, held against the data of its model and whatever else is there."""
        for whose, some in ((self.label, self.images), ("paired", paired), ("samples", samples)):
            if not uint8 and isinstance(some, Packed):
                raise ValueError(
                    f"uint8=false: the pictures of {whose} were rounded when they were kept; run it with keep=exact"
                )
        truth = None if self.model is None else fresh_data(self.model, self.items, N_TRUTH, seed=0)
        about = (self.images, self.items, self.clusters, self.model, self.scale, truth, uint8, self.sights)
        return samples_of(*about, real, samples, paired)


def open_folder(path: Path, field: str, recursive: bool = False, modules: Sequence[str] = ()) -> Finished:
    """A finished run or a folder of pictures, and of those inside it if recursive. Raises ValueError, naming the field.

    modules: whose classes and functions a run's configuration may name, beside this package's.
    """
    if not path.is_dir():
        raise ValueError(f"{field}={str(path)!r}: no such folder")
    if not (path / "shards").is_dir():
        files = read_folder(path, field, recursive)
        return Finished.shown(path.name, files, [None] * len(files.read))
    folder = RunFolder(path)
    config = settings_of(folder, modules, field)
    chunks = folder.chunks()
    images, cost, _ = finished(folder, chunks)
    items = tuple(item for chunk in chunks for item in chunk)
    scale = gamma_said(config["sampler"]["guidance"])
    scene = built(config["sampler"]["scene"]) if "scene" in config["sampler"] else Image()
    model = built(config["model"])
    if model.fingerprint != config["fingerprint"]:
        raise ValueError(
            f"{field}={str(path)!r}: was made with another model than is found now, with model.path="
            f"{config['model'].get('path')!r}; put that back, or write into the folder's config.yaml where it is"
        )
    return Finished.of(path.name, items, images, scene, folder, chunks, cost, model, scale)


def told_apart(folders: Sequence[str]) -> list[str]:
    """A label for each folder: its name, or where several have that name its path as given. Raises ValueError for one twice."""
    places = [Path(folder).resolve() for folder in folders]
    names = Counter(place.name for place in places)
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"folder={folder!r}: is given twice")
    return [place.name if names[place.name] == 1 else folder for folder, place in zip(folders, places, strict=True)]


def real_pictures(source: str | None, size: int, recursive: bool = False) -> Pictures | None:
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
    return read_folder(Path(source), "real", recursive).images


def size_of(images: Pictures) -> int:
    """The size of the built-in world's pictures that these are held against: their own where it has that, else its largest."""
    sides = {side for size in sizes(images) for side in size}
    return min(sides) if len(sides) == 1 and sides <= {8, 16, 32, SIZE} else SIZE


def records(run: Finished, given: Samples, metrics: Mapping[str, Metric], about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tidy rows: what the run is, each measure, and the cost an image."""
    n = run.counts["n"]
    cost = {f"rows_{use}": run.cost["rows"].get(use, 0) / n for use in ROW_USES} if run.cost else {}
    if run.cost:
        cost |= {"seconds": run.cost["seconds"] / n, "peak_mb": run.cost["peak_mb"]}
    common = {**about, "run": run.label, "gamma": run.scale} | run.counts
    return [common | {"measure": name} | values | cost for name, values in measure(given, metrics).items()]


def matched(run: Finished, other: Finished, field: str) -> Pictures:
    """The other's picture of each item of a run: of the same prompt and seed, or in folders of pictures of the same file name.

    NaN where a folder has none, which is told in a warning, both ways. Raises ValueError, naming the field, if an item of a run
    is missing, no name is shared, or two pictures of a pair differ in size.
    """
    where = f"{field}={other.label!r}"
    if (run.files is None) != (other.files is None):
        files, items = (run, other) if run.files else (other, run)
        raise ValueError(
            f"{where}: {files.label} is a folder of pictures, {items.label} a run of prompts and seeds, and nothing says which "
            "belong together; what would do: two runs of the same items, or two folders with the same file names"
        )
    if run.files is None:
        place = {item: i for i, item in enumerate(other.items)}
        missing = [item for item in run.items if item not in place]
        if missing:
            raise ValueError(f"{where}: lacks {len(missing)} of the items of {run.label}, as {missing[0]}")
        mates = [place.get(item) for item in run.items]
    else:
        own, theirs = places(run.names, f"folder={run.label!r}"), places(other.names, where)
        mates = [theirs.get(key) for key in own]
        alone = [[run.names[i] for key, i in own.items() if key not in theirs]]
        alone.append([other.names[i] for key, i in theirs.items() if key not in own])
        if not any(key in theirs for key in own):
            raise ValueError(f"{where}: no file has the name of one of {run.label}: {other.names[0]}, not {run.names[0]}")
        for some, names in zip((run, other), alone, strict=True):
            if names:
                warnings.warn(f"{where}: {len(names)} of {some.label} have no mate: {', '.join(names)}", stacklevel=2)
    unlike = [
        f"{run.names[i]} is {spelled(run.images[i])}, {other.names[j]} {spelled(other.images[j])}"
        for i, j in enumerate(mates)
        if j is not None and run.images[i].shape != other.images[j].shape
    ]
    if unlike:
        raise ValueError(f"{where}: pairs must be of one size: {'; '.join(unlike)}")
    if run.files is None:
        return other.images[np.array(mates)]
    return together([np.full_like(run.images[i], np.nan) if j is None else other.images[j] for i, j in enumerate(mates)])


def spelled(image: np.ndarray) -> str:
    """Its size: width x height of a picture."""
    return " x ".join(map(str, image.shape[:0:-1] if image.ndim == 3 else image.shape))


def told(runs: Sequence[Finished], source: str | None) -> list[Finished]:
    """The same, the folders of pictures with prompts. Raises ValueError where there are prompts and no such folder."""
    if source is None:
        return list(runs)
    if all(run.files is None for run in runs):
        raise ValueError(f"prompts={source!r}: finished runs have prompts of their own; these are for folders of pictures")
    return [
        run if run.files is None else Finished.shown(run.label, run.files, captions(source, run.files, run.label))
        for run in runs
    ]


def comparable(a: Pictures, b: Pictures) -> bool:
    """Whether both are colour pictures, of any size, or of one shape."""
    return a[0].shape == b[0].shape or all(images[0].ndim == 3 and len(images[0]) == 3 for images in (a, b))


def evaluate(folders: Sequence[str], settings: Mapping[str, Any], metrics: Mapping[str, Metric]) -> pd.DataFrame:
    """The tidy table of finished runs. Raises ValueError, naming the field, before anything is measured."""
    if not folders:
        raise ValueError("folder: none is given; name finished runs (results/<experiment>/<run>) or folders of pictures")
    inside, modules = settings["recursive"], settings["modules"]
    opened = [open_folder(Path(folder), "folder", inside, modules) for folder in folders]
    labels = told_apart(folders)
    runs = told([replace(run, label=label) for run, label in zip(opened, labels, strict=True)], settings["prompts"])
    odd = next((run for run in runs if not comparable(run.images, runs[0].images)), None)
    if odd is not None:
        shapes = ", ".join(map(str, sorted({run.images[0].shape for run in (runs[0], odd)})))
        raise ValueError(f"folder: the runs are of different sizes, {shapes}")
    reals = {size: real_pictures(settings["real"], size, inside) for size in dict.fromkeys(size_of(run.images) for run in runs)}
    paired = settings["paired"] and open_folder(Path(settings["paired"]), "paired", inside, modules)
    other = settings["samples"] and open_folder(Path(settings["samples"]), "samples", inside, modules)
    drawn = other.images[~diverged(other.images)] if other else None
    for field, images in (*(("real", images) for images in reals.values()), ("samples", drawn)):
        if images is not None and len(images) and not comparable(images, runs[0].images):
            shapes = f"pictures of {images[0].shape}, the runs' are {runs[0].images[0].shape}"
            raise ValueError(f"{field}={settings[field]!r}: {shapes}")
    pairs = [matched(run, paired, "paired") if paired else None for run in runs]
    found = []
    for run, pair in zip(runs, pairs, strict=True):
        given = run.given(settings["uint8"], reals[size_of(run.images)], drawn, pair)
        found += records(run, given, metrics, {})
    return framed(found)


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
        images, cost, _ = finished(plan.folder, plan.chunks)
        job = plan.job
        run = Finished.of(plan.label, plan.items, images, job.scene, plan.folder, plan.chunks, cost, job.model, plan.gamma)
        runs[plan.label, plan.gamma] = (run, plan.folder.path.name)
    others = {plan.gamma: plan for plan in finished_plans(argv, part["samples"])} if "samples" in part else {}
    found = {}
    for (row, gamma), (run, folder) in runs.items():
        command = f"python -m sdi_bench.run {shlex.join([argv[0], f'tier={tier}', f'row={row}', *argv[2:]])}"
        reference = runs.get((part.get("paired", ""), part.get("at", gamma)))
        drawn = finished(others[gamma].folder, others[gamma].chunks).images if gamma in others else None
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
        if b.run.scale != a.run.scale:
            about["gamma_b"] = b.run.scale
        found.append(about | tried(partial(against, a.given, b.given, metric, margins.get(name))))
    return found


def both_of(pair: Mapping[Any, Any]) -> list[tuple[str, float]]:
    """(row, gamma) of both sides of a claim, or of a comparison's row; gamma_b: of b, where it is not that of a."""
    gamma_b = pair.get("gamma_b")
    return [(pair["a"], float(pair["gamma"])), (pair["b"], float(pair["gamma"] if pd.isna(gamma_b) else gamma_b))]


def against(a: Samples, b: Samples, metric: Metric, margin: float | None) -> dict[str, Any]:
    """The difference as a row. Raises UndefinedError."""
    gap, n_clusters = compared(*shared(a, b), metric)
    found = gap.estimate._asdict() | {"n_clusters": n_clusters, "effect": gap.effect, "p": gap.p}
    if margin is not None:
        found |= {"margin": margin, "p_equal": equivalent(gap, margin).p}
    return found


def verdicts(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs with p-values by Holm over all of them, those asked `later` apart, and the verdict of each."""
    if pairs.empty:
        return pairs
    columns = [*(name for name in pairs if name not in SAID), *(name for name in ("point", "p") if name not in pairs), *SAID]
    found = pairs.reindex(columns=columns).astype({"verdict": object})
    later = found["later"] if "later" in found else pd.Series(False, found.index)
    for when in (False, True):
        made = found.index[found["p"].notna() & (later == when)]
        if len(made):
            found.loc[made, "p_holm"] = holm(found.loc[made, "p"].to_numpy(float))
    for i, row in found[found["point"].notna()].iterrows():
        equal = row.get("p_equal", np.nan)
        found.loc[i, "verdict"] = (
            UNTOLD if pd.isna(row["p"]) else in_words(row["point"], row["p_holm"], row.get("margin"), equal)
        )
    return found


SAID = ("p_holm", "verdict")
"""What is said of a pair among all of them."""


def experiment(
    name: str, settings: Mapping[str, Any], earlier: Mapping[str, pd.DataFrame] | None = None
) -> dict[str, pd.DataFrame]:
    """measures: of all rows; differences: from the tier's baseline at the same gamma, or at the one gamma that the tier
    says of it (at); claims. Unfinished rows are left out.

    earlier: tables of the same experiment. A tier that is not asked for, and a run that is not here, keep the rows that they
    have of runs as they would be made today (the same folder, the same number of items). p-values are by Holm over all.
    """
    earlier = earlier or {table: pd.DataFrame() for table in TABLES}
    said = read_experiment(name)
    words = [f"experiment={name}", f"results={literal(settings['results'])}", *settings["also"]]
    margins = said["criteria"]["margins"]
    tables: dict[str, list[pd.DataFrame]] = {table: [] for table in TABLES}
    for tier, part in said["tiers"].items():
        if "metrics" not in part:  # runs with a probe have none
            continue
        plans = [plan for plan, *_ in preflight([*words, f"tier={tier}"])]
        if settings["tier"] not in (None, tier) or all(plan.missing for plan in plans):
            kept = of_before(tier, plans, earlier)
            if len(kept["measures"]) or settings["tier"] in (None, tier):
                print(f"{tier}: {'as it was measured before' if len(kept['measures']) else 'not finished, left out'}")
            for table, frame in kept.items():
                tables[table].append(frame)
            continue
        rows = rows_of(words, tier, part, settings["uint8"])
        lacking = [plan for plan in plans if plan.missing]
        kept = of_before(tier, plans, earlier, lacking)
        known = {(row["run"], row["gamma"]) for row in kept["measures"].to_dict("records")}
        for text, there in (("as measured before", True), ("not finished, left out", False)):
            these = [plan for plan in lacking if ((plan.label, float(plan.gamma)) in known) is there]
            if these:
                print(f"{tier}: {text}: {', '.join(f'{plan.label} at gamma {plan.gamma:g}' for plan in these)}")
        metrics = chosen(part["metrics"])
        measures: list[dict[str, Any]] = []
        differences: list[dict[str, Any]] = []
        claims: list[dict[str, Any]] = []
        for (row, gamma), made in tqdm(rows.items(), desc=tier, mininterval=5):
            about = {"tier": tier, "command": made.command, "results": made.folder}
            measures += records(made.run, made.given, metrics, about)
            base = rows.get((part.get("baseline", row), part.get("at", gamma)))
            if base is not None and base is not made:
                differences += [{"tier": tier} | pair for pair in judged(made, base, part.get("compared", []), margins)]
        for claim in said["criteria"]["claims"]:
            a, b = (rows.get(pair) for pair in both_of(claim))
            if claim["tier"] == tier and a is not None and b is not None:
                found = judged(a, b, list(claim["expects"]), margins)
                about = {"claim": claim["says"], "tier": tier, "later": claim.get("later", False)}
                claims += [about | {"expected": claim["expects"][pair["measure"]]} | pair for pair in found]
        made_now = (framed(measures), pd.DataFrame(differences), pd.DataFrame(claims))
        for table, now in zip(TABLES, made_now, strict=True):
            tables[table] += [now, kept[table]]
    whole = {table: joined(frames) for table, frames in tables.items()}
    return {
        "measures": whole["measures"] if len(whole["measures"]) else framed([]),
        "differences": verdicts(whole["differences"]),
        "claims": verdicts(whole["claims"]),
    }


TABLES = ("measures", "differences", "claims")
"""What an experiment's evaluation writes, a csv each."""


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One below the other; what is empty has no say in the columns."""
    some = [frame for frame in frames if len(frame)]
    return pd.concat(some, ignore_index=True) if some else pd.DataFrame()


def of_before(
    tier: str, plans: Sequence[Plan], earlier: Mapping[str, pd.DataFrame], wanted: Sequence[Plan] | None = None
) -> dict[str, pd.DataFrame]:
    """The rows of earlier tables that are about these runs of a tier, and the comparisons among them; of what has to do with
    those that are wanted, all unless they are given.
    """
    runs = {(plan.folder.path.name, len(plan.items)): (plan.label, float(plan.gamma)) for plan in plans}
    known = earlier["measures"]
    if known.empty:  # comparisons of runs that no table has are not believed
        return {table: pd.DataFrame() for table in TABLES}
    measures = known[[row["tier"] == tier and (row["results"], row["n"]) in runs for row in known.to_dict("records")]]
    there = {runs[pair] for pair in zip(measures["results"], measures["n"], strict=True)}
    asked = {(plan.label, float(plan.gamma)) for plan in (plans if wanted is None else wanted)}
    rows = zip(measures["results"], measures["n"], strict=True)
    found = {"measures": measures[[runs[pair] in asked for pair in rows]]}
    for table in ("differences", "claims"):
        frame = earlier[table]
        pairs = [(row["tier"], set(both_of(row))) for row in frame.to_dict("records")]
        found[table] = frame[[where == tier and pair <= there and bool(pair & asked) for where, pair in pairs]]
    return found


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


def sorted_out(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """(folders, settings) of a command line. After -- all are folders."""
    known = yaml.safe_load((conf_dir() / "evaluate.yaml").read_text())
    cut = list(argv).index("--") if "--" in argv else len(argv)
    folders: list[str] = []
    words: list[str] = []
    for word in argv[:cut]:
        key, equals, _ = word.partition("=")
        setting = key in known or re.match(r"[+~]*metric\b|[+~]", key)
        (words if equals and (setting or not Path(word).is_dir()) else folders).append(word)
    return [*folders, *argv[cut + 1 :]], words


def plainly(argv: Sequence[str]) -> list[str]:
    """`--real FOLDER`, `--real=FOLDER` and `--recursive` as `real=FOLDER` and `recursive=true`; other words as they are.

    Raises ValueError, naming the option, for one that there is not, or that lacks its value.
    """
    known = yaml.safe_load((conf_dir() / "evaluate.yaml").read_text())
    names = ["metric", "experiment", *(key for key in known if key not in ("defaults", "name"))]
    found: list[str] = []
    plain: set[str] = set()
    cut = list(argv).index("--") if "--" in argv else len(argv)
    rest = iter(argv[:cut])
    for word in rest:
        if not word.startswith("--") or word == "--help":
            found.append(word)
            continue
        key, equals, value = word[2:].partition("=")
        name = key.split(".")[0]
        if name not in names:
            raise ValueError(f"--{key}: no such option; {near_match(f'--{key}', [f'--{name}' for name in names])}")
        if not equals and key == "recursive":
            value = "true"
        elif not equals:
            value = next(rest, "")
            if not value or value.startswith("--"):
                raise ValueError(f"--{key}: must be followed by a value")
        if key == "metric" or isinstance(known.get(key), list):
            value = value if value.startswith("[") else f"[{value}]"
        elif last_part(key) in TEXTS:
            value = literal(value)
        found.append(f"{key}={value}")
        plain |= {name}
    if "real" in plain and not any(halves(word)[0].split(".")[0].lstrip("+~") == "metric" for word in found):
        found.append(f"metric=[{','.join(usual(True))}]")
    return [*found, *argv[cut:]]


def usual(real: bool) -> tuple[str, ...]:
    """The metrics that are measured if none is said: against real pictures, or without."""
    look, sets, text = ("contrast", "sharpness", "saturation"), ("kd_effnet", "precision", "recall"), ("rprec", "tclip", "view")
    return (*look, *(sets if real else text))


def usage() -> str:
    """What --help shows."""
    return (
        f"{helps.page(__doc__, 'evaluate')}\n\nSettings (conf/evaluate.yaml):\n\n{(conf_dir() / 'evaluate.yaml').read_text()}"
    )


def main() -> None:
    """Check, measure, write. Exit status 2 for bad input, 1 if nothing of what was asked could be measured."""
    if helps.asks(sys.argv[1:]):
        named = [word for word in sys.argv[1:] if word in helps.OF["evaluate"]]
        print(helps.about(named, "evaluate") if named else usage())
        return
    warn_as("sdi_bench.evaluate")
    words: list[str] = []
    try:
        folders, words = sorted_out(plainly(sys.argv[1:]))
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            # the main job has a group of this name; here it is a setting like any other
            cfg = compose("evaluate", quoted([re.sub("^experiment=", "name=", word) for word in words]))
        settings: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
        name, output = settings["name"], settings["output"]
        for key in ("recursive", "uint8"):
            if not isinstance(settings[key], bool):
                raise ValueError(f"{key}={settings[key]!r}: must be true or false")
        if name is not None:
            if name not in experiments():
                raise ValueError(f"experiment={name!r}: {near_match(name, experiments())}")
            if "tiers" not in read_experiment(name):
                raise ValueError(f"experiment={name!r}: has no rows; the main job measures it, or name its folders here")
            folder = Path(output or Path(settings["results"]) / name)
            writable(folder, "output")
            earlier = {table: read_table(folder / f"{table}.csv") for table in TABLES}
            tables = experiment(name, settings, earlier)
            for table, frame in tables.items():
                write_whole(folder / f"{table}.csv", frame.to_csv(index=False, float_format="%.6g").encode())
                print("written:", folder / f"{table}.csv")
            RunFolder(folder).write_json("measures.provenance.json", provenance("sdi_bench.evaluate", sys.argv[1:]))
            print(*missing(tables["measures"]), sep="\n")
            if not any_measured(tables["measures"]):
                sys.exit(1)
            return
        if output is not None and Path(output).is_dir():
            raise ValueError(f"output={output!r}: is a folder; name a file for the table, as {output.rstrip('/')}/table.csv")
        if output is not None:
            writable(Path(output).parent, "output")
        metrics = {key: built(node) for key, node in (settings.get("metric") or {}).items()}
        frame = evaluate(folders, settings, metrics)
        print(show(frame))
        if output is not None:
            path = Path(output)
            write_whole(path, frame.to_csv(index=False).encode())
            RunFolder(path.parent).write_json(f"{path.stem}.provenance.json", provenance("sdi_bench.evaluate", sys.argv[1:]))
            print("written:", output)
        if not any_measured(frame):
            sys.exit(1)
    except (ValueError, HydraException, OmegaConfBaseException) as error:
        print(f"sdi_bench.evaluate: {explain(error, words, 'evaluate')}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    stoppable(main, "sdi_bench.evaluate")
