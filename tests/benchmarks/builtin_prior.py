"""How good the built-in prior is: DDIM on the captions of the val (or tune) pictures, beside real pictures and copies.

    python tests/benchmarks/builtin_prior.py                    # val: the published numbers
    python tests/benchmarks/builtin_prior.py --split tune --bare --windows '[[0, 1], [4, 2], [9, 8]]'
    python tests/benchmarks/builtin_prior.py --split tune --bare --prior windows --temperature 0.03 0.05
    python tests/benchmarks/builtin_prior.py --calibrate        # the half-width that denoises unseen pictures best, by sigma
    python tests/benchmarks/builtin_prior.py --null             # how much "no prompt" depends on its number of pictures
    python tests/benchmarks/builtin_prior.py --left-out         # the error of "no prompt", beside the signal
    python tests/benchmarks/builtin_prior.py --denoise          # how well it and the earlier prior denoise unseen pictures
    python tests/benchmarks/builtin_prior.py --outside          # how far guidance leads out of the range of pictures
    python tests/benchmarks/builtin_prior.py --speed            # milliseconds a row

One sample for each picture of the split, with its caption, at guidance 1 unless it is said otherwise. Columns: fd_effnet to
the split's real pictures; rprec (R@1 of 100 captions, chance 0.01); the share seen from the side asked for, the mean over the
four sides (chance 0.25); novelty, LPIPS to the nearest training picture (of the ten nearest by features). Rows: the prior in
question, the memorising one, training pictures in the split's shares (the floor of fd_effnet), the split itself (the ceiling of
rprec). ± is half of a 95 % interval, concepts left out in 20 groups.
"""

import argparse
import json
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from scipy.spatial.distance import cdist

from sdi_bench.data.world import World
from sdi_bench.draws import Item
from sdi_bench.features import lpips, towers
from sdi_bench.features.effnet import features, projected
from sdi_bench.features.frechet import frechet, moments
from sdi_bench.features.train import kept
from sdi_bench.features.views import VIEWS, views
from sdi_bench.grids import UniformT
from sdi_bench.guidance import Guidance
from sdi_bench.levels import Level
from sdi_bench.metrics.rprec import val_captions
from sdi_bench.models.builtin import local, mosaic, weighted_images
from sdi_bench.models.local import Prior
from sdi_bench.models.mosaic import Mosaic
from sdi_bench.models.patch_mixture import ramp
from sdi_bench.predictor import Cost
from sdi_bench.samplers import Ddim
from sdi_bench.sampling import Job
from sdi_bench.schedules import scaled_linear
from sdi_bench.stats import jackknife, mean_of


def samples(model: Prior, captions: Sequence[str], gamma: float = 1.0, batch: int = 64) -> np.ndarray:
    """DDIM-50; the k-th picture of a caption has seed k."""
    met: Counter[str] = Counter()
    items = []
    for caption in captions:
        items.append(Item(caption, met[caption]))
        met[caption] += 1
    job, images = Job(model, Ddim(UniformT(50), guidance=Guidance(gamma)), scaled_linear()), []
    for k in range(0, len(items), batch):
        *_, last = job.states(items[k : k + batch], Cost())
        images.append(last.x0.numpy().astype(np.float32))
    return np.concatenate(images)


def novelty(images: np.ndarray, found: np.ndarray, train: World, known: np.ndarray) -> np.ndarray:
    """LPIPS to the nearest training picture, sought among the ten nearest by features."""
    out = []
    for image, feature in zip(images, found, strict=True):
        near = np.argsort(cdist(feature[None], known)[0])[:10]
        real = train.images[near].astype(np.float32) / 127.5 - 1
        out.append(lpips.distance(np.repeat(image[None], 10, 0), real).min())
    return np.array(out)


def row(name: str, images: np.ndarray, split: World, real: np.ndarray, train: World, known: np.ndarray, n_novel: int) -> str:
    """A line of the table."""
    found = features(images)
    groups = np.array([zlib.crc32(concept.encode()) % 20 for concept in split.table["concept"]])
    captions = list(split.table["caption"])
    points, truth = projected(found), moments(projected(real))
    distance = jackknife(lambda index: frechet(moments(points[index]), truth), groups)
    pool = val_captions()
    rprec = jackknife(mean_of(towers.retrieved(towers.pictures(found), captions, pool)), groups)
    asked = (split.table["view"] != "").to_numpy()
    sides, right = split.table["view"].to_numpy(), np.array(VIEWS)[views(found)] == split.table["view"].to_numpy()
    places = np.flatnonzero(asked)

    def balanced(index: np.ndarray) -> float:
        return float(np.mean([right[places[index]][sides[places[index]] == side].mean() for side in VIEWS]))

    view = jackknife(balanced, groups[asked])
    some = np.random.default_rng(0).choice(len(images), min(n_novel, len(images)), replace=False)
    new = jackknife(mean_of(novelty(images[some], found[some], train, known)), groups[some])
    cells = [f"{round(e.point, d) + 0.0:.{d}f} ±{e.half:.{d}f}" for e, d in ((distance, 2), (rprec, 3), (view, 3), (new, 3))]
    return f"{name:66s}  {len(images):5d}  " + "  ".join(f"{cell:>14s}" for cell in cells)


def calibrate(split: World, n: int = 96) -> None:
    """Print, at each sigma, the mean square error of the denoised picture by half-width, its caption given."""
    widths, model, rng = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 63), local(), np.random.default_rng(0)
    rows = rng.choice(len(split), n, replace=False)
    print("sigma    " + "".join(f"{width:>8d}" for width in widths) + "   best half-width", flush=True)
    for sigma in (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0):
        errors, v = np.zeros(len(widths)), sigma**2 + model.width**2
        for index in rows:
            x0 = torch.from_numpy(split.images[index] / np.float32(127.5) - 1)
            x = x0 + sigma * torch.from_numpy(rng.standard_normal(x0.shape).astype(np.float32))
            support = model.support(split.table["caption"][index])
            for k, width in enumerate(widths):
                mean = model.windowed(x, 1.0, sigma, support, width)
                errors[k] += float((mean + model.width**2 / v * (x - mean) - x0).square().mean()) / n
        print(f"{sigma:<9g}" + "".join(f"{error:8.4f}" for error in errors) + f"   {widths[int(errors.argmin())]}", flush=True)


def null(split: World, n: int = 12) -> None:
    """Print the rms difference of the unconditional prediction from that of 4,096 pictures, by the number of pictures."""
    numbers, rng = (64, 128, 256, 1024), np.random.default_rng(0)
    priors, most = [local(n_null=number) for number in numbers], local(n_null=4096)
    rows = rng.choice(len(split), n, replace=False)
    print(f"sigma    4096 to the truth{''.join(f'{number:>8d}' for number in numbers)}   rms over {n} pictures", flush=True)
    for sigma in (0.1, 0.3, 1.0, 3.0, 10.0):
        errors = np.zeros(1 + len(priors))
        for index in rows:
            x0 = torch.from_numpy(split.images[index] / np.float32(127.5) - 1)
            x = x0 + sigma * torch.from_numpy(rng.standard_normal(x0.shape).astype(np.float32))
            best, *others = (model.mean(x, 1.0, sigma, model.support(None)) for model in (most, *priors))
            errors += [float((a - b).square().mean()) / n for a, b in [(best, x0), *((other, best) for other in others)]]
        first, *rest = np.sqrt(errors)
        print(f"{sigma:<9g}{first:17.3f}{''.join(f'{value:8.3f}' for value in rest)}", flush=True)


def denoise(split: World, n: int = 48) -> None:
    """Print, by sigma, how well both priors denoise pictures whose captions alone they know: PSNR in dB, of a range of 2."""
    models, rng = {"windows": local(), "builtin": mosaic()}, np.random.default_rng(0)
    rows = rng.choice(len(split), n, replace=False)
    clean = torch.from_numpy(split.images[rows] / 127.5 - 1)
    captions = list(split.table["caption"].iloc[rows])
    print("sigma   " + "".join(f"{name:>10s}" for name in models) + f"   PSNR in dB over {n} pictures", flush=True)
    for sigma in (0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 4.0, 8.0):
        x, one = clean + sigma * torch.from_numpy(rng.standard_normal(clean.shape)), torch.ones(1, dtype=torch.float64)
        level = Level(one, sigma * one, one / 2)
        errors = [float((model.predict(x, level, [captions]).x0[0] - clean).square().mean()) for model in models.values()]
        print(f"{sigma:<8g}" + "".join(f"{10 * np.log10(4 / error):10.2f}" for error in errors), flush=True)


def everything(model: Mosaic, x: torch.Tensor, a: float, b: float, details: torch.Tensor) -> torch.Tensor:
    """D with no prompt, nothing left out: weights from plain differences in float64, the detail of every picture.

    details: what a reduced picture leaves out, of all pictures. Those that weigh less than 1e-9 in every block are passed over.
    """
    size, v = model.shape[1], b * b + (a * model.width) ** 2
    small = model._small
    seen = torch.nn.functional.avg_pool2d(x[None], model.cell) if model.cell > 1 else x[None]
    per = seen.shape[-1] // 8
    far = (seen - a * small).square().sum(1).unflatten(2, (8, per)).unflatten(1, (8, per)).sum((2, 4)).flatten(1)
    radius = model.radius(b / a)
    place = torch.arange(8)
    band = ((place[:, None] - place).abs() <= radius).double()
    fit = -(model.cell**2) / (2 * v) * far @ torch.kron(band, band)
    weights = fit.softmax(0)  # [n, blocks]
    own = small.unflatten(3, (8, per)).unflatten(2, (8, per))
    coarse = (weights.reshape(-1, 1, 8, 1, 8, 1) * own).sum(0).flatten(3, 4).flatten(1, 2)
    mean, kept = model._grown(coarse[None])[0], torch.nonzero(weights.amax(1) > 1e-9)[:, 0]
    for some in kept.split(128):
        shares = weights[some].reshape(-1, 1, 8, 8).float()
        shares = torch.nn.functional.interpolate(shares, scale_factor=size // 8, mode="bilinear", align_corners=False)
        mean += (shares * details[some]).sum(0)
    return mean + a * model.width**2 / v * (x - a * mean)


def configured() -> dict[str, Any]:
    """What conf/model/builtin.yaml says."""
    said = yaml.safe_load((Path(__file__).parents[2] / "conf" / "model" / "builtin.yaml").read_text())["model"]
    return {name: value for name, value in said.items() if name != "_target_"}


def left_out(seeds: Sequence[int] = (0, 1)) -> None:
    """Print, level by level of the default grid, what D with no prompt is off, beside what guidance is to amplify.

    rms over the pixels of the default prompts' DDIM paths at gamma 1. error: of D as the model has it, against everything.
    signal: D with the prompt less everything. Below the join both are 0.
    """
    said = configured()
    model = mosaic(**said)
    pictures = zip(model.images.reshape(-1, 2, *model.images.shape[1:]), model._small.split(2), strict=True)
    details = torch.cat([(model.seen(images) - model._grown(small)).float() for images, small in pictures])
    items = [Item(prompt, seed) for prompt in said["prompts"] for seed in seeds]
    print(f"sigma      error   signal    ratio   rms over {len(items)} pictures of {model.shape[1]} pixels", flush=True)
    for state in Job(model, Ddim(UniformT(50)), scaled_linear()).states(items, Cost()):
        a, b = float(state.level.a), float(state.level.b)
        if a == 0 or b == 0:
            continue
        x = a * state.x0 + b * state.eps
        given, none = model.predict(x, state.level, [[item.prompt for item in items], [None] * len(items)]).x0
        share = ramp(b / a, model.join)
        if share == 0:
            error = signal = float((given - none).abs().max())
        else:
            exact = torch.stack([everything(model, row, a, b, details) for row in x])
            patches = none - share * replace(model, patches=None).predict(x, state.level, [[None] * len(items)]).x0[0]
            truth = share * exact + patches
            error, signal = (float((d - truth).square().mean().sqrt()) for d in (none, given))
        ratio = f"{error / signal:8.4f}" if signal else "       -"
        print(f"{b / a:<9.4g}{error:7.4f}  {signal:7.4f} {ratio}", flush=True)


def outside(seeds: Sequence[int] = (0, 1, 2, 3)) -> None:
    """Print the share of values outside ±1.02 of DDIM-50 on the default prompts, nothing cut off, over guidance."""
    said = configured() | {"clip": False}
    model, items = mosaic(**said), [Item(prompt, seed) for prompt in said["prompts"] for seed in seeds]
    print(f"gamma   outside   of {len(items)} pictures", flush=True)
    for gamma in (1.0, 3.0, 7.5):
        *_, last = Job(model, Ddim(UniformT(50), guidance=Guidance(gamma)), scaled_linear()).states(items, Cost())
        print(f"{gamma:<7g} {float((last.x0.abs() > 1.02).double().mean()):.4f}", flush=True)


def speed(n: int = 32) -> None:
    """Print milliseconds a row of both priors, at every fifth level of the default grid and over them all."""
    models, rng, schedule = {"windows": local(), "builtin": mosaic()}, np.random.default_rng(0), scaled_linear()
    captions = val_captions()[:: len(val_captions()) // n][:n]
    clean = torch.cat([models["builtin"].data([caption], rng) for caption in captions])
    print(f"milliseconds a row, the median of five batches of {n}, {torch.get_num_threads()} threads")
    print(
        f"{'sigma':8s}" + "".join(f"{f'{name}, {half}':>22s}" for half in ("prompt", "no prompt") for name in models),
        flush=True,
    )
    times = []
    for t in UniformT(50).times()[:-1:5]:
        level = schedule.level(t)
        x = level.a * clean + level.b * torch.from_numpy(rng.standard_normal(clean.shape))
        line = []
        for prompts in (captions, [None] * n):
            began = {name: [] for name in models}
            for turn in range(6):  # the first one warms up
                for name, model in models.items():
                    start = time.perf_counter()
                    model.predict(x, level, [prompts])
                    began[name] += [time.perf_counter() - start] if turn else []
            line += [1000 / n * float(np.median(found)) for found in began.values()]
        times.append(line)
        print(f"{float(level.sigma):<8.4g}" + "".join(f"{ms:22.2f}" for ms in line), flush=True)
    mean = np.mean(times, axis=0)
    print(f"{'mean':8s}" + "".join(f"{ms:22.2f}" for ms in mean))
    print(f"builtin over windows: prompt {mean[1] / mean[0]:.2f}, no prompt {mean[3] / mean[2]:.2f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=["val", "tune", "heldout"], default="val")
    parser.add_argument("--prior", choices=["builtin", "windows"], default="builtin", help="as model= names it")
    parser.add_argument("--windows", type=json.loads, nargs="+", help="pairs (sigma, size of the window) as JSON")
    parser.add_argument("--join", type=json.loads, nargs="+", help="of builtin: two sigmas as JSON")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0])
    parser.add_argument("--temperature", type=float, nargs="+", default=[0.03])
    parser.add_argument("--width", type=float, nargs="+", default=[0.02], help="of the kernel")
    parser.add_argument("--novel", type=int, default=256, help="pictures whose novelty is measured")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "sdi_bench", help="keeps features")
    parser.add_argument("--calibrate", action="store_true", help="only calibrate the windows, on the tune pictures")
    parser.add_argument("--null", action="store_true", help='only look at the pictures of "no prompt"')
    parser.add_argument("--left-out", action="store_true", help='only measure what "no prompt" leaves out')
    parser.add_argument("--denoise", action="store_true", help="only compare how pictures are denoised, on the tune pictures")
    parser.add_argument("--outside", action="store_true", help="only say how far guidance leads out of the range of pictures")
    parser.add_argument("--speed", action="store_true", help="only time a row")
    parser.add_argument("--bare", action="store_true", help="without the rows of real pictures and of the memorising prior")
    options = parser.parse_args()
    if options.join and options.prior == "windows":
        parser.error("--join is the builtin's")
    world = World.open()
    if options.calibrate or options.null or options.left_out or options.speed or options.denoise or options.outside:
        if options.outside:
            outside()
        if options.denoise:
            denoise(world.where(split="tune"))
        if options.calibrate:
            calibrate(world.where(split="tune"))
        if options.null:
            null(world.where(split="val"))
        if options.left_out:
            left_out()
        if options.speed:
            speed()
        return
    split, train = world.where(split=options.split), world.where(split="train")
    real, known = (kept(options.cache, some.pixels()) for some in (split, train))
    print(f"{'':66s}  {'n':>5s}  {'fd_effnet':>14s}  {'rprec':>14s}  {'view':>14s}  {'novelty':>14s}", flush=True)
    rest = (split, real, train, known, options.novel)
    captions = list(split.table["caption"])
    settings = product(options.windows or [None], options.join or [None], options.temperature, options.width)
    for windows, join, temperature, width in settings:
        said = {"windows": windows, "join": join, "temperature": temperature, "width": width}
        model = {"builtin": mosaic, "windows": local}[options.prior](**{k: v for k, v in said.items() if v is not None})
        for gamma in options.guidance:
            began = time.perf_counter()
            images = samples(model, captions, gamma)
            seconds = (time.perf_counter() - began) / len(images)
            sigmas, sizes = (",".join(f"{number:g}" for number in column) for column in zip(*model.windows, strict=True))
            parts = [f"{options.prior} {sizes} from {sigmas}"]
            parts += [f"join {model.join[0]:g}-{model.join[1]:g}"] if isinstance(model, Mosaic) else []
            name = "; ".join([*parts, f"T {temperature:g}", f"gamma {gamma:g}"])
            print(row(name, images, *rest) + f"  {seconds:.3f} s/image", flush=True)
    if not options.bare:
        print(row("empirical", samples(weighted_images(), captions), *rest), flush=True)
        rng, table = np.random.default_rng(0), train.table
        shares = split.table["domain"].value_counts()
        places = {d: list(rng.choice(np.flatnonzero(table["domain"] == d), n, replace=False)) for d, n in shares.items()}
        picks = [places[domain].pop() for domain in split.table["domain"]]
        print(row("training pictures, same shares", train.pixels()[picks], *rest), flush=True)
        print(row("the split's real pictures", split.pixels(), *rest), flush=True)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
