"""The prompts that a folder's pictures show: told by their file names, or a plain list in the order of the pictures."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from . import prompts
from .picture_files import Folder, key_of, places

FILE = ("file_name", "filename", "file", "image", "image_path", "path")
"""Columns that name a picture, the first that there is, whatever its case."""

Rows = Sequence[tuple[str, str]]
"""(file name, prompt)."""


def captions(source: str, folder: Folder, label: str) -> list[str]:
    """The prompt of each picture of a folder that could be read.

    source: what prompts.read knows: a table, records or COCO captions that name a file each, or a plain list, one prompt for
    each picture file in the order of their names, those that cannot be read among them; or a folder with <name>.txt for
    <name>.png. Raises ValueError, naming the field, where a picture has none, or the numbers differ.
    """
    where = f"prompts={source!r}"
    if Path(source).is_dir():
        return joined(beside(Path(source), where), folder, label, where)
    entries = prompts.entries(source, "prompts")
    rows = rows_of(entries, where)
    if rows is not None:
        return joined(rows, folder, label, where)
    found = prompts.texts_of(entries, source, "prompts")
    if len(found) != len(folder.names):
        lost = len(folder.names) - len(folder.read)
        unread = f" ({lost} of them cannot be read)" if lost else ""
        raise ValueError(f"{where}: holds {len(found)} prompts for the {len(folder.names)} pictures{unread} of {label}")
    if list(folder.names) != sorted(folder.names):
        order = ", ".join(folder.names[:3])
        warnings.warn(f"{where}: in the order of the pictures' names, numbers by value: {order}, ...", stacklevel=2)
    return [found[i] for i in folder.read]


def beside(folder: Path, where: str) -> Rows:
    """The texts of a folder, each for the picture of its name."""
    rows = []
    for path in sorted(path for path in folder.rglob("*.txt") if not path.name.startswith(".")):
        try:
            text = prompts.decoded(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(f"{where}: {path.relative_to(folder)} cannot be read ({error})") from error
        rows.append((path.relative_to(folder).as_posix(), " ".join(text.split())))
    if not rows:
        raise ValueError(f"{where}: holds no .txt")
    return rows


def rows_of(entries: Sequence[prompts.Entry], where: str) -> Rows | None:
    """The entries of a list that names files, of several captions of an image_id (COCO) the first; None where none names one.

    Raises ValueError, saying where, if an entry lacks its file or its text.
    """
    rows: list[tuple[str, str]] = []
    met = set()
    for place, entry in entries:
        record = entry if isinstance(entry, dict) else {}
        file = next((record[name] for name in FILE if name in record), None)
        if file is None and not rows:
            return None
        text = prompts.text_of(entry, f"{where}: {place}").strip()
        if not file or not text:
            raise ValueError(f"{where}: {place} has no {'prompt' if file else 'file name'}")
        image = record.get("image_id")
        if image is None or image not in met:
            rows.append((str(file), text))
        met.add(image)
    return rows or None


def joined(rows: Rows, folder: Folder, label: str, where: str) -> list[str]:
    """The prompt of each picture by its path, or, where no path is among the rows, by its bare name. Raises ValueError."""
    names, files = list(folder.names), [file.removeprefix("./") for file, _ in rows]
    if not {*map(key_of, names)} & {*map(key_of, files)}:
        names, files = ([name.replace("\\", "/").rsplit("/", 1)[-1] for name in some] for some in (names, files))
    shown, told = places(names, f"folder={label!r}"), places(files, where)
    lacking = [folder.names[i] for i in folder.read if key_of(names[i]) not in told]
    if lacking:
        raise ValueError(f"{where}: no prompt for {len(lacking)} of the pictures of {label}: {', '.join(lacking)}")
    more = [rows[i][0] for key, i in told.items() if key not in shown]
    if more:
        warnings.warn(f"{where}: {len(more)} of {len(rows)} have no picture in {label}: {', '.join(more)}", stacklevel=2)
    return [rows[told[key_of(names[i])]][1] for i in folder.read]
