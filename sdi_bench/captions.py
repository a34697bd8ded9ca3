"""The prompts that a folder's pictures show: told by their file names, or a plain list in the order of the pictures."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import prompts
from .picture_files import Folder, key_of, places, suffixes
from .prompts import Record

FILE = ("file_name", "filename", "file", "image", "image_path", "path")
"""What the name of a picture is called in tables and records; the first that is there is read."""

Rows = Sequence[tuple[str, str]]
"""(file name, prompt)."""


def captions(source: str, folder: Folder, label: str) -> list[str]:
    """The prompt of each picture of a folder that could be read.

    source: a folder with <name>.txt for <name>.png; or a file as `prompts.read` knows them. A table or records that name the
    pictures beside the prompts, as COCO captions do, are told by these names; anything else is a plain list, one prompt for
    each picture file in the order of their names, those that cannot be read among them. Raises ValueError, naming the field,
    where a picture has none, or the numbers differ.
    """
    where = f"prompts={source!r}"
    if Path(source).is_dir():
        return joined(beside(Path(source), where), folder, label, where)
    found = prompts.records(source, "prompts")
    column = column_of(found, folder)
    if column is not None:
        return joined(named(found, column, where), folder, label, where)
    listed = prompts.told(found, where)
    if len(listed) != len(folder.names):
        lost = len(folder.names) - len(folder.read)
        unread = f" ({lost} of them cannot be read)" if lost else ""
        raise ValueError(f"{where}: holds {len(listed)} prompts for the {len(folder.names)} pictures{unread} of {label}")
    if list(folder.names) != sorted(folder.names) or any(len(record) > 1 for record in mappings(found)):
        order = ", ".join(folder.names[:3])
        warnings.warn(
            f"{where}: names no files; in the order of the pictures' names, numbers by value: {order}, ...", stacklevel=2
        )
    return [listed[i] for i in folder.read]


def mappings(found: Sequence[Record]) -> list[Mapping[str, object]]:
    """The records that have named fields."""
    return [record.value for record in found if isinstance(record.value, dict)]


def column_of(found: Sequence[Record], folder: Folder) -> str | None:
    """The field that says which picture a record is of; None if there is none.

    One of FILE, else one with names of picture files in it, else one that names every picture of the folder.
    """
    cells: dict[str, list[str]] = {}
    for record in mappings(found):
        for name, value in record.items():
            cells.setdefault(name, []).append(str(value))

    def names_all(values: Sequence[str]) -> bool:
        told = {key_of(bare(value)) for value in values}
        return len(told) == len(values) and all(key_of(bare(folder.names[i])) in told for i in folder.read)

    of_files = [
        name
        for name, values in cells.items()
        if name not in prompts.COLUMNS and any(Path(value.lower()).suffix in suffixes() for value in values)
    ]
    return next((name for name in (*FILE, *of_files) if name in cells), None) or next(
        (name for name, values in cells.items() if name not in prompts.COLUMNS and names_all(values)), None
    )


def named(found: Sequence[Record], column: str, where: str) -> Rows:
    """The records as rows; of several captions that COCO has of a picture that of the lowest id. Raises ValueError."""
    rows: dict[object, tuple[str, str]] = {}
    for record in found:
        said = record.value.get(column) if isinstance(record.value, dict) else None
        file = "" if said is None else str(said).strip()
        text = prompts.said(record, where)
        if not file or not text:
            raise ValueError(f"{where}: {record.place} has no {'prompt' if file else column}")
        annotated = record.value.get("image_id") if isinstance(record.value, dict) else None
        rows.setdefault(record.place if annotated is None else ("image", annotated), (file, text))
    return list(rows.values())


def beside(folder: Path, where: str) -> Rows:
    """The texts of a folder, each for the picture of its name; empty ones are left out. Raises ValueError."""
    rows = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".txt" and not path.name.startswith("."):
            text = " ".join(" ".join(str(line.value) for line in prompts.records(str(path), "prompts")).split())
            rows += [(path.relative_to(folder).as_posix(), text)] if text else []
    if not rows:
        raise ValueError(f"{where}: holds no .txt")
    return rows


def bare(name: str) -> str:
    """A file's name without the folders it is in."""
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def joined(rows: Rows, folder: Folder, label: str, where: str) -> list[str]:
    """The prompt of each picture by its path, or, where no path is among the rows, by its bare name. Raises ValueError."""
    names, files = list(folder.names), [file.removeprefix("./") for file, _ in rows]
    if not {*map(key_of, names)} & {*map(key_of, files)}:
        names, files = ([bare(name) for name in some] for some in (names, files))
    shown, told = places(names, f"folder={label!r}"), places(files, where)
    lacking = [folder.names[i] for i in folder.read if key_of(names[i]) not in told]
    if lacking:
        raise ValueError(f"{where}: no prompt for {len(lacking)} of the pictures of {label}: {', '.join(lacking)}")
    more = [rows[i][0] for key, i in told.items() if key not in shown]
    if more:
        warnings.warn(f"{where}: {len(more)} of {len(rows)} have no picture in {label}: {', '.join(more)}", stacklevel=2)
    return [rows[told[key_of(names[i])]][1] for i in folder.read]
