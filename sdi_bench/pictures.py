"""Pictures of samples: a grid per run, runs side by side for a sweep."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image as Picture

from .draws import Item


def shown(image: Float[np.ndarray, "c h w"]) -> np.ndarray:
    """[-1, 1] -> [0, 1], channels last, one channel repeated to three; not finite is magenta."""
    pixels = np.moveaxis(np.clip((image + 1) / 2, 0, 1), 0, -1)
    pixels = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels[..., :3]
    return np.where(np.isfinite(pixels), pixels, np.array([1.0, 0.0, 1.0]))


def name_of(item: Item) -> str:
    """prompt · seed."""
    return f"{item.prompt or 'no prompt'} · {item.seed}"


def strip(path: Path, images: Float[np.ndarray, "n c h w"]) -> None:
    """Pictures in a row, pixel by pixel. Writes a PNG, whole or not at all."""
    row = np.concatenate([shown(image) for image in images], axis=1)
    part = path.with_name(f".{path.name}.part.png")
    Picture.fromarray(np.round(row * 255).astype(np.uint8)).save(part)
    part.replace(path)


def turntable(path: Path, images: Float[np.ndarray, "views c h w"], scale: int = 4) -> None:
    """An endless GIF of an object's views in order, each pixel scale x scale. Writes whole or not at all."""
    frames = [
        Picture.fromarray(np.round(shown(image) * 255).astype(np.uint8)).resize(
            (scale * image.shape[2], scale * image.shape[1]), Picture.Resampling.BICUBIC
        )
        for image in images
    ]
    part = path.with_name(f".{path.name}.part.gif")
    frames[0].save(part, save_all=True, append_images=frames[1:], duration=4000 // len(frames), loop=0)
    part.replace(path)


def side_by_side(path: Path, columns: Mapping[str, np.ndarray], rows: Sequence[str], title: str) -> None:
    """Pictures in columns and rows (named by `rows`); points of a plane become a scatter plot a column. Writes a PNG."""
    import matplotlib  # slow to import, and only needed here

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    first = next(iter(columns.values()))
    path.parent.mkdir(parents=True, exist_ok=True)
    n_rows = len(rows) if first.ndim == 4 else 1
    size = 0.75 if first.ndim == 4 else 2.6
    label = 0.3 + 0.06 * max(map(len, rows), default=0)
    figure, axes = plt.subplots(
        n_rows,
        len(columns),
        figsize=(max(size * 1.15 * len(columns) + label, 3.2), size * n_rows + 0.75),
        squeeze=False,
        sharex=first.ndim != 4,
        sharey=first.ndim != 4,
        layout="constrained",
    )
    for j, (column, images) in enumerate(columns.items()):
        axes[0, j].set_title("\n".join(textwrap.wrap(column, 16)), fontsize=7)
        if first.ndim == 4:
            for i, name in enumerate(rows):
                axes[i, j].imshow(shown(images[i]), interpolation="nearest" if images.shape[-1] < 64 else "antialiased")
                axes[i, j].set_xticks([])
                axes[i, j].set_yticks([])
                if j == 0:
                    axes[i, j].set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
        else:
            flat = images.reshape(len(images), -1)
            axes[0, j].scatter(flat[:, 0], flat[:, -1], s=3, alpha=0.5)
    figure.suptitle(title, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def grid(path: Path, images: np.ndarray, items: Sequence[Item], title: str) -> None:
    """One run: prompts in rows, seeds in columns (points of a plane: one scatter plot). Writes a PNG."""
    prompts = list(dict.fromkeys(item.prompt for item in items))
    seeds = sorted({item.seed for item in items})
    if images.ndim != 4:
        side_by_side(path, {title: images}, [], "")
        return
    place = {item: i for i, item in enumerate(items)}
    columns = {f"seed {seed}": images[[place[Item(prompt, seed)] for prompt in prompts]] for seed in seeds}
    side_by_side(path, columns, [str(prompt or "no prompt") for prompt in prompts], title)
