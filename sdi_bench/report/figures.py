"""The figures that lie beside the tables, and in plots/."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageSequence

from .pictures import data_uri

FIGURE_BYTES = 3e6
"""What figures may take of the page; the others are left out."""


@dataclass(frozen=True)
class Figure:
    """A figure of the folder. seen: its caption, if the file has one. moving: it is an animated one."""

    name: str
    seen: str
    uri: str
    width: int
    height: int
    moving: bool


def figures_of(folder: Path) -> tuple[list[Figure], list[str]]:
    """(the figures beside the tables and in plots/, the names of those for which there is no room or that can't be read)."""
    found, left_out, spent = [], [], 0
    paths = [*sorted(folder.glob("[!.]*")), *sorted(folder.glob("plots/[!.]*"))]
    for path in (path for path in paths if path.suffix in (".png", ".gif")):
        name = path.relative_to(folder).as_posix()
        try:
            with Image.open(path) as file:
                frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(file)]
                milliseconds = file.info.get("duration", 0)
                seen = file.info.get("Description", f"The figure {name}")
        except OSError:
            left_out.append(name)
            continue
        moving = len(frames) > 1
        uri = data_uri(frames, 85 if moving else None, milliseconds)
        uri = uri if len(uri) < 1e6 else data_uri(frames, 85, milliseconds)
        if spent + len(uri) > FIGURE_BYTES:
            left_out.append(name)
            continue
        spent += len(uri)
        found.append(Figure(name, seen, uri, frames[0].width, frames[0].height, moving))
    return found, left_out
