"""Objects made from a prior of known shapes, beside the truth: what notebooks/05_3d.py shows."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

import sdi_bench as sb
from sdi_bench.draws import items_of
from sdi_bench.metrics.known import gaps
from sdi_bench.models.shapes import NAME, Shapes
from sdi_bench.noise import Kappa
from sdi_bench.predictor import Cost
from sdi_bench.sampling import Job
from sdi_bench.scenes import Voxel, Wording
from sdi_bench.schedules import scaled_linear
from sdi_bench.update import Adam

from .figures.style import panels, save
from .figures.tiles import tile


def made(model: Shapes, noise: Kappa, n_levels: int = 401, resolution: int = 40, seed: int = 0) -> Float[np.ndarray, "8 3 h w"]:
    """A field made with this noise at guidance 1, from the eight known angles; the settings are those of experiment=3d."""
    scene = Voxel(resolutions=[resolution], wording=Wording("{prompt}, {azimuth} degrees"), n_views=8)
    grid, update = sb.UniformT(n_levels, t_max=0.98, t_min=0.1), Adam(lr=0.1, n_inner=1, beta2=0.99)
    job = Job(model, sb.Distillation(sb.Annealed(grid), noise, scene=scene, update=update), scaled_linear())
    *_, last = job.states(items_of([NAME], [seed]), Cost())
    return job.pictures(last)[0].double().numpy()


def sheet(model: Shapes, rows: Mapping[str, Float[np.ndarray, "8 3 h w"]], path: Path) -> Path:
    """The true shapes, then each row with its PSNR to the nearest and how many views are nearer to another. Writes a PNG."""
    truth = model.truths.numpy()
    lines = [(f"truth {k}" if len(truth) > 1 else "truth", views) for k, views in enumerate(truth)]
    for name, views in rows.items():
        far = gaps(views, truth)
        nearest = int(far.mean(1).argmin())
        mixed = int((far.argmin(0) != nearest).sum())
        lines.append(
            (f"{name}: {-10 * np.log10(far[nearest].mean() / 4):.1f} dB" + (f"\n{mixed} of another" if mixed else ""), views)
        )
    figure, axes = panels(len(lines), 8, 1.15, 1.15)
    for line, (name, views) in zip(axes, lines, strict=True):
        for k, axis in enumerate(line):
            tile(axis, views[k], name if k == 0 else "", f"{45 * k}°" if line is axes[0] else "")
    save(figure, path)
    return path
