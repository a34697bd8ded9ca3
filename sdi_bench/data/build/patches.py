"""python -m sdi_bench.data.build.patches: fit the patch mixtures of the built-in world's training pictures, and seal them.

At 64, 32, 16 and 8 pixels a mixture of Gaussians with full covariances over 3 x 3 patches, by expectation maximisation from
a start that sorts patches by contrast and pattern. The same file whenever it is run on the same machine. A few minutes.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from .. import shipped
from ..world import World

SIZES = (64, 32, 16, 8)
SIDE = 3
"""Of a patch, in pixels."""

FLOOR = 0.01
"""Standard deviation that every direction of every component has at least, in units of [-1, 1]: 1.3 of 255."""

NAME = "weights/patch_mixture.npz"


def patches(images: np.ndarray, size: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """n patches [n, 3·SIDE·SIDE] in [-1, 1] from anywhere in pictures of this size, which beyond the edge go on as they end."""
    out, half, shrink = np.empty((n, 3 * SIDE * SIDE)), SIDE // 2, images.shape[-1] // size
    places = np.stack([rng.integers(len(images), size=n), rng.integers(size, size=n), rng.integers(size, size=n)], 1)
    for k, (i, row, column) in enumerate(places):
        rows, columns = (np.clip(np.arange(at - half, at + half + 1), 0, size - 1) for at in (row, column))
        fine = images[i].reshape(3, size, shrink, size, shrink)
        out[k] = fine[:, rows][:, :, :, columns].mean((2, 4)).reshape(-1) / 127.5 - 1
    return out


def start(points: np.ndarray, n_components: int, seed: int) -> np.ndarray:
    """To which component each patch goes at first: white ones to one, the others by contrast, then by pattern and colour."""
    colour = points.reshape(len(points), 3, -1)
    pattern = (colour - colour.mean(2, keepdims=True)).reshape(points.shape)
    contrast = np.sqrt((pattern**2).mean(1))
    white = (points > 0.99).all(1)
    label = np.zeros(len(points), int)
    bins = 4
    per, extra = divmod(n_components - 1, bins)
    edges = np.quantile(contrast[~white], np.linspace(0, 1, bins + 1)[1:-1])
    band = np.digitize(contrast, edges)
    used = 1
    for k in range(bins):
        here, number = np.flatnonzero(~white & (band == k)), per + (k < extra)
        shape = pattern[here] / np.maximum(np.linalg.norm(pattern[here], axis=1, keepdims=True), 1e-6)
        found = KMeans(number, n_init=1, random_state=seed).fit(np.concatenate([shape, colour[here].mean(2) / 2], 1))
        label[here] = used + found.labels_
        used += number
    return label


def fitted(points: np.ndarray, n_components: int, seed: int = 0) -> GaussianMixture:
    """The mixture of the patches [n, d]."""
    label, floor = start(points, n_components, seed), FLOOR**2 * np.eye(points.shape[1])
    groups = [points[label == k] for k in range(n_components)]
    return GaussianMixture(
        n_components,
        reg_covar=FLOOR**2,
        max_iter=200,
        tol=1e-2,
        weights_init=[len(group) / len(points) for group in groups],
        means_init=[group.mean(0) for group in groups],
        precisions_init=np.linalg.inv([np.cov(group.T, bias=True) + floor for group in groups]),
    ).fit(points)


def packed(mixture: GaussianMixture, size: int) -> dict[str, np.ndarray]:
    """As the shipped file has it: float32, covariances as their lower triangles."""
    rows, columns = np.tril_indices(mixture.means_.shape[1])
    parts = {
        "weights": mixture.weights_,
        "means": mixture.means_,
        "covariances": mixture.covariances_[:, rows, columns],
    }
    return {f"{name}_{size}": part.astype(np.float32) for name, part in parts.items()}


def main() -> None:
    """Fit, and write."""
    parser = argparse.ArgumentParser(prog="python -m sdi_bench.data.build.patches", description=__doc__)
    parser.add_argument("--components", type=int, default=12)
    parser.add_argument("--patches", type=int, default=100_000)
    parser.add_argument("--output", type=Path, help="write here, and seal nothing")
    options = parser.parse_args()
    images, rng = World.open().where(split="train").images, np.random.default_rng(0)
    kept: dict[str, np.ndarray] = {}
    for size in SIZES:
        found = patches(images, size, options.patches, rng)
        mixture = fitted(found, options.components)
        kept |= packed(mixture, size)
        print(f"{size} pixels: log-likelihood of a patch {mixture.lower_bound_:.2f}, {mixture.n_iter_} rounds", flush=True)
    np.savez(options.output or shipped.HERE / NAME, **kept)  # type: ignore[arg-type]
    if options.output is None:
        shipped.seal(NAME)


if __name__ == "__main__":
    main()
