"""Pictures of samples: a grid per run, runs side by side for a sweep."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from . import texts
from .draws import Item
from .sizes import Packed, Pictures

Cells = Pictures | Sequence[np.ndarray | None]
"""A column of pictures, [n, c, h, w] (or `cell`s); None for one that is missing."""


def shown(image: Float[np.ndarray, "c h w"]) -> np.ndarray:
    """[-1, 1] -> [0, 1], channels last, one channel repeated to three; not finite is magenta."""
    pixels = np.moveaxis(np.clip((image + 1) / 2, 0, 1), 0, -1)
    pixels = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels[..., :3]
    return np.where(np.isfinite(pixels), pixels, np.array([1.0, 0.0, 1.0]))


def eight_bit(image: Float[np.ndarray, "c h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """What `shown` gives, at 8 bits."""
    return np.round(shown(image) * 255).astype(np.uint8)


def png(image: Float[np.ndarray, "c h w"]) -> bytes:
    """A picture as a file."""
    held = io.BytesIO()
    Picture.fromarray(eight_bit(image)).save(held, "PNG")
    return held.getvalue()


def cell(images: Cells, i: int) -> np.ndarray | None:
    """One of a column: of packed pictures [h, w, 3] at 8 bits, so that many fit in a figure."""
    return eight_bit(images[i]) if isinstance(images, Packed) else images[i]


def name_of(item: Item) -> str:
    """prompt · seed."""
    return f"{item.prompt or 'no prompt'} · {item.seed}"


def strip(path: Path, images: Float[np.ndarray, "n c h w"]) -> None:
    """Pictures in a row, pixel by pixel. Writes a PNG, whole or not at all."""
    row = np.concatenate([eight_bit(image) for image in images], axis=1)
    part = path.with_name(f".{path.name}.part.png")
    Picture.fromarray(row).save(part)
    part.replace(path)


def turntable(path: Path, images: Pictures, names: Sequence[str], scale: int = 4) -> None:
    """An endless GIF of an object's views in order, each pixel scale x scale, the name of each below it, in lines that fit.

    Writes whole or not at all.
    """
    frames = [
        labelled(
            Picture.fromarray(eight_bit(image)).resize(
                (scale * image.shape[2], scale * image.shape[1]), Picture.Resampling.BICUBIC
            ),
            name,
        )
        for image, name in zip(images, names, strict=True)
    ]
    part = path.with_name(f".{path.name}.part.gif")
    frames[0].save(part, save_all=True, append_images=frames[1:], duration=4000 // len(frames), loop=0)
    part.replace(path)


LETTER = 9
"""Pixels of a letter's height below a picture; it is some 0.55 times as wide."""


def labelled(picture: Picture.Image, name: str) -> Picture.Image:
    """The picture on white with its name below, a line of it a line or two."""
    from matplotlib.font_manager import findfont  # slow to import, and only needed here

    fit = max(8, int(picture.width / (0.55 * LETTER)))
    text = "\n".join(texts.wrapped(part, fit, 2) for part in name.split("\n"))
    found = Picture.new("RGB", (picture.width, picture.height + (text.count("\n") + 1) * (LETTER + 3) + 4), "white")
    found.paste(picture)
    font = ImageFont.truetype(findfont("DejaVu Sans"), LETTER)
    ImageDraw.Draw(found).multiline_text((2, picture.height + 2), text, fill="black", font=font, spacing=2)
    return found


def side_by_side(
    path: Path,
    columns: Mapping[str, Cells] | Sequence[tuple[str, Cells]],
    rows: Sequence[str],
    title: str,
) -> None:
    """Pictures in columns and rows (named by `rows`; None leaves a cell empty); points of a plane, [n, 2], become a scatter
    plot a column. Names are drawn as they stand, long ones shortened. Writes a PNG.
    """
    import matplotlib  # slow to import, and only needed here

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = list(columns.items()) if isinstance(columns, Mapping) else columns
    first = columns[0][1]
    points = isinstance(first, np.ndarray) and first.ndim != 4
    names = [texts.wrapped(name, 40, 3) for name in rows]
    n_rows = 1 if points else len(rows)
    size = 2.6 if points else 0.75
    label = 0.3 + 0.06 * max((len(line) for name in names for line in name.split("\n")), default=0)
    figure, axes = plt.subplots(
        n_rows,
        len(columns),
        figsize=(max(size * 1.15 * len(columns) + label, 3.2), size * n_rows + 0.75),
        squeeze=False,
        sharex=points,
        sharey=points,
        layout="constrained",
    )
    for j, (column, images) in enumerate(columns):
        axes[0, j].set_title(texts.wrapped(column, 16, 5), fontsize=7)
        if points:
            flat = np.stack([point.ravel() for point in images if point is not None])
            axes[0, j].scatter(flat[:, 0], flat[:, -1], s=3, alpha=0.5)
            continue
        for i, name in enumerate(names):
            image = cell(images, i)
            axes[i, j].set(xticks=[], yticks=[], frame_on=image is not None)
            if image is not None:
                pixels = image if image.dtype == np.uint8 else shown(image)
                axes[i, j].imshow(pixels, interpolation="nearest" if pixels.shape[1] < 64 else "antialiased")
            if j == 0:
                axes[i, j].set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
    figure.suptitle(texts.wrapped(title, 80, 2), fontsize=8)
    texts.save(figure, path, dpi=110)
    plt.close(figure)


def grid(path: Path, images: Pictures, items: Sequence[Item], title: str) -> None:
    """One run: prompts in rows, seeds in columns, a cell left empty where there is no such item (points of a plane: one
    scatter plot). Writes a PNG.
    """
    if images.ndim != 4:
        side_by_side(path, {title: images}, [], "")
        return
    place = {item: cell(images, i) for i, item in enumerate(items)}
    prompts = list(dict.fromkeys(item.prompt for item in items))
    seeds = sorted({item.seed for item in items})
    columns = {f"seed {seed}": [place.get(Item(prompt, seed)) for prompt in prompts] for seed in seeds}
    side_by_side(path, columns, [prompt or "no prompt" for prompt in prompts], title)
