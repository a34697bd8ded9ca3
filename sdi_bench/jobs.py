"""From a plan to finished files: shards, measures, the table and the pictures of a sweep."""

import hashlib
import re
import resource
import shlex
import textwrap
import time
import traceback
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from . import boards, pictures
from .compare import INSTEAD, Around, Entry, any_measured, notes, render, settings_in, tidy
from .data.shipped import sums
from .draws import Item
from .ledger import Ledger, Work, merged
from .levels import Level
from .measuring import N_TRUTH, Samples, clustered, diverged, fresh_data, measure, packed, rounded, samples_of
from .metrics import MEASURES_VERSION, Metric, Sights
from .models.base import Denoiser, HasData, HasOutput, images_of
from .noise import Noises
from .predictor import Cost, Use
from .probes import Probe
from .provenance import keep, provenance
from .samplers import State
from .sampling import Job
from .scenes import Scene, Solid, Wording, surface
from .sizes import Packed, Pictures, chained, whole
from .store import TRACE, NotReadError, NotWrittenError, RunFolder, Shard, digest, sealed, sweep_up, write_whole
from .texts import last_part, line
from .together import clock, together, waited
from .trace import Trace
from .update import Moments

SHARD = 64
"""Items a shard. Shards are cut from the list of items, whatever the batch size."""

FIELDS = 8
"""Items a shard where an item is a field: seconds each, seen from many sides."""

SHOWN = 8
"""Fields of a run that its picture shows."""

TURNING = 64
"""Fields of a run that get a turntable."""

NAME = 40
"""Letters of a prompt that a file's name shows."""

CHECKPOINT = 20.0
"""Seconds after which an unfinished batch of score distillation is kept."""

KEEP = {"8bit": np.uint8, "latents": np.uint8, "float16": np.float16}
"""How pictures may be kept, but exact: what a value of theirs is."""

LOOK = 1.0
"""Seconds after which it is looked again whether a network gives anything finite."""

BLOWN = 1e4
"""Beyond it an x0 was blown up by its sampler; pictures and latents are of the order of 1."""

N_TRAJECTORY, N_TRAJECTORY_STATES = 8, 64
"""Items, and states at most, of which a run keeps x0, eps and kappa."""


@dataclass(frozen=True)
class Plan:
    """One run, ready to go: objects, items, and the folder that its choices name.

    part: (k, n), which n-th of the sweep's shards. offset: how many of these come before its own. only: the names of those to
    be made; None: all. probe: measured along the path; its arrays are kept, and no images. place: of an experiment. keep: how
    pictures are kept, one of KEEP. about: what it is, for a table: model, sampler, kappa, gamma, levels, ...; varied: what a
    sweep says of the settings that its runs differ in.
    """

    label: str
    job: Job
    items: tuple[Item, ...]
    metrics: Mapping[str, Metric]
    folder: RunFolder
    config: Mapping[str, Any]
    batch_size: int
    part: tuple[int, int] = (0, 1)
    probe: Probe | None = None
    place: tuple[str, str] | None = None
    keep: str = "exact"
    offset: int = 0
    only: frozenset[str] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    varied: Mapping[str, str] = field(default_factory=dict)

    @property
    def gamma(self) -> float:
        """Its guidance scale, in the convention of arXiv 2405.15891, eq. 3."""
        return self.job.sampler.guidance.gamma

    @property
    def chunks(self) -> list[tuple[Item, ...]]:
        """The items of each shard."""
        size = FIELDS if isinstance(self.job.scene, Solid) else SHARD
        return [self.items[k : k + size] for k in range(0, len(self.items), size)]

    @property
    def missing(self) -> list[tuple[Item, ...]]:
        """The shards that are not there."""
        return [chunk for chunk in self.chunks if not self.folder.has(chunk)]

    @property
    def overwrite(self) -> bool:
        """Are its shards made again? Each is replaced when the new one is whole; those of other items stay."""
        return bool(self.config["overwrite"])

    @property
    def todo(self) -> list[tuple[Item, ...]]:
        """The shards that this process is to make."""
        (k, n), chunks = self.part, enumerate(self.chunks, self.offset)
        mine = [chunk for place, chunk in chunks if place % n == k and self.wanted(chunk)]
        return mine if self.overwrite else [chunk for chunk in mine if not self.folder.has(chunk)]

    def wanted(self, chunk: Sequence[Item]) -> bool:
        """Is this shard to be made, or only others?"""
        return self.only is None or self.folder.shard_path(chunk).stem in self.only


def busy(job: Job) -> float:
    """Seconds by the clock, less those that went on runs which asked the model together with this one."""
    return clock(job.device) - waited(job.model)


def peak_mb(device: str) -> float:
    """Peak memory of this process so far, on the device if it has a count of its own."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def first_rows(state: State, n: int) -> dict[str, np.ndarray]:
    """What is kept of a state: x0, eps, kappa (NaN where none was added) and sigma of the first n items."""
    kappa = torch.full_like(state.x0, torch.nan) if state.kappa is None else state.kappa
    values = {"x0": state.x0, "eps": state.eps, "kappa": kappa, "sigma": state.level.sigma.expand(len(state.x0))}
    return {name: value[:n].cpu().numpy() for name, value in values.items()} | {"index": np.array(state.index)}


Kept = list[dict[str, np.ndarray]]
"""What some states of a batch looked like on the way, of its first items."""


class Watch:
    """Looks whether a network gives anything finite. Raises ValueError, in one line, once it is clear that it does not.

    It is clear when no item of a shard so far, two at least or the whole shard, is finite, nor was ever beyond BLOWN: a sampler
    that diverges gets there through large numbers, and its items are counted as diverged; a network that overflows in its
    precision gives NaN for an ordinary x. An accelerator is waited for every LOOK seconds at most, and at a batch's end.
    """

    def __init__(self, model: Denoiser, n: int) -> None:
        self.asks_network = isinstance(model, HasOutput)
        self.n, self.lost, self.any_right = n, 0, False

    def begin(self, size: int) -> None:
        """A batch of so many items begins."""
        self.size, self.looked = size, time.perf_counter()
        self.largest: torch.Tensor | None = None

    def see(self, state: State) -> None:
        """Its next state."""
        if not self.asks_network or self.any_right:
            return
        self.x0 = state.x0.flatten(1)
        now = self.x0.abs().nan_to_num(0, 0, 0).amax(1)
        self.largest = now if self.largest is None else torch.maximum(self.largest, now)
        if time.perf_counter() - self.looked > LOOK:
            self.look()
            self.looked = time.perf_counter()

    def end(self) -> None:
        """It is whole; nothing was seen of one that was made earlier."""
        self.any_right = self.any_right or self.largest is None or self.look()
        self.lost += self.size

    def look(self) -> bool:
        """Is any item of the batch right?"""
        assert self.largest is not None
        right, lost = bool((self.x0.isfinite().all(1) | (self.largest > BLOWN)).any()), self.lost + self.size
        if not right and lost >= min(2, self.n):
            raise ValueError(
                f"the network gives numbers that are not finite, for all of the first {lost} items: its precision overflows; "
                "dtype=bfloat16 or float32 (model.dtype) would do, or a smaller guidance.scale"
            )
        return right


def make_shard(plan: Plan, items: Sequence[Item], bar: tqdm, keep_trajectory: bool) -> None:
    """Sample one shard in batches and keep it; of its first items, keep what the states looked like on the way.

    A batch of score distillation is kept from time to time and goes on from there, with the same bits, if the run was killed.
    """
    images, params, latents, parts, traces = [], [], [], [], []
    paths: list[Kept] = []
    n_states = plan.job.sampler.n_states
    stride = -(-n_states // N_TRAJECTORY_STATES)
    watch = Watch(plan.job.model, len(items))
    batches = [items[k : k + plan.batch_size] for k in range(0, len(items), plan.batch_size)]
    for k, batch in enumerate(batches):
        since, cost, spent, kept, trace = load(plan, batch)
        shown = N_TRAJECTORY - k * plan.batch_size if keep_trajectory else 0
        began, saved = busy(plan.job), time.perf_counter()
        watch.begin(len(batch))
        state = since
        if since is not None:
            bar.update(len(batch) * (since.index + 1))
        for state in plan.job.states(batch, cost, since):
            if shown > 0 and (state.index % stride == 0 or state.index == n_states - 1):
                kept.append(first_rows(state, shown))
            watch.see(state)
            trace.see(state)
            bar.update(len(batch))
            if state.params is not None and time.perf_counter() - saved > CHECKPOINT:
                save(plan, batch, state, cost, spent + busy(plan.job) - began, kept, trace)
                saved = time.perf_counter()
        assert state is not None
        spent += busy(plan.job) - began
        watch.end()
        parts.append((cost, spent))
        if k < len(batches) - 1 and state.params is not None and state is not since:
            save(plan, batch, state, cost, spent, kept, trace)
        seen = plan.job.pictures(state).cpu().numpy()
        images.append(packed(seen, KEEP[plan.keep]) if plan.keep in KEEP else seen)
        if plan.keep == "latents":
            latents.append(plan.job.left(state).cpu().numpy())
        if not plan.job.scene.is_x0:
            assert state.params is not None
            params.append(state.params.cpu().numpy())
        traces.append(trace.arrays())
        if shown > 0:
            paths.append(kept)
    rows = {str(use): sum(cost.rows[use] for cost, _ in parts) for use in Use}
    made, held = (np.concatenate(arrays) if arrays else None for arrays in (params, latents))
    spent = sum(seconds for _, seconds in parts)
    whole = (joined_pictures(images), rows, spent, peak_mb(plan.job.device), made, held, chained_traces(traces))
    plan.folder.write_shard(Shard(tuple(items), *whole))
    for batch in batches:
        plan.folder.drop_checkpoint(batch)
    if paths and all(kept and kept[0]["index"] == 0 for kept in paths):
        plan.folder.write_arrays("trajectory.npz", **sealed(joined(paths), plan.folder.path.name))


def joined(paths: Sequence[Kept]) -> dict[str, np.ndarray]:
    """The paths of several batches as one, in float32: name -> [states, items, ...]; the index, which they share: [states]."""
    stacked = [{name: lighter(np.stack([rows[name] for rows in kept])) for name in kept[0]} for kept in paths]
    whole = {name: np.concatenate([path[name] for path in stacked], axis=1) for name in stacked[0] if name != "index"}
    return whole | {"index": stacked[0]["index"]}


def lighter(array: np.ndarray) -> np.ndarray:
    """float64 as float32: what is looked at needs no more."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


def chained_traces(traces: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The traces of several batches as one; the index of states they share. Nothing where one of them has none."""
    if not all(traces):
        return {}
    whole = {name: np.concatenate([trace[name] for trace in traces]) for name in traces[0] if name != "index"}
    return whole | {"index": traces[0]["index"]}


def save(plan: Plan, batch: Sequence[Item], state: State, cost: Cost, seconds: float, kept: Kept, trace: Trace) -> None:
    """Keep an unfinished batch and its path so far, and show what it looks like now."""
    assert state.params is not None
    arrays = {name: getattr(state, name).cpu().numpy() for name in ("x0", "eps", "params")}
    arrays |= {name: getattr(state.level, name).cpu().numpy() for name in "abt"}
    if state.memory is not None:
        arrays |= {name: getattr(state.memory, name).cpu().numpy() for name in ("first", "second")}
        arrays["n"] = np.array(state.memory.n)
    if state.kappa is not None:
        arrays["kappa"] = state.kappa.cpu().numpy()
    if state.noises is not None:
        arrays |= {f"{NOISES}{name}": rows.cpu().numpy() for name, rows in state.noises._asdict().items()}
    arrays |= {f"{LEARNT}{name}": rows.cpu().numpy() for name, rows in (state.learnt or {}).items()}
    arrays |= {"index": np.array(state.index), "seconds": np.array(seconds), "rows": np.array([cost.rows[use] for use in Use])}
    arrays |= {f"{TRACE}{name}": array for name, array in trace.arrays().items()}
    if kept:
        arrays |= {f"{PATH}{name}": np.stack([rows[name] for rows in kept]) for name in kept[0]}
    plan.folder.write_checkpoint(batch, arrays)
    if not plan.job.scene.is_x0:
        pictures.strip(plan.folder.path / "now.png", images_of(plan.job.model, state.x0).cpu().numpy())


LEARNT, NOISES, PATH = "learnt_", "noises_", "path_"
"""How arrays of what was learnt, of held noises and of a batch's path are called in what is kept of it unfinished."""


def load(plan: Plan, batch: Sequence[Item]) -> tuple[State | None, Cost, float, Kept, Trace]:
    """(where an unfinished batch stood, its cost, seconds, path and trace so far); (None, nothing) where it was not begun."""
    arrays, n_states = plan.folder.read_checkpoint(batch), plan.job.sampler.n_states
    if arrays is None:
        return None, Cost(), 0.0, [], Trace(n_states)
    trace = Trace(n_states, {name.removeprefix(TRACE): arrays.pop(name) for name in list(arrays) if name.startswith(TRACE)})
    paths = {name.removeprefix(PATH): arrays.pop(name) for name in list(arrays) if name.startswith(PATH)}
    kept = [{name: paths[name][k] for name in paths} for k in range(len(paths["index"]))] if paths else []
    found = {name: torch.from_numpy(array).to(plan.job.device) for name, array in arrays.items()}
    memory = Moments(int(found["n"]), found["first"], found["second"]) if "n" in found else None
    level = Level(found["a"], found["b"], found["t"])
    learnt = {name.removeprefix(LEARNT): rows for name, rows in found.items() if name.startswith(LEARNT)} or None
    noises = {name.removeprefix(NOISES): rows for name, rows in found.items() if name.startswith(NOISES)}
    state = State(
        index=int(found["index"]),
        level=level,
        x0=found["x0"],
        eps=found["eps"],
        kappa=found.get("kappa"),
        params=found["params"],
        memory=memory,
        learnt=learnt,
        noises=Noises(noises["kappa"], noises["seen"].cpu()) if noises else None,
    )
    cost = Cost()
    cost.rows.update(zip(Use, arrays["rows"].tolist(), strict=False))  # uses may have been added since
    return state, cost, float(arrays["seconds"]), kept, trace


def make_probed(plan: Plan, items: Sequence[Item], bar: tqdm) -> None:
    """Measure one shard with the plan's probe, in batches, and keep it."""
    assert plan.probe is not None
    cost, parts, began = Cost(), [], busy(plan.job)
    for k in range(0, len(items), plan.batch_size):
        batch = items[k : k + plan.batch_size]
        parts.append(plan.probe.measure(plan.job, batch, cost))
        bar.update(len(batch) * plan.job.sampler.n_states)
    rows = {str(use): count for use, count in cost.rows.items()}
    spent = {"rows": rows, "seconds": busy(plan.job) - began, "peak_mb": peak_mb(plan.job.device)}
    plan.folder.write_probed(items, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, spent)


def execute(plan: Plan, argv: Sequence[str] = ()) -> list[str]:
    """Make what is to be made of a run; what became of each shard is noted in the experiment's ledger.

    argv: the command line, for provenance.json. A shard that fails stops no other one. Returns a line for each. Raises
    NotWrittenError where nothing can be kept.
    """
    todo = plan.todo
    if not todo:
        return []
    for folder in (plan.folder.path, plan.folder.path / "shards"):
        sweep_up(folder)
    plan.folder.write_config(plan.config)
    keep(plan.folder.path, provenance("sdi_bench.run", list(argv)))
    ledger, failed = Ledger(plan.folder.path.parent), []
    total = sum(len(chunk) for chunk in todo) * plan.job.sampler.n_states
    with tqdm(total=total, desc=f"{plan.label:14s}", unit="steps", unit_scale=True, dynamic_ncols=True, mininterval=0.5) as bar:
        for chunk in todo:
            about = plan.folder.path.name, plan.folder.shard_path(chunk).stem
            ledger.note("started", *about)
            began = busy(plan.job)
            try:
                make(plan, chunk, bar)
            except NotWrittenError as error:
                with suppress(NotWrittenError):
                    ledger.note("failed", *about, reason=str(error))
                raise
            except KeyboardInterrupt:
                ledger.note("stopped", *about)
                raise
            except Exception as error:
                reason = line(f"{type(error).__name__}: {error}")
                ledger.note("failed", *about, reason=reason, trace=traceback.format_exc())
                failed.append(f"{plan.label}, γ {plan.gamma:g}, shard {about[1]}: {reason}")
                continue
            ledger.note("finished", *about, seconds=round(busy(plan.job) - began, 3))
    return failed


def execute_all(plans: Sequence[Plan], argv: Sequence[str] = ()) -> list[list[str]]:
    """As `execute`, each of these runs of one model: several at once, which ask it together. argv: their command line."""

    def asking(model: Denoiser, plan: Plan) -> list[str]:
        return execute(replace(plan, job=replace(plan.job, model=model)), argv)

    return together(plans[0].job.model, [partial(asking, plan=plan) for plan in plans])


def mend(plan: Plan) -> None:
    """Say again what a run is, if it has begun and what said so was lost or damaged."""
    if not plan.folder.path.is_dir():
        return
    try:
        plan.folder.read_config()
    except NotReadError:
        plan.folder.write_config(plan.config)


def make(plan: Plan, chunk: Sequence[Item], bar: tqdm) -> None:
    """One shard."""
    plan.job.read(plan.items)
    if plan.overwrite:
        for k in range(0, len(chunk), plan.batch_size):
            plan.folder.drop_checkpoint(chunk[k : k + plan.batch_size])
    if plan.probe is not None:
        make_probed(plan, chunk, bar)
        return
    # other items may share the run: the first keep their path
    new = plan.overwrite or not (plan.folder.path / "trajectory.npz").exists()
    make_shard(plan, chunk, bar, keep_trajectory=new and chunk == plan.chunks[0])


def arranged(plans: Iterable[Plan], retry: str) -> list[Plan]:
    """The runs of a sweep, each knowing how many shards come before its own, so that parts share them all evenly.

    retry: failed makes only what the ledger has as failed, stopped or killed; all, whatever is missing.
    """
    found: list[Plan] = []
    known: dict[Path, dict[tuple[str, str], Work]] = {}
    for plan in plans:
        offset = found[-1].offset + len(found[-1].chunks) if found else 0
        only = None
        if retry == "failed":
            folder = plan.folder.path
            ledger = known.setdefault(folder.parent, merged(folder.parent))
            only = frozenset(shard for (run, shard), work in ledger.items() if run == folder.name and work.lost)
        found.append(replace(plan, offset=offset, only=only))
    return found


def ask(plans: Iterable[Plan]) -> None:
    """Note in the ledger which shards a command asks for."""
    for plan in plans:
        ledger = Ledger(plan.folder.path.parent)
        for chunk in plan.todo:
            about = {"label": plan.label, "n": len(chunk), "steps": plan.job.sampler.n_states}
            ledger.note("asked", plan.folder.path.name, plan.folder.shard_path(chunk).stem, **about)


class Made(NamedTuple):
    """Finished shards. cost: rows by use, seconds, peak_mb; content: a digest of all that they hold."""

    images: Pictures
    cost: dict[str, Any]
    content: str


def joined_pictures(parts: Sequence[Pictures]) -> Pictures:
    """One after the other: at 8 bits if some are packed, as in a run that was begun before pictures were."""
    if any(isinstance(part, Packed) for part in parts):
        return chained([part if isinstance(part, Packed) else packed(part) for part in parts])
    return np.concatenate(parts)


def finished(folder: RunFolder, chunks: Sequence[Sequence[Item]]) -> Made:
    """What finished shards hold. Raises ValueError, naming the file."""
    shards = [folder.read_shard(chunk) for chunk in chunks]
    cost = {
        "rows": {use: sum(shard.rows[use] for shard in shards) for use in shards[0].rows},
        "seconds": sum(shard.seconds for shard in shards),
        "peak_mb": max(shard.peak_mb for shard in shards),
    }
    return Made(joined_pictures([shard.images for shard in shards]), cost, digest([shard.sha256 for shard in shards]))


@dataclass(frozen=True)
class Surfaces:
    """Points on the objects of finished shards, [n, 3], by an object's number; read when asked for."""

    scene: Solid
    folder: RunFolder
    chunks: Sequence[Sequence[Item]]

    def __call__(self, k: int) -> np.ndarray:
        places = [(chunk, i) for chunk in self.chunks for i in range(len(chunk))]
        chunk, i = places[k]
        return surface(self.scene, torch.from_numpy(self.folder.read_params(chunk)[i : i + 1]))


def every_view(
    scene: Scene, items: Sequence[Item], folder: RunFolder | None = None, chunks: Sequence[Sequence[Item]] = ()
) -> tuple[tuple[Item, ...], int, Sights | None]:
    """(items, views of each, what they show): objects taken apart into the pictures around them, the prompts as their captions.

    Anything else stays as it is. folder, chunks: of the finished run that made them; without it there are no surfaces.
    """
    if not isinstance(scene, Solid):
        return tuple(items), 1, None
    cameras, caption = scene.orbit.cameras, Wording()
    views = tuple(Item(caption.of(item.prompt, camera), item.seed) for item in items for camera in cameras)
    n_views = len(cameras)
    azimuths = np.array([camera.azimuth for camera in cameras])
    objects, angles = np.repeat(np.arange(len(items)), n_views), np.tile(azimuths, len(items))
    return views, n_views, Sights(objects, angles, Surfaces(scene, folder, chunks) if folder is not None else None)


def against(given: Samples, reference: Entry) -> Samples:
    """The same samples, the reference's pictures of the same items standing for the data, which nobody knows.

    Not where nothing is left of the reference for one of the prompts, or it is of other items.
    """
    kept = ~diverged(reference.images)
    told = [item.prompt for item, k in zip(reference.items, kept, strict=True) if k]
    if list(given.items) != list(reference.items) or {item.prompt for item in given.items} - set(told):
        return given
    return replace(given, truth=rounded(reference.images[kept]), truth_prompts=told, same_law=False)


def told_apart(pictures: Pictures | None) -> str | None:
    """What tells these from other pictures."""
    return None if pictures is None else hashlib.sha256(pictures.tobytes()).hexdigest()


def entry_of(plan: Plan, truth: Pictures | None, reference: Entry | None = None, name: str | None = None) -> Entry:
    """A finished run as a row of the table; its measures are kept in metrics.json.

    reference: what it is held against where there is no truth; the units of what is a ratio to data then say so.
    name: what tells the truth from other pictures, where that is known.
    """
    kept, cost, content = finished(plan.folder, plan.chunks)
    items, n_views, sights = every_view(plan.job.scene, plan.items, plan.folder, plan.chunks)
    images = kept if sights is None else kept.reshape(-1, *kept.shape[2:])
    clusters = clustered(plan.items, plan.job.model).repeat(n_views)
    other = truth if truth is not None else None if reference is None else reference.images
    held_against = name or told_apart(other)
    listed = [[item.prompt, item.seed] for item in plan.items]
    asked = digest([listed, plan.config["metric"], MEASURES_VERSION, sums(), held_against, content])
    try:
        known = plan.folder.read_json("metrics.json")
    except ValueError:
        known = None  # damaged: measured again
    if known is None or known.get("asked") != asked:
        given = samples_of(images, items, clusters, plan.job.model, plan.gamma, truth, sights=sights)
        given = given if truth is not None or reference is None else against(given, reference)
        left_out: dict[str, list[float]] = {}
        measures = measure(given, plan.metrics, left_out)
        if truth is None and given.truth is not None:
            for about in measures.values():
                about["unit"] = INSTEAD.get(about["unit"], about["unit"])
        known = {"asked": asked, "n": len(plan.items), "cost": cost, "measures": measures, "left_out": left_out}
        show(plan, kept)
        if not any(values.get("failed") for values in measures.values()):
            plan.folder.write_json("metrics.json", known)
    return Entry(plan.label, items, images, known["measures"], clusters, cost, plan.folder.path, n_views)


def measured(run: Plan, name: object) -> float:
    """What a finished run got by one of its metrics, for a sweeper that tunes. Raises ValueError if it was not measured."""
    items, _, _ = every_view(run.job.scene, run.items)
    found = entry_of(run, fresh_data(run.job.model, items, N_TRUTH, seed=0)).measures
    if name not in found or "point" not in found[str(name)]:
        raise ValueError(f"objective={name!r}: must be a metric that was measured; there are {', '.join(found) or 'none'}")
    return float(found[str(name)]["point"])


def slug(item: Item) -> str:
    """An item as a file's name: how its prompt begins, in ASCII letters and digits, its seed, and a hash of both.

    No two items share a name, however alike they look; none is longer than some 70 bytes.
    """
    plain = unicodedata.normalize("NFKD", item.prompt or "no prompt").encode("ascii", "ignore").decode().lower()
    begins = re.sub(r"[^a-z0-9]+", "-", plain)[:NAME].strip("-")
    return "-".join(filter(None, (begins, str(item.seed), digest([item.prompt, item.seed], 8))))


def show(plan: Plan, images: Pictures) -> None:
    """Pictures of a finished run: a grid, of fields from eight sides and a turntable of each."""
    if isinstance(plan.job.scene, Solid):
        few, columns = images[:SHOWN], range(0, images.shape[1], max(1, images.shape[1] // 8))
        angles = [f"{plan.job.scene.orbit.azimuth[k]:.0f}°" for k in columns]
        names = [pictures.name_of(item) for item in plan.items[:SHOWN]]
        sides = {angle: few[:, k] for angle, k in zip(angles, columns, strict=True)}
        pictures.side_by_side(plan.folder.path / "samples.png", sides, names, plan.label)
        for item, views in zip(plan.items[:TURNING], images, strict=False):
            said = f"{plan.label} γ {plan.gamma:g} · {pictures.name_of(item)}"
            turns = [f"{said}\n{azimuth:.0f}°" for azimuth in plan.job.scene.orbit.azimuth]
            pictures.turntable(plan.folder.path / f"{slug(item)}.gif", views, turns)
        return
    prompts = list(dict.fromkeys(item.prompt for item in plan.items))[:16]
    seeds = sorted({item.seed for item in plan.items})[:8]
    chosen = [i for i, item in enumerate(plan.items) if item.prompt in prompts and item.seed in seeds]
    pictures.grid(plan.folder.path / "samples.png", images[chosen], [plan.items[i] for i in chosen], plan.label)


@dataclass(frozen=True)
class Group:
    """Runs of a sweep that share a reference and items; without a reference, a model and its guidance.

    pairs: (place in the sweep, [run, its reference if it has one]).
    """

    pairs: Sequence[tuple[int, Sequence[Plan]]]

    @property
    def first(self) -> Plan:
        """What is the same in all of them: the reference, or the first run."""
        return self.pairs[0][1][-1]

    @property
    def reference(self) -> Plan | None:
        """If it has one."""
        return self.first if len(self.pairs[0][1]) > 1 else None

    @property
    def shared(self) -> dict[str, str]:
        """Of the settings that are swept those that all its runs have alike."""
        told = [pair[0].varied for _, pair in self.pairs]
        return {key: value for key, value in told[0].items() if all(other.get(key) == value for other in told)}


def grouped(plans: Sequence[Sequence[Plan]]) -> list[Group]:
    """The runs of a sweep by what they are held against."""
    found: dict[tuple[str, tuple[Item, ...]], list[tuple[int, Sequence[Plan]]]] = {}
    for place, pair in enumerate(plans):
        config = pair[0].config  # without a reference the law that is measured against has to be the same
        alone = digest([config["model"], config["fingerprint"], pair[0].gamma])
        found.setdefault((str(pair[1].folder.path) if len(pair) > 1 else alone, pair[0].items), []).append((place, pair))
    return [Group(pairs) for pairs in found.values()]


def endings(groups: Sequence[Group]) -> list[str]:
    """What tells the reference of each group from those of others, to put behind its name; nothing for one group."""
    shared = [group.shared for group in groups]
    keys = [key for key in dict.fromkeys(chain(*shared)) if len({each.get(key) for each in shared}) > 1]
    told = [" ".join(f"{last_part(key)}={each[key]}" for key in keys if key in each) for each in shared]
    return [f" {text}".rstrip() + (f" #{i}" if told.count(text) > 1 else "") for i, text in enumerate(told, 1)]


def columns_of(plan: Plan) -> dict[str, Any]:
    """What a run is, for the columns of a table: also what is swept, by its full name, unless a column tells it already."""
    return {**plan.about, **{key: value for key, value in plan.varied.items() if TOLD.get(key, key) not in plan.about}}


TOLD = {
    "noise@sampler.noise": "kappa",
    "guidance.scale": "gamma",
    "sampler.noise.guidance_scale": "gamma_inv",
    "grid.n_levels": "levels",
}
"""Settings that a table has under another name."""


def data_of(group: Group, truth: Pictures | None, ending: str) -> Entry | None:
    """What is not sampled: fresh draws of the data of a group's items, measured as its runs; None where nobody knows any."""
    first, model = group.first, group.first.job.model
    items, n_views, sights = every_view(first.job.scene, first.items)
    again = fresh_data(model, items, len(items), seed=1)
    if again is None:
        return None
    # real pictures come again at other seeds: only prompts are drawn
    drawn = [replace(item, seed=0) for item in first.items] if isinstance(model, HasData) else first.items
    clusters = clustered(drawn, model).repeat(n_views)
    given = samples_of(again, items, clusters, model, first.gamma, truth, sights=sights)
    measures = measure(given, first.metrics)
    known = not isinstance(model, HasData) or model.unseen([item.prompt for item in items])
    label = ("data" if known else "train data") + ending
    return Entry(label, items, again, measures, clusters, n_views=n_views, about={"model": first.about.get("model")})


class Wanted(NamedTuple):
    """Of the end of a sweep. width, wide: of the table that is printed, as in `render`; the file has it in one piece.

    png: a file of each picture. tensorboard: the measures as events of TensorBoard.
    """

    width: int | None = None
    wide: bool = False
    png: bool = False
    tensorboard: bool = False


def summarise(plans: Sequence[Sequence[Plan]], wanted: Wanted = Wanted()) -> bool:
    """The end of a sweep: one table, csv and picture of all its runs, each held against its own reference.

    plans: [run, its reference if it has one]. False if something was to be measured and nothing could be.
    """
    width, wide = wanted.width, wanted.wide
    groups = grouped(plans)
    ends = endings(groups)
    laws = [
        digest([group.first.config["model"], group.first.config["fingerprint"], list(group.first.items)]) for group in groups
    ]
    # data are the same whatever the guidance; at 1 a law of theirs is one that a run may be held against
    drawn = {law: min(i for i, other in enumerate(laws) if other == law) for law in laws}
    drawn |= {law: i for i, law in reversed(list(enumerate(laws))) if groups[i].first.gamma == 1}
    frames, around, shown = [], [], Shown(len({group.first.items for group in groups}))
    order: list[tuple[tuple[int, int], str]] = []  # runs as they were asked for, then references, then data
    folders: dict[str, Path] = {}
    made: list[Path] = []
    for i, (group, end) in enumerate(zip(groups, ends, strict=True)):
        first, plan = group.first, group.reference
        items, _, _ = every_view(first.job.scene, first.items)
        truth = fresh_data(first.job.model, items, N_TRUTH, seed=0)
        name = told_apart(truth)
        found = None if plan is None else entry_of(plan, truth, name=name)
        reference = found and replace(found, label=found.label + end)
        entries = [replace(entry_of(pair[0], truth, reference, name), about=columns_of(pair[0])) for _, pair in group.pairs]
        order += [((0, place), entry.label) for (place, _), entry in zip(group.pairs, entries, strict=True)]
        if reference is not None and plan is not None:
            entries.append(replace(reference, about=plan.about))
            order.append(((1, i), reference.label))
        data = data_of(group, truth, end if len(drawn) > 1 else "") if drawn[laws[i]] == i else None
        if data is not None:
            entries.append(data)
            order.append(((2, i), data.label))
        frames.append(tidy(entries, entries[len(group.pairs)] if reference is not None else None))
        around.append(Around.of(entries, reference))
        shown.add(first, entries)
        folders |= {entry.label: entry.folder for entry in entries if entry.folder}
        made += [write_pngs(entry) for entry in entries if wanted.png and entry.folder]
    labels = [label for _, label in sorted(order)]
    frame = in_order(frames, labels)
    under = notes(frame, around)
    table = render(frame) + "\n\n" + "\n".join(under) + "\n"
    lines = under if width is None or wide else [part for text in under for part in textwrap.wrap(text, width) or [""]]
    print("\n" + render(frame, width, wide) + "\n\n" + "\n".join(lines) + "\n")
    results = groups[0].first.folder.path.parent
    asked = [
        [sorted(pair[0].folder.path.name for _, pair in group.pairs), [[item.prompt, item.seed] for item in items_of(group)]]
        for group in groups
    ]
    name = digest(asked[0] if len(asked) == 1 else asked, 8)
    csv, text, picture = (results / f"sweep-{name}.{kind}" for kind in ("csv", "txt", "png"))
    write_whole(csv, frame.to_csv(index=False).encode())
    write_whole(text, table.encode())
    if wanted.tensorboard:
        made.append(boards.write(results / "tensorboard", frame, folders))
    runs = dict.fromkeys(folders[label] for label in labels if label in folders)
    print("written:", csv, text, *shown.draw(picture, labels), *runs, *made, sep="\n  ")
    print(f"to see all of it on a page: python -m sdi_bench report {shlex.quote(str(results))}")
    return any_measured(frame)


def write_pngs(entry: Entry) -> Path:
    """A PNG of each picture of a run (8 bits, sRGB; what diverged is magenta), of an object of each side, in its folder png/.

    Beside them prompts.csv says what each shows, as `sdi_bench.evaluate` reads it, unless one has no prompt. Returns the place.
    """
    assert entry.folder is not None
    place, rows = entry.folder / "png", []
    place.mkdir(exist_ok=True)
    for i, item in enumerate(entry.items):
        side = f"-{i % entry.n_views:03}" if entry.n_views > 1 else ""
        name = f"{slug(item)}{side}.png"
        rows.append({"file_name": name, "prompt": item.prompt, "seed": item.seed})
        write_whole(place / name, pictures.png(entry.images[i]))
    if all(item.prompt for item in entry.items):
        write_whole(place / "prompts.csv", pd.DataFrame(rows).to_csv(index=False).encode())
    return place


def items_of(group: Group) -> tuple[Item, ...]:
    """Those that its runs share, an object once for each side."""
    return every_view(group.first.job.scene, group.first.items)[0]


def in_order(frames: Sequence[pd.DataFrame], labels: Sequence[str]) -> pd.DataFrame:
    """Tables of measures as one, its runs in this order; settings are the first columns of it, and hold something."""
    found = pd.concat(frames, ignore_index=True)
    told = dict.fromkeys(chain(*map(settings_in, frames)))
    settings = [key for key in told if found[key].notna().any()]
    others = [key for key in found if key not in told and key != "run"]
    found[settings] = found[settings].convert_dtypes()  # whole numbers stay whole beside what has none
    places = found["run"].map({label: place for place, label in enumerate(labels)})
    return found.loc[places.sort_values(kind="stable").index, ["run", *settings, *others]].reset_index(drop=True)


class Shown:
    """The picture of a sweep: the same items in columns, a row a run. n_lists: of items that its groups differ in."""

    def __init__(self, n_lists: int) -> None:
        self.most = max(1, COLUMNS // n_lists)
        self.cells: dict[tuple[Item, int], dict[str, np.ndarray | None]] = {}
        self.points: dict[str, np.ndarray] = {}
        self.labels: set[str] = set()

    def add(self, first: Plan, entries: Sequence[Entry]) -> None:
        """Runs that share a reference."""
        items, n_views, _ = every_view(first.job.scene, first.items)
        if entries[0].images.ndim != 4:
            self.points |= {entry.label: whole(entry.images) for entry in entries}
            return
        sides = range(0, n_views, max(1, n_views // 4))
        chosen = [i for i, item in enumerate(items) if item.seed == items[0].seed and i % n_views in sides][: self.most]
        for k, i in enumerate(chosen):  # two sides of an object may have the same words
            column = self.cells.setdefault((items[i], [items[j] for j in chosen[:k]].count(items[i])), {})
            column |= {entry.label: pictures.cell(entry.images, i) for entry in entries}
        self.labels |= {entry.label for entry in entries}

    def draw(self, path: Path, labels: Sequence[str]) -> list[Path]:
        """Write it; points of a plane are a picture of their own where there are pictures too."""
        made = []
        if self.cells:
            rows = [label for label in labels if label in self.labels]
            columns = [(pictures.name_of(item), [cells.get(row) for row in rows]) for (item, _), cells in self.cells.items()]
            pictures.side_by_side(path, columns, rows, "the same items in columns: prompt · seed")
            made.append(path)
        if self.points:
            there = path.with_name(f"{path.stem}-points.png") if made else path
            pictures.side_by_side(there, {label: self.points[label] for label in labels if label in self.points}, [], "")
            made.append(there)
        return made


COLUMNS = 12
"""Items that the picture of a sweep shows at most."""
