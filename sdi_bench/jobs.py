"""From a plan to finished files: shards, measures, the table and the pictures of a sweep."""

import hashlib
import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tqdm import tqdm

from . import __version__, pictures
from .compare import Entry, notes, render, tidy
from .data.shipped import sums
from .draws import Item
from .measure import N_TRUTH, fresh_data, measure, samples_of
from .metrics import Metric
from .models.base import HasData, images_of
from .predictor import Cost
from .probes import Probe
from .samplers import State
from .sampling import Job
from .store import RESULTS_VERSION, RunFolder, Shard, digest, write_whole

SHARD = 64
"""Items a shard. Shards are cut from the list of items, whatever the batch size."""

N_TRAJECTORY, N_TRAJECTORY_STATES = 8, 64
"""Items, and states at most, of which a run keeps x0, eps and kappa."""


@dataclass(frozen=True)
class Plan:
    """One run, ready to go: objects, items, and the folder that its choices name. part: (k, n), which n-th of the shards.

    probe: measured along the path; its arrays are kept, and no images. place: (tier, row) in an experiment.
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

    @property
    def gamma(self) -> float:
        """Its guidance scale."""
        return self.job.sampler.guidance.scale

    @property
    def chunks(self) -> list[tuple[Item, ...]]:
        """The items of each shard."""
        return [self.items[k : k + SHARD] for k in range(0, len(self.items), SHARD)]

    @property
    def missing(self) -> list[tuple[Item, ...]]:
        """The shards still to be made."""
        return [chunk for chunk in self.chunks if not self.folder.has(chunk)]


def peak_mb(device: str) -> float:
    """Peak memory of this process so far, on the device if it has a count of its own."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def first_rows(state: State) -> dict[str, np.ndarray]:
    """What is kept of a state: x0, eps, kappa (NaN where none was added) and sigma of the first items."""
    kappa = torch.full_like(state.x0, torch.nan) if state.kappa is None else state.kappa
    values = {"x0": state.x0, "eps": state.eps, "kappa": kappa, "sigma": state.level.sigma.expand(len(state.x0))}
    return {name: value[:N_TRAJECTORY].cpu().numpy() for name, value in values.items()} | {"index": np.array(state.index)}


def make_shard(plan: Plan, items: Sequence[Item], bar: tqdm, keep_trajectory: bool) -> Shard:
    """Sample one shard, in batches; of the first batch, keep what the states looked like on the way."""
    cost, images, began = Cost(), [], time.perf_counter()
    kept: list[dict[str, np.ndarray]] = []
    n_states = plan.job.sampler.n_states
    stride = -(-n_states // N_TRAJECTORY_STATES)
    for k in range(0, len(items), plan.batch_size):
        batch = items[k : k + plan.batch_size]
        for state in plan.job.states(batch, cost):
            if keep_trajectory and k == 0 and (state.index % stride == 0 or state.index == n_states - 1):
                kept.append(first_rows(state))
            bar.update(len(batch))
        images.append(images_of(plan.job.model, state.x0).cpu().numpy())
    if kept:
        plan.folder.write_arrays("trajectory.npz", **{name: np.stack([rows[name] for rows in kept]) for name in kept[0]})
    rows = {str(use): count for use, count in cost.rows.items()}
    return Shard(tuple(items), np.concatenate(images), rows, time.perf_counter() - began, peak_mb(plan.job.device))


def make_probed(plan: Plan, items: Sequence[Item], bar: tqdm) -> None:
    """Measure one shard with the plan's probe, in batches, and keep it."""
    assert plan.probe is not None
    cost, parts, began = Cost(), [], time.perf_counter()
    for k in range(0, len(items), plan.batch_size):
        batch = items[k : k + plan.batch_size]
        parts.append(plan.probe.measure(plan.job, batch, cost))
        bar.update(len(batch) * plan.job.sampler.n_states)
    rows = {str(use): count for use, count in cost.rows.items()}
    spent = {"rows": rows, "seconds": time.perf_counter() - began, "peak_mb": peak_mb(plan.job.device)}
    plan.folder.write_probed(items, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, spent)


def provenance(command: Sequence[str]) -> dict[str, Any]:
    """What a number needs to be believed."""
    return {
        "command": " ".join(command),
        "versions": {"sdi-bench": __version__} | {name: version(name) for name in ("torch", "numpy", "scipy", "hydra-core")},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "results_version": RESULTS_VERSION,
    }


def execute(plan: Plan) -> None:
    """Make what is missing of a run."""
    missing = [chunk for chunk in plan.chunks[plan.part[0] :: plan.part[1]] if not plan.folder.has(chunk)]
    if not missing:
        return
    plan.folder.write_text("config.yaml", yaml.safe_dump(dict(plan.config), sort_keys=False))
    plan.folder.write_json("provenance.json", provenance(["python -m sdi_bench.run", *sys.argv[1:]]))
    total = sum(len(chunk) for chunk in missing) * plan.job.sampler.n_states
    with tqdm(total=total, desc=f"{plan.label:14s}", unit="steps", unit_scale=True, dynamic_ncols=True, mininterval=0.5) as bar:
        for chunk in missing:
            if plan.probe is not None:
                make_probed(plan, chunk, bar)
                continue
            # other items may share the run: the first keep their path
            first = chunk == plan.chunks[0] and not (plan.folder.path / "trajectory.npz").exists()
            plan.folder.write_shard(make_shard(plan, chunk, bar, keep_trajectory=first))


def finished(folder: RunFolder, chunks: Sequence[Sequence[Item]]) -> tuple[np.ndarray, dict[str, Any]]:
    """(images, cost: rows by use, seconds, peak_mb) of finished shards."""
    shards = [folder.read_shard(chunk) for chunk in chunks]
    cost = {
        "rows": {use: sum(shard.rows[use] for shard in shards) for use in shards[0].rows},
        "seconds": sum(shard.seconds for shard in shards),
        "peak_mb": max(shard.peak_mb for shard in shards),
    }
    return np.concatenate([shard.images for shard in shards]), cost


def entry_of(plan: Plan, truth: np.ndarray | None) -> Entry:
    """A finished run as a row of the table; its measures are kept in metrics.json."""
    images, cost = finished(plan.folder, plan.chunks)
    held_against = None if truth is None else hashlib.sha256(truth.tobytes()).hexdigest()
    asked = digest([[[item.prompt, item.seed] for item in plan.items], plan.config["metric"], sums(), held_against])
    known = plan.folder.read_json("metrics.json")
    if known is None or known["asked"] != asked:
        measures = measure(samples_of(images, plan.items, plan.job.model, plan.gamma, truth), plan.metrics)
        known = {"asked": asked, "n": len(plan.items), "cost": cost, "measures": measures}
        prompts = list(dict.fromkeys(item.prompt for item in plan.items))[:16]
        seeds = sorted({item.seed for item in plan.items})[:8]
        few = [i for i, item in enumerate(plan.items) if item.prompt in prompts and item.seed in seeds]
        pictures.grid(plan.folder.path / "samples.png", images[few], [plan.items[i] for i in few], plan.label)
        plan.folder.write_json("metrics.json", known)
    return Entry(plan.label, plan.items, images, known["measures"], cost, plan.folder.path)


def summarise(plans: Sequence[Sequence[Plan]]) -> None:
    """The end of a sweep: one table, one csv, one picture per set of runs with the same reference (plans: run, reference)."""
    by_reference: dict[tuple[Path, tuple[Item, ...]], list[Sequence[Plan]]] = {}
    for pair in plans:
        by_reference.setdefault((pair[1].folder.path, pair[1].items), []).append(pair)
    for group in by_reference.values():
        reference_plan = group[0][1]
        model, items = reference_plan.job.model, reference_plan.items
        truth = fresh_data(model, items, N_TRUTH, seed=0)
        reference = entry_of(reference_plan, truth)
        entries = [entry_of(plan, truth) for plan, _ in group] + [reference]
        again = fresh_data(model, items, len(items), seed=1)
        if again is not None:
            measures = measure(samples_of(again, items, model, reference_plan.gamma, truth), reference_plan.metrics)
            known = not isinstance(model, HasData) or model.unseen([item.prompt for item in items])
            entries.append(Entry("data" if known else "train data", items, again, measures))
        frame = tidy(entries, reference)
        table = render(frame) + "\n\n" + "\n".join(notes(frame, entries, reference)) + "\n"
        print("\n" + table)
        results = reference_plan.folder.path.parent
        name = digest([sorted(plan.folder.path.name for plan, _ in group), [[item.prompt, item.seed] for item in items]], 8)
        csv, text = results / f"sweep-{name}.csv", results / f"sweep-{name}.txt"
        write_whole(csv, frame.to_csv(index=False).encode())
        write_whole(text, table.encode())
        picture = results / f"sweep-{name}.png"
        if reference.images.ndim == 4:
            chosen = [i for i, item in enumerate(items) if item.seed == items[0].seed][:12]
            columns = {pictures.name_of(items[i]): np.stack([entry.images[i] for entry in entries]) for i in chosen}
            pictures.side_by_side(
                picture, columns, [entry.label for entry in entries], "the same items in columns: prompt · seed"
            )
        else:
            pictures.side_by_side(picture, {entry.label: entry.images for entry in entries}, [], "")
        print("written:", csv, text, picture, *(entry.folder for entry in entries if entry.folder), sep="\n  ")
