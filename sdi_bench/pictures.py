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


ACROSS, DOWN = 1.2, 1.06
"""From one picture to the next, in sides of a picture."""


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
    label = 0.3 + 0.06 * max((len(line) for name in names for line in name.split("\n")), default=0)
    n_rows, size = (1, 2.6) if points else (len(rows), 0.75)
    inches = (max(size * ACROSS * len(columns) + label, 3.2), size * n_rows + 0.75)
    heads = [texts.wrapped(column, 15, 5) for column, _ in columns]
    if points:
        figure, axes = plt.subplots(
            1, len(columns), figsize=inches, squeeze=False, sharex=True, sharey=True, layout="constrained"
        )
        for side, head, (_, images) in zip(axes[0], heads, columns, strict=True):
            flat = np.stack([point.ravel() for point in images if point is not None])
            side.scatter(flat[:, 0], flat[:, -1], s=3, alpha=0.5)
            side.set_title(head, fontsize=7)
    else:  # in one pair of axes, of which matplotlib needs as long as of a hundred pictures
        figure, one = plt.subplots(figsize=inches, layout="constrained")
        for j, (_, images) in enumerate(columns):
            for i, image in enumerate(cell(images, i) for i in range(n_rows)):
                if image is not None:
                    pixels = image if image.dtype == np.uint8 else shown(image)
                    look = "nearest" if pixels.shape[1] < 64 else "antialiased"
                    high, wide = (side / max(pixels.shape[:2]) / 2 for side in pixels.shape[:2])
                    x, y = j * ACROSS + 0.5, i * DOWN + 0.5
                    one.imshow(pixels, extent=(x - wide, x + wide, y + high, y - high), interpolation=look)
        one.set(xlim=(0, (len(columns) - 1) * ACROSS + 1), ylim=((n_rows - 1) * DOWN + 1, 0), aspect="equal")
        one.set_axis_off()
        for j, head in enumerate(heads):
            one.text(j * ACROSS + 0.5, -0.06, head, fontsize=7, ha="center", va="bottom")
        for i, name in enumerate(names):
            one.text(-0.08, i * DOWN + 0.5, name, fontsize=7, ha="right", va="center")
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
