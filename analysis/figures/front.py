"""python -m analysis.figures.front: the picture on the front page, one item on its way under DDIM, SDS and SDI.

The item, the start, the levels and the guidance are those of the main job (python -m sdi_bench.run -m sampler=sds,sdi,ddim), so
the last column stands in its picture too. Writes results/published/front.png, in a quarter of a minute on one CPU core.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import yaml
from hydra.utils import instantiate
from matplotlib import pyplot as plt

from sdi_bench import Annealed, Ddim, Distillation, Fresh, Guidance, Inversion, Item, UniformT, texts
from sdi_bench.command_line import conf_dir
from sdi_bench.models.base import Denoiser
from sdi_bench.pictures import shown
from sdi_bench.predictor import Cost
from sdi_bench.samplers import Sampler
from sdi_bench.sampling import Job
from sdi_bench.schedules import scaled_linear

PATH = Path(__file__).resolve().parents[2] / "results" / "published" / "front.png"
ITEM = Item("a gray chair, back view", 0)
"""One of the sixty of the main job: on it the three part ways where one can see it."""

PLACES = (0, 6, 12, 18, 25, 32, 40, 49)
"""Levels shown, of 50."""

INK, FAINT = "#1f2933", "#7b8794"


@dataclass(frozen=True)
class Way:
    """A row of the picture. kappa: what is added to x0, in a few words. t [levels]; x0 [levels, channels, height, width]."""

    name: str
    kappa: str
    t: np.ndarray
    x0: np.ndarray


def ways(model: Denoiser, item: Item, gamma: float, n_levels: int = 50) -> list[Way]:
    """x0(t) of one item by each sampler, from the same start; gamma guides, -gamma guides SDI's inversion."""
    grid, guidance = UniformT(n_levels), Guidance(gamma)
    timeline = Annealed(grid)
    samplers: list[tuple[str, str, Sampler]] = [
        ("DDIM", "the previous prediction", Ddim(grid, guidance)),
        ("SDS", "drawn anew at every step", Distillation(timeline, noise=Fresh(), guidance=guidance)),
        ("SDI", "inferred from x0", Distillation(timeline, noise=Inversion(guidance_scale=-gamma), guidance=guidance)),
    ]
    found = []
    for name, kappa, sampler in samplers:
        states = list(Job(model, sampler, scaled_linear()).states([item], Cost()))
        t = np.array([float(state.level.t) for state in states])
        found.append(Way(name, kappa, t, np.stack([state.x0[0].numpy() for state in states])))
    return found


def draw(rows: Sequence[Way], places: Sequence[int], prompt: str, path: Path) -> None:
    """A row a sampler, t falling from left to right."""
    matplotlib.use("Agg")
    wide = 1.02
    figure, axes = plt.subplots(
        len(rows), len(places), squeeze=False, figsize=(wide * len(places) + 1.75, wide * len(rows) + 0.5)
    )
    side, top = 1.75 / figure.get_figwidth(), 1 - 0.46 / figure.get_figheight()
    figure.subplots_adjust(left=side, right=0.995, bottom=0.01, top=top, wspace=0.05, hspace=0.05)
    for row, line in zip(rows, axes, strict=True):
        for k, axis in zip(places, line, strict=True):
            axis.imshow(shown(row.x0[k]), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            for edge in axis.spines.values():
                edge.set(linewidth=0.5, color="#d5dae0")
        middle = line[0].get_position()
        y = (middle.y0 + middle.y1) / 2
        figure.text(side - 0.012, y + 0.012, row.name, ha="right", va="bottom", fontsize=13, fontweight="bold", color=INK)
        figure.text(side - 0.012, y - 0.008, f"κ: {row.kappa}", ha="right", va="top", fontsize=7.6, color=FAINT)
    for k, axis in zip(places, axes[0], strict=True):
        axis.set_title(f"t = {rows[0].t[k]:.2f}", fontsize=8, pad=4, color=INK)
    figure.text(side, 0.99, f"x0(t) of one item: “{prompt}”, one seed, guidance 3", va="top", fontsize=9.5, color=INK)
    figure.text(0.995, 0.985, "noise level falls  →", va="top", ha="right", fontsize=8, color=FAINT)
    texts.save(figure, path, dpi=160, metadata={"Software": None})
    plt.close(figure)


def main(path: Path = PATH) -> None:
    """Sample the item and write the picture."""
    said = yaml.safe_load((conf_dir() / "model" / "builtin.yaml").read_text())
    model = instantiate(said["model"], _convert_="all")
    draw(ways(model, ITEM, said["guidance"]["scale"]), PLACES, str(ITEM.prompt), path)
    print("written:", path)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
