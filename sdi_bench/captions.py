"""The prompts that a folder's pictures show: told by their file names, or a plain list in the order of the pictures."""

import csv
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import prompts
from .picture_files import Folder, key_of, places

FILE = ("file_name", "filename", "file", "image", "image_path", "path")
TEXT = ("prompt", "caption", "text")
"""Columns of a table, the first that there is, whatever its case."""

Rows = Sequence[tuple[str, str]]
"""(file name, prompt)."""


def captions(source: str, folder: Folder, label: str) -> list[str]:
    """The prompt of each picture of a folder that could be read.

    source: a table with a column of FILE and one of TEXT (.csv, .tsv, .jsonl; .json of such rows, or COCO captions), a folder
    with <name>.txt for <name>.png, or what prompts.read knows: a plain list, one prompt for each picture file in the order of
    their names, those that cannot be read among them. Raises ValueError, naming the field, where a picture has none, or the
    numbers differ.
    """
    where = f"prompts={source!r}"
    rows = beside(Path(source), where) if Path(source).is_dir() else table(Path(source), where)
    if rows is not None:
        return joined(rows, folder, label, where)
    try:
        found = prompts.read(source)
    except ValueError as error:
        raise ValueError(str(error).replace("prompt_file=", "prompts=", 1)) from error
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
    paths = sorted(path for path in folder.rglob("*.txt") if not path.name.startswith("."))
    rows = [(path.relative_to(folder).as_posix(), " ".join(text_of(path, where).split())) for path in paths]
    if not rows:
        raise ValueError(f"{where}: holds no .txt")
    return rows


def text_of(path: Path, where: str) -> str:
    """A text file, without its byte-order mark. Raises ValueError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: cannot be read ({error})") from error


def table(path: Path, where: str) -> Rows | None:
    """The rows of a table that names files; None if it is none. Raises ValueError."""
    if path.suffix.lower() not in (".csv", ".tsv", ".jsonl", ".json") or not path.is_file():
        return None
    text = text_of(path, where)
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            found: Any = list(csv.DictReader(io.StringIO(text), delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
        elif path.suffix.lower() == ".jsonl":
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            found = json.loads(text)
        if isinstance(found, dict):
            return coco(found)
    except (json.JSONDecodeError, csv.Error) as error:
        raise ValueError(f"{where}: cannot be read ({error})") from error
    rows = [{str(key).strip().lower(): value for key, value in row.items()} for row in found if isinstance(row, dict)]
    file, told = (next((name for name in names if rows and name in rows[0]), None) for names in (FILE, TEXT))
    if file is None or told is None:
        return None
    bad = next((i for i, row in enumerate(rows) if not row.get(file) or not row.get(told)), None)
    if bad is not None:
        raise ValueError(f"{where}: row {bad + 1} has no {file if not rows[bad].get(file) else told}")
    return [(str(row[file]), str(row[told]).strip()) for row in rows]


def coco(found: Mapping[str, Any]) -> Rows | None:
    """COCO captions with their pictures; of a picture's several captions that of the lowest id. None without file names."""
    try:
        names = {image["id"]: str(image["file_name"]) for image in found["images"]}
        notes = sorted(found["annotations"], key=lambda note: note["id"], reverse=True)
        return [(names[i], text) for i, text in {note["image_id"]: " ".join(note["caption"].split()) for note in notes}.items()]
    except (KeyError, TypeError, AttributeError):
        return None


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
