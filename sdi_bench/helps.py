"""What --help shows of the configuration: its groups with a line each, and of a group its options with a line each."""

import inspect
import itertools
import re
import shutil
import textwrap
from collections.abc import Sequence
from pydoc import locate

from .command_line import conf_dir, options
from .texts import ALSO, line, near_match

GROUPS = {
    "sampler": "how pictures are made",
    "preset": "a method with all its settings, as published or as released",
    "deviation": "what of a released preset is taken back to the paper; a list, as deviation=[levels,codec]",
    "model": "what is sampled: a known law, a network that ships, a diffusers folder (model=diffusers model.path=FOLDER)",
    "schedule": "how much noise there is at each time",
    "grid": "the levels that a path visits",
    "guidance": "how predictions with and without the prompt are combined; guidance.scale is gamma",
    "noise": "kappa, the noise that is added: noise@sampler.noise=",
    "direction": "which way x0 moves: direction@sampler.direction=",
    "update": "how the parameters move to a target: update@sampler.update=",
    "student": "the second network of vsd and esd: student@sampler.direction.student=",
    "scene": "what is optimised: the picture itself, or a field behind cameras (3D)",
    "metric": "what is measured; a list, as metric=[contrast,rprec]",
    "probe": "what is measured along the path, and kept instead of pictures",
    "experiment": "settings for a purpose, or the rows of a benchmark",
    "recipe": "what is trained, and how long",
}
"""Groups of settings: what each chooses."""

OF = {
    "run": [group for group in GROUPS if group != "recipe"],
    "evaluate": ["metric", "experiment"],
    "invert": ["model", "schedule", "grid", "guidance"],
    "train": ["recipe"],
}
"""The groups that a command knows."""


def sentences(group: str) -> list[tuple[str, str]]:
    """(option, what it is) of a group: the first comment of its file, else the first sentence of what it makes."""
    found = []
    for option in options(group):
        text = (conf_dir() / group / f"{option}.yaml").read_text()
        lines = text.removeprefix("# @package _global_\n").splitlines()
        said = " ".join(part[1:].strip() for part in itertools.takewhile(lambda part: part.startswith("#"), lines))
        target = re.search(r"_target_: (\S+)", text)
        if not said and target:
            made = locate(target[1])
            said = (inspect.getdoc(made) or "").split("\n\n")[0]
        found.append((option, re.split(r"(?<=[.;:])\s+(?=[A-Z]|python )", line(said))[0].rstrip(":;")))
    return found


def groups(command: str) -> str:
    """The groups that a command knows, with a line each and the names of their options."""
    width = shutil.get_terminal_size().columns
    parts = ["Groups: GROUP=OPTION chooses, --help GROUP says what each option is."]
    for group in OF[command]:
        parts += textwrap.wrap(f"{group}: {GROUPS[group]}", width, initial_indent="  ", subsequent_indent="      ")
        parts += textwrap.wrap(", ".join(options(group)), width, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(parts)


def about(words: Sequence[str], command: str) -> str:
    """What --help says of groups, and of settings that papers and other code call otherwise. Raises ValueError for others."""
    width = shutil.get_terminal_size().columns
    parts = []
    for word in words:
        if word in OF[command]:
            parts.append(f"{word}: {GROUPS[word]}")
            longest = max(map(len, options(word)))
            for option, said in sentences(word):
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
    return "\n\n".join([str(doc).strip(), *([groups(command)] if command in OF else [])])


def asks(argv: Sequence[str]) -> bool:
    """Does a command line ask for help?"""
    return bool({"-h", "--help"} & set(argv))
