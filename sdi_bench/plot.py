"""python -m sdi_bench.plot: figures of the runs in a results folder, with the numbers of each as csv.

python -m sdi_bench.plot results/mine
python -m sdi_bench.plot results/mine figure=correlation
python -m sdi_bench.plot results/mine figure=correlation,paths out=figures

figure: which, all if not said. out: where to; plots/ in the folder if not said. Nothing is run and no model is opened: a figure
whose data are missing is told, with the command that makes them. `python -m sdi_bench.run ... plots=true` draws all at its end.

Exit status 2 for bad input, and if nothing could be drawn.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from .run import stoppable
from .store import NotWrittenError, writable
from .texts import line, near_match

SETTINGS = ("figure", "out")


def read(argv: Sequence[str], known: Sequence[str]) -> tuple[Path, list[str], Path | None]:
    """(folder, figures, where to) of a command line; -- may stand before a setting. Raises ValueError, naming the word."""
    said: dict[str, str] = {}
    folders = []
    words = iter(argv)
    for word in words:
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") and (not equals or Path(word).is_dir()):
            folders.append(word)
        elif key not in SETTINGS:
            raise ValueError(f"{word}: no such setting; {near_match(key, SETTINGS)}")
        else:
            said[key] = value if equals else next(words, "")
    if len(folders) != 1:
        hint = "; figures are said as figure=correlation,paths" if len(folders) > 1 else ""
        raise ValueError(f"{' '.join(folders) or 'folder'}: name one results folder, as results/main{hint}")
    asked = said.get("figure", "all")
    names = list(known) if asked == "all" else asked.strip("[]").split(",")
    for name in names:
        if name not in known:
            raise ValueError(f"figure={name}: {near_match(name, known)}")
    return Path(folders[0]), names, Path(said["out"]) if said.get("out") else None


def main() -> None:
    """Read a folder, draw."""
    argv = sys.argv[1:]
    from .plotting import FIGURES, plot  # matplotlib

    if {"-h", "--help"} & set(argv):
        print(f"{__doc__}\nfigures:")
        print(*(f"  {name:12} {' '.join((figure.__doc__ or '').split())}" for name, figure in FIGURES.items()), sep="\n")
        return
    try:
        folder, names, out = read(argv, list(FIGURES))
        if out is not None:
            writable(out, "out")
        drawn = plot(folder, names, out)
    except (ValueError, OSError) as error:
        print(f"sdi_bench.plot: {line(str(error))}", file=sys.stderr)
        sys.exit(1 if isinstance(error, NotWrittenError | OSError) else 2)
    for path, caption in drawn.written:
        print(f"written: {path}\n  {caption}")
    for why in drawn.missing:
        print(f"sdi_bench.plot: not drawn: {line(why)}", file=sys.stderr)
    if not drawn.written:
        sys.exit(2)


if __name__ == "__main__":
    stoppable(main, "sdi_bench.plot")
