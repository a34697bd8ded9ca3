"""python -m sdi_bench.train.card FOLDER: measure what sdi_bench.train made, and write its card into FOLDER/pipeline.

DDIM of 50 levels on the captions of held-out (val) pictures, beside these pictures and as many training pictures. --ship: then
copy the pipeline to where model=trained finds it.
"""

import argparse
import csv
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import yaml
from hydra.utils import instantiate
from tqdm import tqdm

from .. import pictures, prompts, require
from ..compare import cell
from ..data.build.prompts import shuffled
from ..data.shipped import HERE, seal
from ..data.world import World
from ..draws import Item
from ..evaluate import labels
from ..features.effnet import Effnet
from ..grids import UniformT
from ..guidance import Guidance
from ..levels import Level
from ..measure import Samples, measure, rounded
from ..metrics import Metric
from ..metrics.fd import Fd
from ..metrics.kd import Kd
from ..metrics.novelty import Novelty
from ..metrics.rprec import Rprec
from ..metrics.sharpness import Sharpness
from ..metrics.tclip import Tclip
from ..metrics.view import View
from ..models.trained import RECIPE, SHIPPED, Trained, trained
from ..predictor import Cost
from ..samplers import Ddim
from ..sampling import Job
from .recipe import Recipe

matplotlib.use("Agg")
from matplotlib import pyplot as plt

N_LEVELS, BATCH = 50, 64

METRICS: dict[str, Metric] = {
    "fd_effnet": Fd(Effnet(principal=True)),
    "kd_effnet": Kd(Effnet()),
    "rprec": Rprec(),
    "tclip": Tclip(),
    "view": View(),
    "sharpness": Sharpness(),
    "novelty": Novelty(),
}

COPY = 0.01
"""A sample is called a copy if it is nearer to a training picture (LPIPS) than all but this share of held-out pictures."""

CARD = Path(__file__).with_suffix(".md")
"""The card, with names in braces for what is measured."""


def restored(values: np.ndarray) -> np.ndarray:
    """As a picture file has them."""
    return rounded(values.astype(np.float64))


def drawn(model: Trained, items: Sequence[Item], gamma: float) -> np.ndarray:
    """DDIM's pictures of the items."""
    job = Job(model, Ddim(UniformT(N_LEVELS), Guidance(gamma)), model.schedule, model.device)
    made = []
    for k in tqdm(range(0, len(items), BATCH), f"guidance {gamma:g}"):
        *_, last = job.states(items[k : k + BATCH], Cost())
        made.append(job.pictures(last).cpu().numpy())
    return np.concatenate(made)


def milliseconds(model: Trained, items: Sequence[Item], n_rounds: int = 5) -> tuple[float, int]:
    """(the fastest of some rounds, per row; rows of a round)."""
    level = Level(*(torch.tensor([value], dtype=torch.float64) for value in (0.6, 0.8, 0.5)))
    x, asked = torch.zeros(len(items), *model.shape, dtype=torch.float64), [[item.prompt for item in items]]
    spent = []
    with torch.no_grad():
        for _ in range(n_rounds + 1):
            began = time.perf_counter()
            model.predict(x.to(model.device), level, asked).eps.cpu()
            spent.append(time.perf_counter() - began)
    return 1e3 * min(spent[1:]) / len(items), len(items)


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
        axis.plot([row["samples"] for row in found], [row["loss"] for row in found], linewidth=0.8, label="training")
        if name == "denoiser":
            some = [row for row in found if "unseen" in row]
            axis.plot([row["samples"] for row in some], [row["unseen"] for row in some], "o-", markersize=3, label="unseen")
        else:
            other = axis.twinx()
            some = [row for row in found if "psnr" in row]
            other.plot([row["samples"] for row in some], [row["psnr"] for row in some], "C1o-", markersize=3)
            other.set_ylabel("PSNR of unseen pictures (dB)", color="C1", fontsize=8)
        axis.set_yscale("log")
        axis.set_title({"codec": "codec: L1", "denoiser": "denoiser: mean square of v"}[name], fontsize=9)
        axis.set_xlabel("pictures seen", fontsize=8)
        axis.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def told(name: str, found: Mapping[str, Mapping[str, Any]], n: int, copies: float | None, columns: Sequence[str]) -> str:
    """A line of the table."""
    cells = [cell(row["point"], row["low"], row["high"]) if "point" in row else "-" for row in (found[key] for key in columns)]
    return "| " + " | ".join([name, str(n), *cells, "-" if copies is None else f"{copies:.3f}"]) + " |"


def card(folder: Path, n: int, gammas: Sequence[float], machine: str) -> str:
    """The card's text; curves.png and samples.png go beside it. Raises ValueError where there is nothing to measure."""
    home = folder / "pipeline"
    said = (folder / RECIPE).read_text() if (folder / RECIPE).exists() else ""
    if not said or not home.is_dir():
        raise ValueError(f"folder={str(folder)!r}: no finished training; run python -m sdi_bench.train first")
    recipe: Recipe = instantiate(yaml.safe_load(said), _convert_="all")
    size, domain = recipe.pictures.size, recipe.pictures
    model = trained(home, size)
    seen = domain.of("train")
    table = shuffled(domain.of("val").table)
    held = domain.of("val").rows(table.index.to_numpy())
    seeds = range(-(-n // len(held)))
    items = prompts.items(list(held.table["caption"]), list(seeds))[:n]
    real = restored(held.pixels(size))

    def found(images: np.ndarray, asked: Sequence[Item]) -> tuple[dict[str, dict[str, Any]], np.ndarray | None]:
        given = Samples(images, asked, labels(asked), model, real, real=real)
        values = Novelty().statistic(given.only(given.kept).context)
        near = np.array([values(np.array([i])) for i in range(int(given.kept.sum()))])
        return measure(given, METRICS), near

    own = [Item(caption, k) for k, caption in enumerate(held.table["caption"])]
    ceiling, far = found(real, own)
    limit = float(np.quantile(far, COPY))
    picked = np.random.default_rng(0).choice(len(seen), n, replace=n > len(seen))
    floor, _ = found(
        restored(seen.rows(picked).pixels(size)), [Item(seen.table["caption"][i], k) for k, i in enumerate(picked)]
    )
    columns = [name for name in METRICS if "point" in floor[name] or "point" in ceiling[name]]
    lines = [f"| pictures | n | {' | '.join(columns)} | copies |", f"|{' --- |' * (len(columns) + 3)}"]
    measured = {}
    for gamma in gammas:
        images = restored(drawn(model, items, gamma))
        values, near = found(images, items)
        measured[gamma] = values, images
        lines.append(told(f"DDIM, guidance {gamma:g}", values, n, float((near < limit).mean()), columns))
    lines.append(told("training pictures", floor, n, None, columns))
    lines.append(told("held-out pictures", ceiling, len(held), COPY, columns))
    by = "fd_effnet" if "point" in floor["fd_effnet"] else "kd_effnet"
    best = min(measured, key=lambda gamma: measured[gamma][0][by].get("point", np.inf))
    values, images = measured[best]
    curves(folder, home / "curves.png")
    sheet(home / "samples.png", held, items, images, size)
    weights = {
        name: sum(p.numel() for p in getattr(model.pipe, name).parameters()) / 1e6 for name in ("unet", "text_encoder", "vae")
    }
    ms, n_rows = milliseconds(model, items[:BATCH])
    logs = {name: rows(folder, name) for name in ("codec", "denoiser")}
    stages = [
        f"| {name} | {log[-1]['samples']:,.0f} | {log[-1]['seconds']:,.0f} | {log[-1]['loss']:.4f} | "
        f"{log[-1].get('psnr', log[-1].get('unseen', float('nan'))):.4g} |"
        for name, log in logs.items()
        if log
    ]
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
        folder="path/of/this/folder",
        prompt="a brown sofa, side view",
        where="" if folder.name == "small" else " model.path=path/of/this/folder",
        best=best,
        n_train=f"{len(seen):,}",
        n_models=seen.table["instance"].nunique(),
        n_concepts=seen.table["concept"].nunique(),
        codec_data="" if domain.concepts is None else f" (the codec: all {len(domain.everything('train')):,} of the domain)",
        command=f"python -m sdi_bench.train recipe={folder.name}",
        stages="\n".join(stages),
        machine=machine,
        recipe=said,
        n_levels=N_LEVELS,
        n_real=len(held),
        n=n,
        table="\n".join(lines),
        copy_share=1 - COPY,
        ratio=values[by]["point"] / floor[by]["point"],
        hits=values["rprec"]["point"] / ceiling["rprec"]["point"],
        view="-" if "point" not in view else f"{view['point'] - 0.25:.2f}",
        ms=ms,
        rows=n_rows,
        threads=torch.get_num_threads(),
    )


def sheet(path: Path, held: World, items: Sequence[Item], images: np.ndarray, size: int, n: int = 12) -> None:
    """Captions in rows: a held-out picture, then samples."""
    captions = list(dict.fromkeys(held.table["caption"]))
    chosen = captions[:: max(1, len(captions) // n)][:n]
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
    parser.add_argument("--gammas", type=float, nargs="+", default=[1.0, 2.0, 3.0], help="guidance scales")
    parser.add_argument("--machine", default="not said", help="what it was trained on, for the card")
    parser.add_argument("--ship", action="store_true", help="copy the pipeline into the package")
    options = parser.parse_args()
    try:
        require.count("n", options.n, least=2)
        text = card(options.folder, options.n, options.gammas, options.machine)
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
