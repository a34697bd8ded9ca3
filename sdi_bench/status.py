"""python -m sdi_bench.status: how far a results folder's runs are, from its ledger and its shards.

  python -m sdi_bench.status results/main
  python -m sdi_bench.status results/benchmark2d
  watch -n 30 python -m sdi_bench.status results/main        looks again every half minute

Exit status 0 if all that was asked for is done, 1 if not, 2 for bad input.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from zipfile import is_zipfile

from .ledger import Work, merged

STATES = ("done", "running", "missing", "failed", "killed")
"""missing: asked for and not begun; killed: begun and broken off, by the user or otherwise. The same command makes all but what
is done."""


def state_of(work: Work, experiment: Path) -> str:
    """One of STATES. A shard that is there is done, whatever became of a later try."""
    if is_zipfile(experiment / work.run / "shards" / f"{work.shard}.npz"):
        return "running" if work.running else "done"
    if work.killed or work.event == "stopped":
        return "killed"
    return {"started": "running", "failed": "failed"}.get(work.event, "missing")


def left(works: Sequence[Work], states: Sequence[str]) -> float | None:
    """Seconds of work that is left, as long as what is done of the same run took; None where nothing of it is done yet.

    Runs of which nothing is done are taken to need as long a step as the others.
    """
    done = [work for work, state in zip(works, states, strict=True) if state == "done" and work.seconds > 0]
    if not done:
        return None

    def pace(some: Sequence[Work]) -> float:
        return sum(work.seconds for work in some) / max(1, sum(work.n * work.steps for work in some))

    total = 0.0
    for work, state in zip(works, states, strict=True):
        if state != "done":
            total += (pace([one for one in done if one.run == work.run]) or pace(done)) * work.n * work.steps
    return total


def spelled(seconds: float) -> str:
    """A time to read."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def report(experiment: Path) -> tuple[str, bool]:
    """(what to read, whether all is done). Raises ValueError where there is no ledger."""
    works = list(merged(experiment).values())
    if not works:
        raise ValueError(f"folder={str(experiment)!r}: has no ledger; name the folder of an experiment, as results/main")
    states = [state_of(work, experiment) for work in works]
    names = list(dict.fromkeys(work.run for work in works))
    rows = [["run", "row", *STATES, "items"]]
    for name in names:
        mine = [(work, state) for work, state in zip(works, states, strict=True) if work.run == name]
        counts = [sum(state == one for _, state in mine) for one in STATES]
        label = next((work.label for work, _ in mine if work.label), "")
        rows.append([name, label, *(str(count or "-") for count in counts), str(sum(work.n for work, _ in mine))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    said = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = {one: states.count(one) for one in STATES}
    told = ", ".join(f"{count} {one}" for one, count in total.items() if count)
    head = f"{experiment}: {len(names)} runs, {len(works)} shards: {told}"
    rest = left(works, states)
    if rest:
        head += f"; some {spelled(rest)} of work left for one process"
    parts = [head, "", *said]
    for work, state in zip(works, states, strict=True):
        if state in ("failed", "killed", "running"):
            why = f": {work.reason}" if state == "failed" else ""
            parts.append(f"\n{state} on {work.host}: {work.label}, {work.run}, shard {work.shard}{why}")
    return "\n".join(parts), total["done"] == len(works)


def main() -> None:
    """Show it."""
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    try:
        if len(words) != 1:
            raise ValueError("name one folder, as results/main")
        folder = Path(words[0])
        if not folder.is_dir():
            raise ValueError(f"folder={str(folder)!r}: no such folder")
        told, done = report(folder)
    except ValueError as error:
        print(f"sdi_bench.status: {error}", file=sys.stderr)
        sys.exit(2)
    print(told)
    sys.exit(0 if done else 1)


if __name__ == "__main__":
    main()
