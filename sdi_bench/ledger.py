"""What was started, finished, failed or killed in a results folder, where, and for how long.

results/<experiment>/.ledger/<machine>-<process>-<time>.jsonl: a file a writer, a line an event; merged when read.
A killed process writes nothing: its last shard is started and has no end.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .store import NotWrittenError, alive, node

FOLDER = ".ledger"

EVENTS = ("asked", "started", "finished", "failed", "stopped")
"""asked: of a command, before the first network call; stopped: by the user. The others are of one shard."""


@dataclass(frozen=True)
class Ledger:
    """The ledger of one process in an experiment's folder."""

    experiment: Path

    @cached_property
    def path(self) -> Path:
        """The file of this process."""
        return self.experiment / FOLDER / f"{node()}-{os.getpid()}-{time.time_ns()}.jsonl"

    def note(self, event: str, run: str, shard: str, **more: Any) -> None:
        """Add a line; run, shard: the names of their folder and file. Raises NotWrittenError."""
        said = {"event": event, "run": run, "shard": shard, "at": round(time.time(), 3), "host": socket.gethostname()}
        line = json.dumps(said | {"pid": os.getpid(), "born": born(os.getpid())} | more) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a") as file:
                file.write(line)
        except OSError as error:
            raise NotWrittenError(f"{self.path}: cannot be written ({error.strerror})") from error


def born(pid: int) -> str | None:
    """When a process of this machine was started, in the kernel's ticks; None where that is not to be known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


@dataclass
class Work:
    """A shard as its ledger has it. event: the last one; n: its items; label: its row of the table; steps: of one item."""

    run: str
    shard: str
    label: str = ""
    n: int = 0
    steps: int = 0
    event: str = "asked"
    at: float = 0.0
    host: str = ""
    seconds: float = 0.0
    reason: str = ""
    writer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Started, with no end; of this machine, by a process that lives. Of another nobody here can know."""
        if self.event != "started" or self.host != socket.gethostname():
            return self.event == "started"
        pid, then = int(self.writer.get("pid", 0)), self.writer.get("born")
        return alive(pid) and then in (None, born(pid))

    @property
    def lost(self) -> bool:
        """Begun and not finished: it failed, or was stopped or killed."""
        return self.event in ("failed", "stopped") or self.killed

    @property
    def killed(self) -> bool:
        """Started by a process that is no more."""
        return self.event == "started" and not self.running


def events(experiment: Path) -> Iterator[dict[str, Any]]:
    """All events of an experiment's folder, in the order of their time.

    Lines that were cut off, and files that cannot be read, are left out.
    """
    found = []
    for path in sorted((experiment / FOLDER).glob("*.jsonl")):
        try:
            lines = path.read_text("utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and said.get("event") in EVENTS and {"run", "shard", "at"} <= set(said):
                found.append(said)
    yield from sorted(found, key=lambda said: float(said["at"]))


def merged(experiment: Path) -> dict[tuple[str, str], Work]:
    """(run, shard) -> what is known of it."""
    known: dict[tuple[str, str], Work] = {}
    for said in events(experiment):
        key = str(said["run"]), str(said["shard"])
        work = known.setdefault(key, Work(*key))
        for name in ("label", "n", "steps", "seconds", "reason"):
            if name in said:
                setattr(work, name, said[name])
        if said["event"] == "asked" and work.event != "asked":
            continue  # asked for again: what became of it stands
        work.event, work.at, work.host = said["event"], float(said["at"]), str(said.get("host", ""))
        work.writer = {name: said.get(name) for name in ("pid", "born")}
    return known
