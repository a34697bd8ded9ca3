"""python -m sdi_bench.bench: what one can expect of this machine's core: rows a second of the models, overhead of the samplers.

python -m sdi_bench.bench
python -m sdi_bench.bench size=32 batches=1,64
python -m sdi_bench.bench out=here against=before/bench.json

    batches=1,8,64   rows that go to a model at once
    size=64          pixels of the built-in priors: 64, 32, 16 or 8
    ms=5             milliseconds of a bare call under the samplers' loops
    out=FOLDER       bench.json, bench.png: what was found; cost over batch size, and over the items of a run (none)
    against=FILE     a bench.json of another day: a ratio to each of its figures, above 1 where today is faster (none)

A row is one picture through the model once. All is CPU time of this process on one thread, the best of a few turns in which all
that is timed comes up once: other load on the machine moves it little. Exit status: 0, or 2 for bad input.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import require
from .draws import items_of
from .grids import UniformT
from .levels import Level
from .metrics.rprec import val_captions
from .models import Network, builtin
from .models.base import Denoiser
from .noise import Inversion
from .predictor import Cost
from .provenance import provenance
from .samplers import Annealed, Ddim, Distillation, Sampler
from .sampling import Job
from .schedules import scaled_linear
from .store import write_whole
from .texts import line, save

SIGMAS = (0.03, 0.3, 1.0, 3.0, 12.0)
"""Noise levels at which rows are timed; a model's figure is of all of them together."""
LEVELS = 50
SHAPE = (4, 16, 16)
"""Of what the loops' network is given: a small latent."""
TURNS = 4
DEFAULTS = {"batches": "1,8,64", "size": "64", "ms": "5", "out": "", "against": ""}


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


def rows_a_second(models: Mapping[str, tuple[Denoiser, bool]], batches: Sequence[int]) -> dict[str, dict[str, float]]:
    """By model, and by batch size: rows a second of CPU time. models: name -> (model, is it asked with captions?)."""
    captions, rng = val_captions(), np.random.default_rng(0)
    best: dict[tuple[str, int], list[float]] = {}
    for turn in range(TURNS):  # the first one warms up
        for name, (model, asked) in models.items():
            for batch in batches:
                noise, times = torch.from_numpy(rng.standard_normal((batch, *model.shape))), []
                prompts = [captions[i * 7 % len(captions)] if asked else None for i in range(batch)]
                for sigma in torch.tensor(SIGMAS, dtype=torch.float64)[:, None]:
                    level = Level(torch.ones_like(sigma), sigma, sigma / (1 + sigma))
                    times.append(cpu(partial(model.predict, (1 + sigma) * noise, level, [prompts])))
                if turn:
                    best.setdefault((name, batch), []).append(sum(times))
    found: dict[str, dict[str, float]] = {}
    for (name, batch), times in best.items():
        found.setdefault(name, {})[str(batch)] = batch * len(SIGMAS) / min(times)
    return found


def overheads(samplers: Mapping[str, Sampler], milliseconds: float) -> dict[str, dict[str, float]]:
    """By sampler: CPU time of a run over that of its network's calls (median of turns), and rows an item costs."""
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

    found: dict[str, dict[str, float]] = {}
    ratios: dict[str, list[float]] = {name: [] for name in samplers}
    for turn in range(TURNS):
        for name, sampler in samplers.items():
            cost, inside = Cost(), 0.0
            job = Job(Network(timed, SHAPE), sampler, scaled_linear())
            run = cpu(partial(list, job.states(items_of([None], [0]), cost)))
            if turn:
                ratios[name].append(run / inside)
            found[name] = {"rows": float(sum(cost.rows.values()))}
    for name, values in ratios.items():
        found[name]["overhead"] = float(np.median(values))
    return found


def measured(batches: Sequence[int], size: int, milliseconds: float) -> dict[str, Any]:
    """All figures, as bench.json has them."""
    mosaic = builtin.mosaic(size=size)
    models: dict[str, tuple[Denoiser, bool]] = {
        "builtin, prompt": (mosaic, True),
        "builtin, no prompt": (mosaic, False),
        "builtin without patches, prompt": (replace(mosaic, patches=None), True),
        "windows, prompt": (builtin.local(size=size), True),
    }
    grid = UniformT(LEVELS)
    samplers: dict[str, Sampler] = {
        "ddim": Ddim(grid),
        "sds": Distillation(Annealed(grid)),
        "sdi": Distillation(Annealed(grid), noise=Inversion()),
    }
    with torch.no_grad():
        loops, rows = overheads(samplers, milliseconds), rows_a_second(models, batches)
    where = provenance("sdi_bench.bench", sys.argv[1:]) | {"clock": "seconds of CPU time of the process"}
    return {"size": size, "ms": milliseconds, "rows a second": rows, "loops": loops, "where": where}


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
    return "\n".join([*text, *(f"{name:8}{of['overhead']:8.3f}{of['rows']:8.0f}" for name, of in loops.items())])


def drawn(found: Mapping[str, Any], path: Path) -> None:
    """Cost over batch size, and over the items of a run by each sampler, with the model asked at its own guidance of 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, by_batch in found["rows a second"].items():
        left.plot([int(b) for b in by_batch], [1000 / rate for rate in by_batch.values()], marker="o", label=name)
    left.set(xscale="log", yscale="log", xlabel="rows at once", ylabel="ms a row, one core")
    left.legend(fontsize=7)
    rate, n = max(found["rows a second"]["builtin, prompt"].values()), np.array([1, 4096])
    for name, of in found["loops"].items():
        right.plot(n, n * of["rows"] / rate, label=name)
    right.set(xscale="log", yscale="log", xlabel="items, n", ylabel="seconds with the built-in prior, one core")
    right.legend(fontsize=7)
    save(figure, path, 150)


def settings(argv: Sequence[str]) -> tuple[list[int], int, float, str, Mapping[str, Any] | None]:
    """What the command line says. Raises ValueError, naming the field, the value and what would do."""
    said = dict(DEFAULTS)
    for word in argv:
        key, equals, value = word.partition("=")
        if key not in said or not equals:
            raise ValueError(f"{line(word)}: no such setting; there are {', '.join(f'{name}=' for name in DEFAULTS)}")
        said[key] = value
    try:
        batches, size, milliseconds = [int(b) for b in said["batches"].split(",")], int(said["size"]), float(said["ms"])
    except ValueError as error:
        raise ValueError(f"batches={said['batches']}, size={said['size']}, ms={said['ms']}: must be numbers") from error
    for batch in batches:
        require.count("batches", batch)
    require.number("ms", milliseconds, above=0)
    before = None
    if said["against"]:
        try:
            before = json.loads(Path(said["against"]).read_text())
            ratios({"size": before["size"], "rows a second": before["rows a second"]}, before)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"against={said['against']!r}: must be a bench.json that out= wrote") from error
    return batches, size, milliseconds, said["out"], before


def main() -> int:
    """Measure, and say. 0, or 2 for bad input."""
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    torch.set_num_threads(1)
    try:
        batches, size, milliseconds, out, before = settings(sys.argv[1:])
        found = measured(batches, size, milliseconds)
        print(shown(found, ratios(found, before) if before else {}))
    except ValueError as error:
        print(f"sdi_bench.bench: {error}", file=sys.stderr)
        return 2
    if out:
        Path(out).mkdir(parents=True, exist_ok=True)
        write_whole(Path(out) / "bench.json", (json.dumps(found, indent=1) + "\n").encode())
        drawn(found, Path(out) / "bench.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
