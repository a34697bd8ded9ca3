"""Lists of prompts: those that ship, frozen by their hash, and files of one's own."""

import codecs
import csv
import io
import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from .data.shipped import shipped
from .draws import Item

NAMED = ("val", "tune", "val16", "furniture", "furniture_tune", "objects20", "paper43")
"""Captions of the built-in world's val and tune pictures, one a picture, in an order of no meaning; 16 of val, of different
concepts; those of val and of tune that show furniture of which there are several training models; 20 objects of train, every
other one the only one of its name; the 43 prompts of arXiv 2405.15891, appendix A.4."""


COLUMNS = ("prompt", "prompts", "caption", "captions", "text")
"""What prompts are called in tables and records, in any case; the first that is there is read."""

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Byte-order marks, and the text that each begins."""


class Record(NamedTuple):
    """What a file holds of one prompt, a text or named fields (their names in lower case), and where it stands there."""

    place: str
    value: object


def read(source: str) -> list[str]:
    """The prompts of a list that ships or of a file, as they stand there but for blanks around them; empty ones are left out.

    | suffix | holds |
    |---|---|
    | .csv, .tsv | a table, its first line names; the column of COLUMNS; .csv is cut at commas, semicolons or tabs |
    | .jsonl | a line a text, or a line a record with a field of COLUMNS |
    | .json | a list of these; or COCO captions, ordered by id, their blanks made one each |
    | any other | a line a prompt; a line ends where Unicode ends one (str.splitlines): LF, CR LF, CR, form feed, U+2028, ... |

    Text is UTF-8, or what its byte-order mark says (UTF-8, UTF-16, UTF-32). Raises ValueError, naming the field, if it cannot
    be read or holds none.
    """
    return told(records(source, "prompt_file"), f"prompt_file={source!r}")


def records(source: str, field: str) -> list[Record]:
    """What `read` reads, with all that stands beside the texts. Raises ValueError, naming the field, if it cannot be read."""
    path = shipped(f"prompts/{source}.txt") if source in NAMED else Path(source)
    try:
        return READERS.get(path.suffix.lower(), lines)(decoded(path.read_bytes()))
    except OSError as error:
        hint = f"lists that ship: {', '.join(NAMED)}"
        raise ValueError(f"{field}={source!r}: cannot be read ({error.strerror}); {hint}") from error
    except (ValueError, csv.Error, RecursionError) as error:
        raise ValueError(f"{field}={source!r}: cannot be read ({error})") from error


def told(found: Sequence[Record], where: str) -> list[str]:
    """The texts of records, empty ones left out. Raises ValueError, saying where, if there is none or one is no text."""
    texts = [text for text in (said(record, where) for record in found) if text]
    if not texts:
        raise ValueError(f"{where}: holds no prompt")
    return texts


def said(record: Record, where: str) -> str:
    """A text, or that of a record, without blanks around it. Raises ValueError, saying where."""
    place, value = record
    if isinstance(value, dict):
        value = next((value[name] for name in COLUMNS if name in value), value)
    if not isinstance(value, str):
        told = f"neither a text nor a record with a text {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}"
        raise ValueError(f"{where}: cannot be read ({place} is {told})")
    return value.strip()


def decoded(content: bytes) -> str:
    """The text of a file. Raises ValueError, naming the place, if it is none."""
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    try:
        text = content[len(mark) :].decode(MARKS.get(mark, "utf-8"))
    except UnicodeDecodeError as error:
        at, line = error.start, content[: len(mark) + error.start].count(b"\n") + 1
        what = f"byte {len(mark) + at} is {error.object[at]:#04x}, in line {line}"
        raise ValueError(f"{what}: not {MARKS.get(mark, 'utf-8').upper()}; save it as UTF-8") from error
    if "\0" in text:
        raise ValueError(f"character {text.index(chr(0))} is NUL: UTF-16 without a byte-order mark? save it as UTF-8")
    return text


def lines(text: str) -> list[Record]:
    """A text a line."""
    return [Record(f"line {n}", line) for n, line in enumerate(text.splitlines(), start=1)]


def table(text: str, marks: str) -> list[Record]:
    """The rows of a table; marks: what may stand between cells, the first is meant if none gives a column of prompts."""
    for mark in marks:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True, strict=True)
        names = [name.strip().lower() for name in next(rows, [])]
        if set(COLUMNS) & set(names):
            break
    else:
        first = next(csv.reader(io.StringIO(text, newline=""), delimiter=marks[0]), [])
        raise ValueError(f"no column is called {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}; the first line has {first}")
    found = []
    for row in rows:
        if len(row) == len(names):
            found.append(Record(f"line {rows.line_num}", dict(zip(names, row, strict=True))))
        elif any(cell.strip() for cell in row):
            what = f"line {rows.line_num} has {len(row)} cells, the first has {len(names)}"
            raise ValueError(f"{what}; put a text with {mark!r} in double quotes")
    return found


def fields(value: object) -> object:
    """An object of JSON with its names in lower case; anything else as it is."""
    return {str(name).strip().lower(): field for name, field in value.items()} if isinstance(value, dict) else value


def json_lines(text: str) -> list[Record]:
    """JSON Lines, which end at LF alone: other ends of lines may stand within texts."""
    found = []
    for n, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                found.append(Record(f"line {n}", fields(json.loads(line))))
            except json.JSONDecodeError as error:
                raise ValueError(f"line {n} is not JSON: {error.msg} at column {error.colno}") from error
    return found


def json_list(text: str) -> list[Record]:
    """A list in JSON, or COCO captions in the order of their ids, each with the name of its picture where that is told."""
    value = json.loads(text)
    if isinstance(value, list):
        return [Record(f"entry {n}", fields(entry)) for n, entry in enumerate(value)]
    try:
        names = {image["id"]: {"file_name": image["file_name"]} for image in value.get("images", []) if "file_name" in image}
        found = []
        for note in sorted(value["annotations"], key=lambda note: note["id"]):
            of, text = note.get("image_id"), " ".join(note["caption"].split())
            found.append(Record(f"annotation {note['id']}", {"image_id": of, "caption": text} | names.get(of, {})))
        return found
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is neither a list nor COCO captions (annotations, each with id and caption)") from error


READERS: dict[str, Callable[[str], list[Record]]] = {
    ".csv": partial(table, marks=",;\t"),
    ".tsv": partial(table, marks="\t"),
    ".jsonl": json_lines,
    ".json": json_list,
}
"""suffix -> how its text is read; any other is lines."""


def items(prompts: Sequence[str | None], seeds: Sequence[int], most: int | None = None) -> list[Item]:
    """Seed by seed, all prompts, the first `most`. A prompt that stands there again gets seeds past those it had."""
    span, met = max(seeds) + 1 - min(seeds), dict.fromkeys(prompts, 0)
    again = []
    for prompt in prompts:
        again.append(met[prompt])
        met[prompt] += 1
    found = (Item(prompt, seed + k * span) for seed in seeds for prompt, k in zip(prompts, again, strict=True))
    return list(islice(found, most))
