"""python -m sdi_bench.bench: what one can expect of this machine's core: rows a second of the models, overhead of the samplers.

python -m sdi_bench.bench
python -m sdi_bench.bench size=32 batches=1,64
python -m sdi_bench.bench out=here against=before/bench.json

    batches=1,8,64   rows that go to a model at once
    size=64          pixels of the built-in priors: 64, 32, 16 or 8
    ms=5             milliseconds of a bare call under the samplers' loops
    processes=2      so many processes sample together, each on one thread, and once one alone (0: not measured)
    compiled=false   true: also the trained prior's rows by torch.compile (a minute; needs a C++ compiler)
    main=false       true: also run the main job, in a folder that is deleted, and time it (minutes)
    objects=0        so many 3D objects at once by each of `SOLID`, as in experiment=cheap (16: half an hour; 0: not measured)
    out=FOLDER       bench.json, bench.png: what was found; cost over batch size, and over the items of a run (none)
    against=FILE     a bench.json of another day: a ratio to each of its figures, above 1 where today is faster (none)

A row is one picture through the model once. Rows and loops are CPU time of this process on one thread, the best of a few turns
in which all that is timed comes up once: other load on the machine moves it little. So are objects, which take their steps in
turn. Processes and the main job are wall time: let nothing run beside them. Exit status: 0, or 2 for bad input.
"""

import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import require
from .draws import items_of
from .grids import UniformT
from .jobs import Plan
from .metrics.rprec import val_captions
from .models import Network, builtin
from .models.base import Denoiser
from .models.trained import trained
from .noise import Inversion
from .predictor import Cost, Use
from .provenance import provenance
from .samplers import Annealed, Ddim, Distillation, Sampler
from .sampling import Job
from .schedules import scaled_linear
from .store import write_whole
from .sweeps import preflight
from .texts import line, save

TIMES = (0.02, 0.2, 0.5, 0.8, 1.0)
"""Noise levels, of Stable Diffusion's schedule, at which rows are timed; a model's figure is of all of them together."""
LEVELS = 50
SHAPE = (4, 16, 16)
"""Of what the loops' network is given: a small latent."""
TURNS, HAND = 4, "by hand"
DEFAULTS = {
    "batches": "1,8,64",
    "size": "64",
    "ms": "5",
    "processes": "2",
    "compiled": "false",
    "main": "false",
    "objects": "0",
    "out": "",
    "against": "",
}
MAIN = ("-m", "sdi_bench.run", "-m", "sampler=sds,sdi,ddim")
"""The main job, as Python is told."""
CALLS, AT_ONCE, ROUNDS = 80, 32, 3
"""Of the built-in prior by each of some processes, and the rows of each: some seconds; so often alone and together, in turn."""
SOLID = ("sds", "8 steps, held 5", "10 steps, held 5", "sdi")
"""Rows of experiment=cheap, tier=objects; each is held against the first."""


def captions_of(model: Denoiser) -> tuple[str, ...]:
    """Those of the val pictures that the model knows."""
    return tuple(caption for caption in val_captions() if knows(model, caption))


def knows(model: Denoiser, prompt: str) -> bool:
    """Can it be asked for that?"""
    try:
        model.check_prompt(prompt)
    except ValueError:
        return False
    return True


def asked_at(model: Denoiser, batch: int, captions: Sequence[str]) -> list[Callable[[], Tensor]]:
    """Calls of the model at each of `TIMES`, each of one batch; its noise estimates, [1, batch, *shape]."""
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((batch, *model.shape)))
    prompts = [captions[i * 7 % len(captions)] if captions else None for i in range(batch)]

    def call(t: Tensor) -> Tensor:
        return model.predict(noise, scaled_linear().level(t), [prompts]).eps

    return [partial(call, t) for t in torch.tensor(TIMES, dtype=torch.float64)[:, None]]


def stack(depth: int) -> Callable[[Tensor, Tensor, Sequence[str | None]], Tensor]:
    """A network of matrix products, which leaves nothing of the interpreter in the caches: a loop's worst case."""
    size = SHAPE[0] * SHAPE[1] * SHAPE[2]
    weight = torch.randn(size, 256, generator=torch.Generator().manual_seed(0)) / size**0.5

    def forward(x: Tensor, t: Tensor, prompts: Sequence[str | None]) -> Tensor:
        for _ in range(depth):
            x = (torch.tanh(x.flatten(1) @ weight) @ weight.T).reshape(x.shape)
        return x

    return forward


def cpu(call: Callable[[], object]) -> float:
    """Seconds of CPU time."""
    began = time.process_time()
    call()
    return time.process_time() - began


def rows_a_second(models: Mapping[str, tuple[Denoiser, Sequence[str]]], batches: Sequence[int]) -> dict[str, dict[str, float]]:
    """By model, and by batch size: rows a second of CPU time. models: name -> (model, the captions that it is asked with)."""
    best: dict[tuple[str, int], list[float]] = {}
    for turn in range(TURNS):  # the first one warms up
        for name, (model, captions) in models.items():
            for batch in batches:
                times = [cpu(call) for call in asked_at(model, batch, captions)]
                if turn:
                    best.setdefault((name, batch), []).append(sum(times))
    found: dict[str, dict[str, float]] = {}
    for (name, batch), times in best.items():
        found.setdefault(name, {})[str(batch)] = batch * len(TIMES) / min(times)
    return found


def by_hand(forward: Callable[[Tensor, Tensor, Sequence[str | None]], Tensor], n_levels: int, cost: Cost) -> None:
    """DDIM with no library around it: five tensor operations and two casts between calls, the least that a loop can cost."""
    levels = UniformT(n_levels).levels(scaled_linear())
    factors, t = [(float(level.a), float(level.b)) for level in levels], torch.zeros(1)
    x = torch.randn(1, *SHAPE, dtype=torch.float64)
    for (a, b), (low_a, low_b) in zip(factors, [*factors[1:], factors[-1]], strict=True):
        eps = forward(x.to(torch.float32), t, [None]).to(torch.float64)
        x = low_a / a * x + (low_b - b * low_a / a) * eps
    cost.add(Use.CONDITIONAL, n_levels)


def overheads(samplers: Mapping[str, Sampler], milliseconds: float) -> dict[str, dict[str, float]]:
    """By sampler, and of `HAND`: CPU time of a run over that of its calls (median of turns), and rows an item costs."""
    x, t, depth, inside = torch.randn(1, *SHAPE), torch.zeros(1), 1, 0.0
    forward = stack(depth)
    while min(cpu(partial(forward, x, t, [None])) for _ in range(3)) < milliseconds / 1000:
        depth = max(depth + 1, int(1.3 * depth))
        forward = stack(depth)

    def timed(x: Tensor, t: Tensor, prompts: Sequence[str | None]) -> Tensor:
        nonlocal inside
        began = time.process_time()
        out = forward(x, t, prompts)
        inside += time.process_time() - began
        return out

    def sampled(sampler: Sampler, cost: Cost) -> None:
        for _ in Job(Network(timed, SHAPE), sampler, scaled_linear()).states(items_of([None], [0]), cost):
            pass

    runs: dict[str, Callable[[Cost], None]] = {name: partial(sampled, sampler) for name, sampler in samplers.items()}
    runs[HAND] = partial(by_hand, timed, LEVELS)
    found: dict[str, dict[str, float]] = {}
    ratios: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS):
        for name, run in runs.items():
            cost, inside = Cost(), 0.0
            took = cpu(partial(run, cost))
            if turn:
                ratios[name].append(took / inside)
            found[name] = {"rows": float(sum(cost.rows.values()))}
    for name, values in ratios.items():
        found[name]["overhead"] = float(np.median(values))
    return found


def rounding(model: Denoiser, exact: Denoiser) -> float:
    """How far the noise estimates of a model in low precision are from those in high: rms over rms, the worst of `TIMES`."""
    captions = captions_of(exact)
    pairs = zip(asked_at(model, 8, captions), asked_at(exact, 8, captions), strict=True)
    return max(float((low() - (right := high())).norm() / right.norm()) for low, high in pairs)


def by_compiler(batches: Sequence[int]) -> dict[str, float]:
    """By batch size: rows a second of the trained prior as torch.compile makes it, over those of it as it is; and `seconds` of
    the first calls, in which it is compiled. Raises ValueError where that cannot be done.
    """
    usual = trained()
    network = usual.around(deepcopy(usual.module))
    calls = {str(batch): asked_at(network, batch, captions_of(network)) for batch in batches}

    def best(some: Sequence[Callable[[], Tensor]]) -> float:
        return min(sum(cpu(call) for call in some) for _ in range(TURNS))

    plain = {batch: best(some) for batch, some in calls.items()}
    network.module.compile(dynamic=False)
    began = time.perf_counter()
    try:
        for some in calls.values():
            some[0]()
    except Exception as error:
        said = str(error).strip().split("\n")[0]  # what follows is PyTorch's own advice
        raise ValueError(f"compiled=true: torch.compile fails here: {line(said)}") from error
    took = time.perf_counter() - began
    return {batch: plain[batch] / best(some) for batch, some in calls.items()} | {"seconds": took}


def working(size: int, together: Any, told: Any) -> None:
    """One of several processes: tell how many seconds `CALLS` calls of the built-in prior took, all beginning together."""
    torch.set_num_threads(1)
    calls = asked_at(model := builtin.mosaic(size=size), AT_ONCE, captions_of(model))
    with torch.no_grad():
        calls[0]()
        together.wait()
        began = time.perf_counter()
        for k in range(CALLS):
            calls[k % len(calls)]()
        told.put(time.perf_counter() - began)


def rate_of(processes: int, size: int) -> float:
    """Rows a second of so many processes together, in wall time."""
    context = multiprocessing.get_context("spawn")
    together, told = context.Barrier(processes), context.Queue()
    workers = [context.Process(target=working, args=(size, together, told)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    slowest = max(told.get(timeout=600) for _ in workers)  # one that died tells nothing
    for worker in workers:
        worker.join()
    return processes * CALLS * AT_ONCE / slowest


def main_job() -> float:
    """Seconds that the main job takes, from the command to its table."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run([sys.executable, *MAIN, f"results={folder}"], check=True, capture_output=True)
        return time.perf_counter() - began


def solid(n: int) -> list[Plan]:
    """What makes n objects by each of `SOLID`."""
    where = ["experiment=cheap", "tier=objects", f"n_items={n}", f"results={tempfile.gettempdir()}"]
    return [plan for name in SOLID for (plan,) in preflight([*where, f"row='{name}'"])]


def objects_of(plans: Sequence[Plan]) -> dict[str, dict[str, float]]:
    """By plan: seconds of CPU time an object, these over the first one's, and rows an object; the plans take steps in turn."""
    costs, spent = [Cost() for _ in plans], [0.0 for _ in plans]
    walks = [plan.job.states(plan.items, cost) for plan, cost in zip(plans, costs, strict=True)]
    for plan, walk in zip(plans, walks, strict=True):
        plan.job.read(plan.items)
        next(walk)
    for _ in range(plans[0].job.sampler.n_states - 1):
        for k, walk in enumerate(walks):
            spent[k] += cpu(partial(next, walk))
    return {
        name: {"seconds": own / (n := len(plan.items)), "times": own / spent[0], "rows": sum(cost.rows.values()) / n}
        for name, plan, cost, own in zip(SOLID, plans, costs, spent, strict=False)
    }


def measured(
    batches: Sequence[int],
    size: int,
    milliseconds: float,
    processes: int = 0,
    main: bool = False,
    objects: int = 0,
    compiled: bool = False,
) -> dict[str, Any]:
    """All figures, as bench.json has them."""
    mosaic, network, half = builtin.mosaic(size=size), trained(), trained(dtype="bfloat16")
    known, captions = captions_of(network), val_captions()
    models: dict[str, tuple[Denoiser, Sequence[str]]] = {
        "builtin, prompt": (mosaic, captions),
        "builtin, no prompt": (mosaic, ()),
        "builtin without patches, prompt": (replace(mosaic, patches=None), captions),
        "windows, prompt": (builtin.local(size=size), captions),
        "trained (32 pixels), float32": (network, known),
        "trained (32 pixels), bfloat16": (half, known),
    }
    grid = UniformT(LEVELS)
    samplers: dict[str, Sampler] = {
        "ddim": Ddim(grid),
        "sds": Distillation(Annealed(grid)),
        "sdi": Distillation(Annealed(grid), noise=Inversion()),
    }
    with torch.no_grad():
        by_torch = by_compiler(batches) if compiled else None  # first: where it fails, no time is lost
        loops, rows, error = overheads(samplers, milliseconds), rows_a_second(models, batches), rounding(half, network)
    where = provenance("sdi_bench.bench", sys.argv[1:]) | {"clock": "seconds of CPU time of the process"}
    found: dict[str, Any] = {
        "size": size,
        "ms": milliseconds,
        "rows a second": rows,
        "error of bfloat16": error,
        "loops": loops,
    }
    if by_torch:
        found["torch.compile"] = by_torch
    if processes:
        rates = [(rate_of(1, size), rate_of(processes, size)) for _ in range(ROUNDS)]
        times = sorted(all_of / one for one, all_of in rates)
        found["processes"] = {"number": processes, "times one": float(np.median(times)), "least": times[0], "most": times[-1]}
    if main:
        found["main job, seconds"] = main_job()
    if objects:
        found["objects"] = {"number": objects, "by": objects_of(solid(objects))}
    return found | {"where": where}


def ratios(found: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, float]:
    """Rows a second today over those of another day, where both have them at the same size."""
    if found["size"] != before["size"]:
        raise ValueError(f"against: made at size={before['size']}; this is size={found['size']}")
    old = before["rows a second"]
    return {
        f"{name}, {batch}": now / old[name][batch]
        for name, by_batch in found["rows a second"].items()
        for batch, now in by_batch.items()
        if batch in old.get(name, {})
    }


def shown(found: Mapping[str, Any], beside: Mapping[str, float]) -> str:
    """The table."""
    rows, loops = found["rows a second"], found["loops"]
    batches = list(next(iter(rows.values())))
    width = max(map(len, rows))
    text = [f"rows a second of one core, {found['size']} pixels", " " * width + "".join(f"{f'batch {b}':>18}" for b in batches)]
    for name, by_batch in rows.items():
        cells = (
            f"{now:.0f}" + (f" ({beside[k]:.2f}x)" if (k := f"{name}, {b}") in beside else "") for b, now in by_batch.items()
        )
        text.append(f"{name:{width}}" + "".join(f"{cell:>18}" for cell in cells))
    text += ["", f"a run over its network's calls of {found['ms']:g} ms, {LEVELS} levels, and rows an item"]
    text += [f"{name:8}{of['overhead']:8.3f}{of['rows']:8.0f}" for name, of in loops.items()]
    if "error of bfloat16" in found:
        text += ["", f"bfloat16 changes the trained prior's noise estimate by {found['error of bfloat16']:.4f} of its rms"]
    if together := found.get("processes"):
        said = "{number} processes together sample at {times one:.2f} times the rate of one ({least:.2f} to {most:.2f})"
        text += ["", said.format_map(together)]
    if compiled := found.get("torch.compile"):
        times = ", ".join(f"{times:.2f} ({b})" for b, times in compiled.items() if b != "seconds")
        after = f"after {compiled['seconds']:.0f} s of compiling"
        text += ["", f"torch.compile makes {times} times the trained prior's rows a second (batch), {after}"]
    if seconds := found.get("main job, seconds"):
        text += ["", f"the main job takes {seconds:.0f} s of wall time"]
    if solids := found.get("objects"):
        text += [
            "",
            f"{solids['number']} objects at once: seconds of CPU time an object, over those of SDS, and rows an object",
        ]
        text += [f"{name:20}{of['seconds']:8.1f}{of['times']:8.2f}{of['rows']:8.0f}" for name, of in solids["by"].items()]
    return "\n".join(text)


def drawn(found: Mapping[str, Any], path: Path) -> None:
    """Cost over batch size, and over the items of a run by each sampler, with the model asked at its own guidance of 1."""
    from matplotlib.figure import Figure

    from .plotting.style import look, plain

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    loops = {name: of for name, of in found["loops"].items() if name != HAND}
    models, samplers = look(list(found["rows a second"])), look(list(loops))
    for name, by_batch in found["rows a second"].items():
        left.plot([int(b) for b in by_batch], [1000 / rate for rate in by_batch.values()], label=name, **models[name])
    left.set(xscale="log", yscale="log", xlabel="rows at once", ylabel="ms a row, one core")
    for axis in (left.xaxis, left.yaxis):
        plain(axis)
    left.legend(fontsize=7)
    rate, n = max(found["rows a second"]["builtin, prompt"].values()), np.array([1, 4096])
    for name, of in loops.items():
        right.plot(n, n * of["rows"] / rate, label=name, **{**samplers[name], "linestyle": "--" if name == "sds" else "-"})
    right.set(xscale="log", yscale="log", xlabel="items, n", ylabel="seconds with the built-in prior, one core")
    right.legend(fontsize=7)
    save(figure, path, 150)


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    batches: list[int]
    size: int
    milliseconds: float
    processes: int
    main: bool
    objects: int
    compiled: bool
    out: str
    before: Mapping[str, Any] | None


def settings(argv: Sequence[str]) -> Asked:
    """What the command line says. Raises ValueError, naming the field, the value and what would do."""
    said = dict(DEFAULTS)
    for word in argv:
        key, equals, value = word.partition("=")
        if key not in said or not equals:
            raise ValueError(f"{line(word)}: no such setting; there are {', '.join(f'{name}=' for name in DEFAULTS)}")
        said[key] = value
    try:
        batches, size, milliseconds = [int(b) for b in said["batches"].split(",")], int(said["size"]), float(said["ms"])
        processes, objects = int(said["processes"]), int(said["objects"])
    except ValueError as error:
        names = ", ".join(f"{name}={said[name]}" for name in ("batches", "size", "processes", "objects", "ms"))
        raise ValueError(f"{names}: must be numbers") from error
    for batch in batches:
        require.count("batches", batch)
    require.number("ms", milliseconds, above=0)
    require.count("processes", processes, least=0)
    require.count("objects", objects, least=0)
    for name in ("main", "compiled"):
        if said[name] not in ("true", "false"):
            raise ValueError(f"{name}={said[name]!r}: must be true or false")
    before = None
    if said["against"]:
        try:
            before = json.loads(Path(said["against"]).read_text())
            ratios({"size": before["size"], "rows a second": before["rows a second"]}, before)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"against={said['against']!r}: must be a bench.json that out= wrote") from error
    main, compiled = said["main"] == "true", said["compiled"] == "true"
    return Asked(batches, size, milliseconds, processes, main, objects, compiled, said["out"], before)


def main() -> int:
    """Measure, and say. 0, or 2 for bad input."""
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    torch.set_num_threads(1)
    try:
        asked = settings(sys.argv[1:])
        found = measured(
            asked.batches, asked.size, asked.milliseconds, asked.processes, asked.main, asked.objects, asked.compiled
        )
        print(shown(found, ratios(found, asked.before) if asked.before else {}))
    except ValueError as error:
        print(f"sdi_bench.bench: {error}", file=sys.stderr)
        return 2
    if asked.out:
        Path(asked.out).mkdir(parents=True, exist_ok=True)
        write_whole(Path(asked.out) / "bench.json", (json.dumps(found, indent=1) + "\n").encode())
        drawn(found, Path(asked.out) / "bench.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
