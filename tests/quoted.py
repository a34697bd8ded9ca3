"""Tables in READMEs are chosen columns of the tables that a run wrote; python tests/quoted.py writes them anew.

A marker says which, and the code block after it is the table:

    <!-- quoted: tables.txt | pictures | run, gamma, KD real, rprec -->

The file lies beside the README; the title is how its part of the file begins, empty where it has none.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
BLOCK = re.compile(r"<!-- quoted: ([^|]+) \| ([^|]*) ?\| (.+?) -->\n```\n(.*?)```\n", flags=re.S)

Table = tuple[list[str], list[list[str]]]


def tables(text: str, title: str) -> Iterator[Table]:
    """(head, rows) of the tables of the parts that begin with this title; what is none of them comes too, as if it were.

    Two empty lines part them. Columns stand two blanks or more apart; a first one may have no name.
    """
    for part in re.split(r"\n{3,}", text):
        if part.startswith(title):
            for lines in (block.splitlines() for block in part.split("\n\n")):
                head, *rows = [re.split(r"\s{2,}", line.strip()) for line in lines if line.strip("-")]
                yield ([""] if lines[0].startswith(" ") else []) + head, rows


def chosen(text: str, title: str, columns: list[str]) -> str:
    """These columns of the first table below a title that has them all."""
    from analysis.text import lines

    for head, rows in tables(text, title):
        if set(columns) <= set(head):
            places = [head.index(column) for column in columns]
            return lines(columns, [[row[k] for k in places] for row in rows])
    raise ValueError(f"{title!r}: no table with the columns {', '.join(columns)}")


def written(text: str, folder: Path) -> str:
    """A README whose quoted tables are those of its files."""

    def block(found: re.Match[str]) -> str:
        name, title, said = found[1], found[2].strip(), found[3]
        columns = ["" if column == "-" else column for column in said.split(", ")]
        table = chosen((folder / name).read_text(encoding="utf-8"), title, columns)
        return f"{found[0].splitlines()[0]}\n```\n{table}\n```\n"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    for path in ROOT.glob("results/*/README.md"):
        path.write_text(written(path.read_text(encoding="utf-8"), path.parent), encoding="utf-8")
