"""python -m analysis.known_shapes: two questions to priors of known shapes; and what notebooks/05_3d.py shows.

How much of an inferred noise does an object bear, where four shapes are all alike to the prompt?     dose.csv, dose.png
Where on a chain of close shapes does an object end, two of them and 63 blends between?               chain.csv, chain.png
Written beside the tables of the 3D benchmark; some fifteen minutes.
"""

import argparse
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

import sdi_bench as sb
from sdi_bench.draws import Draws, Purpose, items_of
from sdi_bench.guidance import Guidance
from sdi_bench.levels import Level, Step
from sdi_bench.metrics.known import blended, gaps, psnr
from sdi_bench.models.base import Denoiser
from sdi_bench.models.shapes import NAME, Shapes, shapes
from sdi_bench.noise import Inversion, Kappa
from sdi_bench.noise.base import Last, Proposal
from sdi_bench.plotting.style import look, panels, save, tile
from sdi_bench.predictor import Cost, Predictor
from sdi_bench.sampling import Job
from sdi_bench.scenes import Voxel, Wording
from sdi_bench.schedules import scaled_linear
from sdi_bench.store import write_whole
from sdi_bench.update import Adam

from .benchmark3d import FOLDER

matplotlib.use("Agg")

INFERRED = Inversion(guidance_scale=-1.0, t_min=0.2, entropy=0.0)
NOISES = {
    "sds": sb.Fresh(),
    "sdi, t_min .2": Inversion(guidance_scale=-1.0, t_min=0.2),
    "sdi": Inversion(guidance_scale=-1.0),
    "no noise": sb.Zero(),
}
LIKE = {"no noise": "zero"}
"""A noise that goes by another name here -> the kappa whose colour it has."""
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
FILLED = {False: "the rest is no noise", True: "the rest is fresh noise"}


@dataclass(frozen=True)
class Share(Kappa):
    """kappa = share·inferred, or share·inferred + sqrt(1 - share²)·fresh where it is filled up; share in [0, 1]."""

    share: float
    filled: bool
    inferred: Inversion = INFERRED

    def check(self, model: Denoiser, guidance: Guidance, noisiest: Level) -> None:
        self.inferred.check(model, guidance, noisiest)

    def propose(self, x0: Tensor, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        kappa = self.share * self.inferred.propose(x0, step, last, net, draws).kappa
        if self.filled:
            fresh = draws.normal(Purpose.KAPPA, step.index, tuple(x0.shape[1:]))
            kappa = kappa + math.sqrt(1 - self.share**2) * fresh
        return Proposal(kappa)


def made(
    model: Shapes, noise: Kappa, n_levels: int = 401, resolution: int = 40, seeds: Sequence[int] = (0,)
) -> Float[np.ndarray, "seeds 8 3 h w"]:
    """Fields made with this noise at guidance 1, from the eight known angles; the settings are those of experiment=3d."""
    scene = Voxel(resolutions=[resolution], wording=Wording("{prompt}, {azimuth} degrees"), n_views=8)
    grid, update = sb.UniformT(n_levels, t_max=0.98, t_min=0.1), Adam(lr=0.1, n_inner=1, beta2=0.99)
    job = Job(model, sb.Distillation(sb.Annealed(grid), noise, scene=scene, update=update), scaled_linear())
    last = deque(job.states(items_of([NAME], seeds), Cost()), maxlen=1).pop()  # a state holds the whole field
    return job.pictures(last).double().numpy()


def nearness(views: Float[np.ndarray, "8 3 h w"], truth: Float[np.ndarray, "shapes 8 3 h w"]) -> tuple[float, float]:
    """PSNR in dB to the shape that is nearest on the whole, and to the nearest convex blend of them."""
    return psnr(views, truth[gaps(views, truth).mean(1).argmin()]), psnr(views, blended(views, truth))


def sheet(
    model: Shapes, rows: Mapping[str, Float[np.ndarray, "8 3 h w"]], path: Path, shown: Sequence[int] | None = None
) -> Path:
    """The true shapes, then each row with its PSNR to the nearest and to the nearest blend of them. Writes a PNG.

    shown: some of the true shapes, where all would be too many.
    """
    truth = model.truths.numpy()
    places = range(len(truth)) if shown is None else [k % len(truth) for k in shown]
    lines = [(f"truth {k}" if len(truth) > 1 else "truth", truth[k]) for k in places]
    for name, views in rows.items():
        near, blend = nearness(views, truth)
        aside = f"\n{blend:.1f} dB to a blend" if len(truth) > 1 else ""
        lines.append((f"{name}: {near:.1f} dB" + aside, views))
    figure, axes = panels(len(lines), 8, 1.15, 1.15)
    for line, (name, views) in zip(axes, lines, strict=True):
        for k, axis in enumerate(line):
            tile(axis, views[k], name if k == 0 else "", f"{45 * k}°" if line is axes[0] else "")
    save(figure, path)
    return path


def doses(model: Shapes, seeds: Sequence[int]) -> pd.DataFrame:
    """A row for each share, filling and seed: share, filled, seed, psnr, to_blend (dB)."""
    truth, rows = model.truths.numpy(), []
    for filled in FILLED:
        for share in SHARES:
            for seed, views in zip(seeds, made(model, Share(share, filled), seeds=seeds), strict=True):
                near, blend = nearness(views, truth)
                rows.append({"share": share, "filled": filled, "seed": seed, "psnr": near, "to_blend": blend})
            print(pd.DataFrame(rows[-len(seeds) :]).to_string(index=False, header=False), flush=True)
    return pd.DataFrame(rows)


def places(model: Shapes, seeds: Sequence[int]) -> pd.DataFrame:
    """A row for each noise and seed: noise, seed, place of the nearest shape on the chain in [0, 1], psnr."""
    truth, rows = model.truths.numpy(), []
    for name, noise in NOISES.items():
        for seed, views in zip(seeds, made(model, noise, seeds=seeds), strict=True):
            far = gaps(views, truth).mean(1)
            place = float(far.argmin() / (len(truth) - 1))
            rows.append({"noise": name, "seed": seed, "place": place, "psnr": nearness(views, truth)[0]})
        print(pd.DataFrame(rows[-len(seeds) :]).to_string(index=False, header=False), flush=True)
    return pd.DataFrame(rows)


def draw_places(table: pd.DataFrame, path: Path) -> None:
    """Every object a point, a line a noise."""
    figure, ((axis,),) = panels(1, 1, 6.4, 2.4)
    names = [name for name in NOISES if name in set(table["noise"])]
    styles = look([LIKE.get(name, name) for name in names])
    for k, name in enumerate(names[::-1]):
        rows = table[table["noise"] == name]
        style = styles[LIKE.get(name, name)] | {"linestyle": "none", "alpha": 0.7}
        axis.plot(rows["place"], np.full(len(rows), k) + 0.12 * np.sin(np.arange(len(rows))), **style)
        said = f"mean {rows['place'].mean():.2f}, sd {rows['place'].std():.2f}; {rows['psnr'].mean():.1f} dB"
        axis.text(1.04, k, said, fontsize=8, va="center")
    axis.axvline(0.5, color="0.7", lw=0.8, zorder=0)
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.5, len(names) - 0.5))
    axis.set_xlabel("place of the nearest shape on the chain (0 and 1: its ends)", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.set_yticks(range(len(names)), names[::-1], fontsize=8)
    axis.set_title(f"{len(table) // len(names)} objects a noise; places drawn evenly have mean 0.50, sd 0.29", fontsize=9)
    save(figure, path)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Every object a point; lines through the means."""
    figure, axes = panels(1, 2, 3.6, 2.6)
    for axis, measure, title in zip(
        axes[0],
        ("psnr", "to_blend"),
        ("PSNR to the nearest true shape (dB)", "PSNR to the nearest blend of them (dB)"),
        strict=True,
    ):
        for (filled, rows), kappa, aside in zip(table.groupby("filled"), ("zero", "fresh"), (-0.008, 0.008), strict=False):
            means, style = rows.groupby("share")[measure].mean(), look([kappa])[kappa]
            axis.plot(means.index, means, **style | {"marker": ""}, label=FILLED[bool(filled)])
            axis.plot(rows["share"] + aside, rows[measure], **style | {"linestyle": "none", "alpha": 0.6, "markersize": 3.5})
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("share of the inferred noise", fontsize=9)
        axis.tick_params(labelsize=8)
    axes[0][0].legend(fontsize=8, frameon=False, loc="upper right")
    save(figure, path)


def main() -> None:
    """Measure, write, draw; --draw: from the csv files that are there."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.known_shapes", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--draw", action="store_true", help="the pictures alone, from the csv files")
    options = parser.parse_args()
    dose, chain = options.folder / "dose.csv", options.folder / "chain.csv"
    if not options.draw:
        write_whole(chain, places(shapes(n=2, blends=63), range(16)).to_csv(index=False, float_format="%.4g").encode())
        write_whole(dose, doses(shapes(n=4), range(8)).to_csv(index=False, float_format="%.4g").encode())
    draw(pd.read_csv(dose), dose.with_suffix(".png"))
    draw_places(pd.read_csv(chain), chain.with_suffix(".png"))


if __name__ == "__main__":
    main()
