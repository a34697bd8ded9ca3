"""What --help shows of the configuration: its groups with a line each, and of a group its options with a line each."""

import shutil
import textwrap
from collections.abc import Sequence

from .command_line import options
from .groups import GROUPS, listed
from .texts import ALSO, near_match

OF = {
    "run": [group for group in GROUPS if group not in ("recipe", "figure")],
    "evaluate": ["metric", "experiment"],
    "invert": ["model", "schedule", "grid", "guidance"],
    "train": ["recipe"],
}
"""The groups that a command knows."""


def choices(command: str) -> str:
    """The groups that a command knows, with a line each and the names of their options."""
    width = shutil.get_terminal_size().columns
    parts = ["Groups: GROUP=OPTION chooses, --help GROUP says what each option is."]
    for group in OF[command]:
        parts += textwrap.wrap(
            f"{group}: {GROUPS[group].replace('`', '')}", width, initial_indent="  ", subsequent_indent="      "
        )
        parts += textwrap.wrap(", ".join(options(group)), width, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(parts)


def about(words: Sequence[str], command: str) -> str:
    """What --help says of groups, and of settings that papers and other code call otherwise. Raises ValueError for others."""
    width = shutil.get_terminal_size().columns
    parts = []
    for word in words:
        if word in OF[command]:
            parts.append(f"{word}: {GROUPS[word].replace('`', '')}")
            found = {option: said for group, option, said in listed() if group == word}
            longest = max(map(len, found))
            for option, said in found.items():
                head = f"  {option:{longest}}  "
                parts += textwrap.wrap(said, width, initial_indent=head, subsequent_indent=" " * len(head)) or [head.rstrip()]
        elif command == "run" and word in ALSO:
            parts.append(f"{word}: {ALSO[word][0]}, {ALSO[word][1]}")
        else:
            known = [*OF[command], *(ALSO if command == "run" else ())]
            raise ValueError(f"--help {word}: no such group; {near_match(word, known)}")
    return "\n".join(parts)


def page(doc: str | None, command: str) -> str:
    """A command's docstring, then its groups, where it has some."""
    return "\n\n".join([str(doc).strip(), *([choices(command)] if command in OF else [])])


def asks(argv: Sequence[str]) -> bool:
    """Does a command line ask for help?"""
    return bool({"-h", "--help"} & set(argv))
