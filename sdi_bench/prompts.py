"""Lists of prompts: those that ship, frozen by their hash, and files of one's own."""

import codecs
import csv
import io
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

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


Entry = tuple[str, object]
"""Where it stands in a file, and a text, or a record whose fields have names in lower case."""


def read(source: str, field: str = "prompt_file") -> list[str]:
    """The prompts of a list that ships or of a file, as they stand there but for blanks around them; empty ones are left out.

    | suffix | holds |
    |---|---|
    | .csv, .tsv | a table, its first line names; the column of COLUMNS; .csv is cut at commas or semicolons, quotes as usual |
    | .jsonl | a line a text, or a line a record with a field of COLUMNS |
    | .json | a list of these; or COCO captions, ordered by id, their blanks made one each |
    | any other | a line a prompt; a line ends where Unicode ends one (str.splitlines): LF, CR LF, CR, form feed, U+2028, ... |

    Text is UTF-8, or what its byte-order mark says (UTF-8, UTF-16, UTF-32). Raises ValueError, naming the field, if it cannot
    be read or holds none.
    """
    return texts_of(entries(source, field), source, field)


def entries(source: str, field: str) -> list[Entry]:
    """What stands in a list, as `read` reads it. Raises ValueError, naming the field."""
    path = shipped(f"prompts/{source}.txt") if source in NAMED else Path(source)
    try:
        return READERS.get(path.suffix.lower(), lines)(decoded(path.read_bytes()))
    except OSError as error:
        hint = f"lists that ship: {', '.join(NAMED)}"
        raise ValueError(f"{field}={source!r}: cannot be read ({error.strerror}); {hint}") from error
    except (ValueError, csv.Error, RecursionError) as error:
        raise ValueError(f"{field}={source!r}: cannot be read ({error})") from error


def texts_of(found: Sequence[Entry], source: str, field: str) -> list[str]:
    """The texts of entries; empty ones are left out. Raises ValueError, naming the field, if there are none."""
    try:
        said = [text_of(entry, where).strip() for where, entry in found]
    except ValueError as error:
        raise ValueError(f"{field}={source!r}: cannot be read ({error})") from error
    if not any(said):
        raise ValueError(f"{field}={source!r}: holds no prompt")
    return [text for text in said if text]


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


def lines(text: str) -> list[Entry]:
    """A prompt a line."""
    return [(f"line {n}", line) for n, line in enumerate(text.splitlines(), start=1)]


def table(text: str, marks: str) -> list[Entry]:
    """The rows of a table; marks: what may stand between cells, the first is meant if none gives a column of prompts."""
    for mark in marks:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        names = [name.strip().lower() for name in next(rows, [])]
        if set(names) & set(COLUMNS):
            break
    else:
        first = next(csv.reader(io.StringIO(text, newline=""), delimiter=marks[0]), [])
        raise ValueError(f"no column is called {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}; the first line has {first}")
    found: list[Entry] = []
    for row in rows:
        if len(row) == len(names):
            found.append((f"line {rows.line_num}", dict(zip(reversed(names), reversed(row), strict=True))))
        elif any(cell.strip() for cell in row):
            what = f"line {rows.line_num} has {len(row)} cells, the first has {len(names)}"
            raise ValueError(f"{what}; put a text with {mark!r} in double quotes")
    return found


def named(value: object) -> object:
    """A value of JSON; the names of a record's fields as `Entry` has them."""
    return {str(name).strip().lower(): field for name, field in value.items()} if isinstance(value, dict) else value


def text_of(entry: object, where: str) -> str:
    """The text that an entry is or has. Raises ValueError, saying where."""
    if isinstance(entry, dict):
        entry = next((entry[name] for name in COLUMNS if name in entry), entry)
    if not isinstance(entry, str):
        raise ValueError(f"{where} is neither a text nor a record with a text {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}")
    return entry


def json_lines(text: str) -> list[Entry]:
    """JSON Lines, which end at LF alone: other ends of lines may stand within texts."""
    found: list[Entry] = []
    for n, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                found.append((f"line {n}", named(json.loads(line))))
            except json.JSONDecodeError as error:
                raise ValueError(f"line {n} is not JSON: {error.msg} at column {error.colno}") from error
    return found


def json_list(text: str) -> list[Entry]:
    """A list in JSON, or COCO captions by their ids, with the names of their pictures where these are listed."""
    value = json.loads(text)
    if isinstance(value, list):
        return [(f"entry {n}", named(entry)) for n, entry in enumerate(value)]
    try:
        files = {image["id"]: {"file_name": image["file_name"], "image_id": image["id"]} for image in value.get("images", [])}
        notes = sorted(value["annotations"], key=lambda note: note["id"])
        return [
            (f"caption {note['id']}", {"caption": " ".join(note["caption"].split())} | files.get(note.get("image_id"), {}))
            for note in notes
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is neither a list nor COCO captions (annotations, each with id and caption)") from error


READERS: dict[str, Callable[[str], list[Entry]]] = {
    ".csv": partial(table, marks=",;"),
    ".tsv": partial(table, marks="\t"),
    ".jsonl": json_lines,
    ".json": json_list,
}
"""suffix -> how its text is read; any other is lines."""


def items(prompts: Sequence[str | None], seeds: Sequence[int]) -> list[Item]:
    """Seed by seed, all prompts. A prompt that stands there again gets seeds of its own, past those it had."""
    span, met, found = max(seeds) + 1 - min(seeds), dict.fromkeys(prompts, 0), []
    again = []
    for prompt in prompts:
        again.append(met[prompt])
        met[prompt] += 1
    for seed in seeds:
        found += [Item(prompt, seed + k * span) for prompt, k in zip(prompts, again, strict=True)]
    return found
