"""python -m sdi_bench.train.card FOLDER: measure what sdi_bench.train made, and write its card into FOLDER/pipeline.

DDIM of 50 levels on the captions of held-out (val) pictures, at guidance 1 and at what is best on tuning captions, beside
these pictures and training pictures of the same names and views. --ship: also copy the pipeline where model=trained finds it.
"""

import argparse
import csv
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import yaml
from tqdm import tqdm

from .. import pictures, prompts, require
from ..compare import cell
from ..data.build.prompts import shuffled
from ..data.shipped import HERE, seal
from ..data.world import World
from ..draws import Item
from ..evaluate import chosen
from ..grids import UniformT
from ..guidance import Guidance
from ..levels import Level
from ..measuring import Samples, clustered, measure, rounded
from ..metrics.novelty import to_nearest
from ..models.trained import RECIPE, SHIPPED, Trained, trained
from ..plans import built
from ..predictor import Cost
from ..samplers import Ddim
from ..sampling import Job
from ..stats import Estimate, clusters_of, jackknife, mean_of, share
from ..store import RunFolder
from ..trust import trusted
from .recipe import Recipe

matplotlib.use("Agg")
from matplotlib import pyplot as plt

N_LEVELS, BATCH = 50, 64

MEASURES = ("fd_effnet", "kd_effnet", "rprec", "tclip", "view", "sharpness")
"""Of conf/metric."""

REBUILT = 0.95
"""A picture is called a copy if it is as near to a training picture (LPIPS) as this share of training pictures are once they
have been through the codec."""

CARD = Path(__file__).with_suffix(".md")
"""The card, with names in braces for what is measured."""


def drawn(model: Trained, items: Sequence[Item], gamma: float) -> np.ndarray:
    """DDIM's pictures of the items, as picture files have them."""
    job = Job(model, Ddim(UniformT(N_LEVELS), Guidance(gamma)), model.schedule, model.device)
    made = []
    for k in tqdm(range(0, len(items), BATCH), f"guidance {gamma:g}"):
        *_, last = job.states(items[k : k + BATCH], Cost())
        made.append(job.pictures(last).cpu().numpy())
    return rounded(np.concatenate(made).astype(np.float64))


def rebuilt(model: Trained, images: np.ndarray) -> np.ndarray:
    """Pictures after the codec."""
    with torch.no_grad():
        x = torch.from_numpy(images).to(model.device)
        return rounded(model.decode(model.encode(x)).cpu().numpy().astype(np.float64))


def milliseconds(model: Trained, items: Sequence[Item], n_rounds: int = 5) -> float:
    """Of a row of the network, in the fastest of some rounds over these items."""
    a, b, t = (torch.tensor([value], dtype=torch.float64) for value in (0.6, 0.8, 0.5))
    level = Level(a, b, t)
    x = torch.zeros(len(items), *model.shape, dtype=torch.float64, device=model.device)
    spent = []
    with torch.no_grad():
        for _ in range(n_rounds + 1):
            began = time.perf_counter()
            model.predict(x, level, [[item.prompt for item in items]]).eps.cpu()
            spent.append(time.perf_counter() - began)
    return 1e3 * min(spent[1:]) / len(items)


def rows(folder: Path, name: str) -> list[dict[str, float]]:
    """A stage's log; empty if the stage has none."""
    path = folder / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def curves(folder: Path, path: Path) -> None:
    """The loss of each stage over the pictures seen, and what was measured on unseen ones."""
    stages = {name: found for name in ("codec", "denoiser") if (found := rows(folder, name))}
    figure, axes = plt.subplots(1, len(stages), figsize=(4.2 * len(stages), 2.8), layout="constrained", squeeze=False)
    for axis, (name, found) in zip(axes[0], stages.items(), strict=True):
        axis.plot([row["samples"] / 1000 for row in found], [row["loss"] for row in found], linewidth=0.8, label="training")
        if name == "denoiser":
            some = [row for row in found if "unseen" in row]
            axis.plot(
                [row["samples"] / 1000 for row in some], [row["unseen"] for row in some], "o-", markersize=3, label="unseen"
            )
        else:
            other = axis.twinx()
            some = [row for row in found if "psnr" in row]
            other.plot([row["samples"] / 1000 for row in some], [row["psnr"] for row in some], "C1o-", markersize=3)
            other.set_ylabel("PSNR of unseen pictures (dB)", color="C1", fontsize=8)
        axis.set_yscale("log")
        axis.set_title({"codec": "codec: L1 and KL", "denoiser": "denoiser: mean square of v"}[name], fontsize=9)
        axis.set_xlabel("pictures seen, thousands", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.legend(fontsize=7, frameon=False, loc="lower left" if name == "denoiser" else "center right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def stage_rows(folder: Path) -> str:
    """The last lines of the logs."""
    lines = []
    for name in ("codec", "denoiser"):
        for last in rows(folder, name)[-1:]:
            unseen = f"{last['psnr']:.1f} dB" if "psnr" in last else f"{last.get('unseen', np.nan):.4f}"
            seen = f"{last['samples']:,.0f} | {last['seconds']:,.0f}"
            lines.append(f"| {name} | {seen} | {last['loss']:.4f} | {unseen} |")
    return "\n".join(lines)


def alike(seen: World, asked: World, n: int) -> World:
    """For the k-th of n samples, whose caption is that of the k-th picture of `asked`, round and round, a training picture of
    the same name, from the same side where there is one.
    """
    rng = np.random.default_rng(0)
    sides, names = (seen.table.groupby(by).indices for by in (["concept", "view"], "concept"))
    keys = list(zip(asked.table["concept"], asked.table["view"], strict=True))
    fit = [sides.get(key, names[key[0]]) for key in keys]
    return seen.rows(np.array([rng.choice(fit[k % len(fit)]) for k in range(n)]))


@dataclass(frozen=True)
class Ruler:
    """What pictures are measured with. known: the training pictures. limit: LPIPS to one of them below which it is a copy."""

    model: Trained
    real: np.ndarray
    known: np.ndarray
    limit: float

    def line(
        self, name: str, images: np.ndarray, items: Sequence[Item], own: bool = False
    ) -> tuple[str, dict[str, dict[str, Any]]]:
        """(a line of the table, the measures). own: the real pictures themselves, which are held against no others."""
        clusters = clustered(items, self.model).labels
        found = measure(Samples(images, items, clusters, self.model, self.real, real=self.real), chosen(MEASURES))
        far = to_nearest(images, self.known)
        values = [{} if own and key in ("fd_effnet", "kd_effnet") else found[key] for key in MEASURES]
        extra = jackknife(mean_of(far), clusters_of(clusters)), share((far <= self.limit).astype(float), clusters)
        cells = [cell(one["point"], one["low"], one["high"]) if "point" in one else "-" for one in values]
        return f"| {' | '.join([name, str(len(items)), *cells, *(shown(one) for one in extra)])} |", found


def shown(estimate: Estimate) -> str:
    """A number with its interval."""
    return cell(estimate.point, estimate.low, estimate.high)


def card(folder: Path, n: int, gammas: Sequence[float], machine: str, device: str, ships: bool) -> str:
    """The card's text; curves.png and samples.png go beside it. Raises ValueError where there is nothing to measure."""
    home = folder / "pipeline"
    made = RunFolder(folder).read_json("provenance.json")
    if made is None or not (folder / RECIPE).exists() or not home.is_dir():
        raise ValueError(f"folder={str(folder)!r}: no finished training; run python -m sdi_bench.train first")
    said = (folder / RECIPE).read_text()
    plain = yaml.safe_load(said)
    trusted(plain, (), f"folder={str(folder)!r}", ("train",))
    recipe: Recipe = built(plain)
    size, domain = recipe.pictures.size, recipe.pictures
    model = trained(home, size, device=device)
    seen, (held, tune) = domain.of("train"), (in_no_order(domain.of(split)) for split in ("val", "tune"))
    real, known = (rounded(world.pixels(size).astype(np.float64)) for world in (held, seen))
    limit = float(np.quantile(to_nearest(rebuilt(model, known), known.astype(np.float32)), REBUILT))
    ruler = Ruler(model, real, known.astype(np.float32), limit)

    tuned = items_of(tune, len(tune))
    to_tune = [measure_kd(drawn(model, tuned, gamma), tuned, tune.pixels(size)) for gamma in gammas]
    best = gammas[int(np.argmin(to_tune))]
    items, own = items_of(held, n), items_of(held, len(held))
    lines, found = [], {}
    for gamma in sorted({1.0, best}):
        images = drawn(model, items, gamma)
        line, found[f"{gamma:g}"] = ruler.line(f"DDIM, guidance {gamma:g}", images, items)
        lines.append(line)
        if gamma == best:
            sheet(home / "samples.png", held, items, images, size)
    twins = rounded(alike(seen, held, n).pixels(size).astype(np.float64))
    for name, images, asked in (("training pictures, same names and views", twins, items), ("held-out pictures", real, own)):
        line, found[name] = ruler.line(name, images, asked, own=images is real)
        lines += [line, ruler.line(f"{name}, through the codec", rebuilt(model, images), asked)[0]]
    floor, ceiling, values = found["training pictures, same names and views"], found["held-out pictures"], found[f"{best:g}"]
    by = "fd_effnet" if "point" in values["fd_effnet"] and "point" in floor["fd_effnet"] else "kd_effnet"
    curves(folder, home / "curves.png")
    weights = {
        name: sum(p.numel() for p in getattr(model.pipe, name).parameters()) / 1e6 for name in ("unet", "text_encoder", "vae")
    }
    where = "" if ships else f" model.path=path/of/this/folder model.size={size}"
    view = values["view"]
    return CARD.read_text().format(
        size=size,
        domain={None: "furniture and emoji", "object": "furniture", "emoji": "emoji"}[domain.domain],
        codec=f"latents of {recipe.codec.latents} channels at 1/{recipe.codec.factor} of the size",
        side=recipe.shape[1],
        n_weights=sum(weights.values()),
        n_unet=weights["unet"],
        n_text=weights["text_encoder"],
        n_codec=weights["vae"],
        mib=sum(path.stat().st_size for path in home.rglob("*.safetensors")) / 2**20,
        prompt=held.table["caption"][0],
        where=where,
        best=f"{best:g}",
        tuning=", ".join(f"{gamma:g}: {value:.3f}" for gamma, value in zip(gammas, to_tune, strict=True)),
        n_tune=len(tuned),
        n_train=f"{len(seen):,}",
        n_models=seen.table["instance"].nunique(),
        n_concepts=seen.table["concept"].nunique(),
        codec_data="" if domain.concepts is None else f" (the codec: all {len(domain.everything('train')):,} of the domain)",
        command=made["command"],
        stages=stage_rows(folder),
        machine=machine,
        recipe=said,
        n_levels=N_LEVELS,
        n_real=len(held),
        n=n,
        columns=" | ".join([*MEASURES, "novelty", "copies"]),
        rule=" | ".join(["---"] * (len(MEASURES) + 4)),
        table="\n".join(lines),
        rebuilt=REBUILT,
        by=by,
        ratio=values[by]["point"] / floor[by]["point"],
        hits=values["rprec"]["point"] / ceiling["rprec"]["point"],
        view="-" if "point" not in view else f"{view['point'] - 0.25:.2f}",
        ms=milliseconds(model, items[:BATCH]),
        batch=min(BATCH, n),
        threads=f"on {torch.get_num_threads()} of the CPU's threads" if device == "cpu" else f"on {device}",
    )


def in_no_order(world: World) -> World:
    """The pictures ordered as the lists of prompts are."""
    return world.rows(shuffled(world.table).index.to_numpy())


def items_of(world: World, n: int) -> list[Item]:
    """The captions of the pictures, round and round, n in all; a caption that stands again gets another seed."""
    captions = list(world.table["caption"])
    return prompts.items(captions, list(range(-(-n // len(captions)))), n)


def measure_kd(images: np.ndarray, items: Sequence[Item], real: np.ndarray) -> float:
    """KD to real pictures; inf where it is not defined."""
    found = measure(
        Samples(images, items, clustered(items).labels, real=rounded(real.astype(np.float64))), chosen(["kd_effnet"])
    )
    return float(found["kd_effnet"].get("point", np.inf))


def sheet(path: Path, held: World, items: Sequence[Item], images: np.ndarray, size: int, n: int = 12) -> None:
    """Captions in rows, of several names: a held-out picture, then samples."""
    several = [c for c in dict.fromkeys(held.table["caption"]) if sum(item.prompt == c for item in items) > 5]
    chosen = several[:: max(1, len(several) // n)][:n] or [str(items[0].prompt)]
    columns: dict[str, list[np.ndarray]] = {
        "held out": [held.pixels(size)[list(held.table["caption"]).index(c)] for c in chosen]
    }
    for caption in chosen:
        for k, i in enumerate([i for i, item in enumerate(items) if item.prompt == caption][:8]):
            columns.setdefault(f"{k + 1}", []).append(images[i])
    full = {name: np.stack(column) for name, column in columns.items() if len(column) == len(chosen)}
    pictures.side_by_side(path, full, chosen, "")


def main() -> None:
    """Measure, write. Exit status 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m sdi_bench.train.card", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=1280, help="samples; 1,280 at least for fd_effnet")
    parser.add_argument("--gammas", type=float, nargs="+", default=[1.0, 2.0, 3.0, 5.0], help="guidance scales to choose from")
    parser.add_argument("--machine", default="not said", help="what it was trained on, for the card")
    parser.add_argument("--device", default="cpu", help="where it is measured")
    parser.add_argument("--ship", action="store_true", help="copy the pipeline into the package")
    options = parser.parse_args()
    try:
        require.count("n", options.n, least=2)
        text = card(options.folder, options.n, options.gammas, options.machine, options.device, options.ship)
    except ValueError as error:
        print(f"sdi_bench.train.card: {error}", file=sys.stderr)
        sys.exit(2)
    (options.folder / "pipeline" / "README.md").write_text(text)
    print(text)
    if options.ship:
        ship(options.folder / "pipeline")


def ship(home: Path) -> None:
    """Copy a pipeline to where model=trained finds it, and seal it."""
    place = HERE / SHIPPED
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(home, place)
    files = sorted(path.relative_to(HERE).as_posix() for path in place.rglob("*") if path.is_file())
    seal(*(name for name in files if Path(name).suffix in (".safetensors", ".json", ".txt", ".yaml")))


if __name__ == "__main__":
    main()
