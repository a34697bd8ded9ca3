"""Any command line: a plan, or one line that says what is wrong, and nothing that was finished is touched.

python tests/anything.py lines --examples 2000 --seed 0       random command lines from the real configuration
python tests/anything.py boundary --examples 1000 --seed 0    single settings at the ends of their ranges
python tests/anything.py folders --examples 60 --seed 0       results folders, damaged

Prints each line that got another answer, and how long the slowest took. What is accepted is run as well where that is cheap.
"""

import argparse
import contextlib
import io
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import hypothesis
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import strategies as st
from omegaconf import OmegaConf

from sdi_bench import command_line, evaluate, run, status, sweeps
from sdi_bench.draws import Item
from sdi_bench.jobs import Plan
from sdi_bench.jobs import execute_all as make
from sdi_bench.report import __main__ as report
from sdi_bench.store import RunFolder

LIMIT, EACH = 5.0, 0.2
"""Seconds after which an answer is none; and more for each run of a whole experiment."""

CHEAP = 400
"""Network rows (items x states) up to which what is accepted is run."""

DIGITS = ["model=digits", "grid.n_levels=4", "metric=[contrast]", "prompt=3", "seeds=0..3"]
"""A job of a moment."""

ENDS = """
0 1 -1 2 0.0 0.5 -0.5 1.0 1e-300 1e300 -1e300 nan inf -inf 1e6 1000000 1000001 2147483648 9223372036854775807
9223372036854775808 99999999999999999999 -99999999999999999999 1e19 null true false '' x [] [1] [1,2] [null] [[1]] [a,b]
{} {a:1} {_target_:x} 0..3 3..1 0..99999999999 1/2 2/1 0x10 1_000 auto cuda cpu ∞ a/b a.b.c
"""
BOUNDARY = [*ENDS.split(), "'a b'"]
"""One value each."""

GRAMMAR = r"""
1,2 0,1, , range(1,4) choice(1,2) interval(0,1) sort(3,1) glob(*) ${name} ${none} ${ } [ ] { ' " \ ( a=b = a:b % # 1;2
~ + @ ... $(x)
"""
ODD = [*GRAMMAR.split(), " ", "\t"]
"""Words of Hydra's grammar, and some outside it."""

Setting = tuple[str, object]
"""Its dotted name and its value."""


def leaves(node: object, prefix: str = "") -> Iterator[Setting]:
    """All settings of plain data, branches included."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield f"{prefix}{name}", value
            yield from leaves(value, f"{prefix}{name}.")


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """Each group of conf/ and its options."""
    return {
        folder.name: tuple(sorted(path.stem for path in folder.glob("*.yaml")))
        for folder in sorted(command_line.conf_dir().iterdir())
        if folder.is_dir() and folder.name not in ("hydra", "figure", "recipe")
    }


@cache
def settings() -> dict[str, tuple[Setting, ...]]:
    """What has to be chosen for a setting to be there -> the settings, of every option of every group."""
    found: dict[str, tuple[Setting, ...]] = {}
    with initialize_config_dir(str(command_line.conf_dir()), version_base="1.3"):
        bare = OmegaConf.to_container(compose("config"))
        found[""] = tuple(leaves(bare))
        for group in ("model", "schedule", "grid", "guidance", "sampler", "metric", "probe", "scene"):
            for option in groups()[group]:
                word = f"{group}={option}"
                with contextlib.suppress(Exception):
                    found[word] = tuple(leaves(OmegaConf.to_container(compose("config", [word]))[group], f"{group}."))  # type: ignore[index, call-overload]
        for group in ("noise", "update", "direction"):
            for option in groups()[group]:
                word = f"{group}@sampler.{group}={option}"
                with contextlib.suppress(Exception):
                    whole = compose("config", ["sampler=sdi", word])
                    node = OmegaConf.to_container(whole.sampler[group])
                    found[f"sampler=sdi {word}"] = tuple(leaves(node, f"sampler.{group}."))
    return found


VALUES = st.one_of(
    st.sampled_from(BOUNDARY),
    st.sampled_from(BOUNDARY),
    st.sampled_from(ODD),
    st.integers(-10, 100).map(str),
    st.floats(-10, 10, allow_nan=False).map(repr),
    st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=6),
)


def near(value: object) -> list[str]:
    """What someone might say instead of a value."""
    if isinstance(value, bool):
        return ["true", "false"]
    if isinstance(value, int):
        return [str(n) for n in (value, value + 1, max(1, value // 2), value * 2, -value)]
    if isinstance(value, float):
        return [repr(x) for x in (value, value / 2, value * 2, 0.9 * value, -value)] + ["0", "1"]
    return ["null", "0.5", "3"] if value is None or isinstance(value, str) else ["null", "[]"]


@st.composite
def words(draw: st.DrawFn) -> list[str]:
    """A command line: groups and options, settings and values, additions, deletions, and now and then noise."""
    line: list[str] = ["-m"] if draw(st.integers(0, 2)) == 0 else []
    sound = draw(st.booleans())  # half of them might be meant
    one = draw(st.sampled_from(sorted(settings())))
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 7 if sound else 9))
        if kind <= 2:
            group = draw(st.sampled_from(sorted(groups())))
            options = st.sampled_from(groups()[group])
            pair = st.tuples(options, options).map(",".join) if "-m" in line else options
            value = draw(st.one_of(options, pair) if sound else st.one_of(options, pair, VALUES))
            inner = group in ("noise", "update", "direction")
            place = f"@sampler.{group}" if inner and (sound or draw(st.booleans())) else ""
            line.append(f"{group}{place}={value}")
        elif kind <= 7:
            chosen = one if sound else draw(st.sampled_from(sorted(settings())))
            key, value = draw(st.sampled_from(settings()[chosen]))
            sign = draw(st.sampled_from(["", "", "", "", "", "+", "++", "~"])) if not sound else ""
            with_value = sign != "~" or draw(st.booleans())
            line += chosen.split()
            said = draw(st.sampled_from(near(value)) if sound else VALUES)
            line.append(f"{sign}{key}={said}" if with_value else f"~{key}")
        elif kind == 8:
            keys = sorted(key for key, _ in settings()[""])
            line.append(f"+{draw(st.sampled_from([*keys, 'model.x', 'metric.x', 'x', 'x.y']))}={draw(VALUES)}")
        else:
            line.append(draw(st.one_of(VALUES, st.sampled_from(["-x", "--cfg", "--nosuch", "-mm", "--", "-"]))))
    return [word for word in line if allowed(word)]


@st.composite
def boundary(draw: st.DrawFn) -> list[str]:
    """One setting at the end of its range."""
    chosen = draw(st.sampled_from(sorted(settings())))
    key, _ = draw(st.sampled_from(settings()[chosen]))
    several = draw(st.sampled_from([[], [], ["-m"]]))
    return [word for word in [*several, *chosen.split(), f"{key}={draw(st.sampled_from(BOUNDARY))}"] if allowed(word)]


def allowed(word: str) -> bool:
    """Not what would leave the folder of the trial, ask Hydra for its own files, or name a device."""
    key = word.lstrip("+~").split("=")[0]
    return not (key in ("results", "device", "prompt_file") or key.startswith("hydra") or "path" in key) and word not in ("-x",)


class SlowError(BaseException):
    """No answer within the limit."""


@dataclass(frozen=True)
class Answer:
    """What a command said. fault: why that is none; None if it is one."""

    status: int
    error: str
    seconds: float
    fault: str | None
    shown: str = ""


def size(argv: Sequence[str]) -> int:
    """How many runs the experiment of a command line has."""
    names = [word.partition("=")[2] for word in argv if word.lstrip("+").startswith("experiment=")]
    return sum(rows(name) for name in names if name in command_line.experiments())


@cache
def rows(experiment: str) -> int:
    """Runs of an experiment, at most."""
    words, _ = command_line.words_of([f"experiment={experiment}"])
    return len(command_line.jobs_of([word for word in words if word[0] != "-"], command_line.read_experiment(experiment)))


def ring(*_: object) -> None:
    raise SlowError


def answer(module: object, argv: Sequence[str], limit: float = LIMIT) -> Answer:
    """What a command says to a command line, in this process."""
    out, err, fault, code = io.StringIO(), io.StringIO(), None, 0
    before = sys.argv
    sys.argv = ["command", *argv]
    old = signal.signal(signal.SIGALRM, ring)
    began = time.perf_counter()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            signal.setitimer(signal.ITIMER_REAL, limit, 0.5)  # again, should something swallow it
            try:
                module.main()  # type: ignore[attr-defined]
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 99
    except SlowError:
        fault = f"no answer in {limit:g} s"
    except BaseException:
        fault = traceback.format_exc(limit=-3)
    finally:
        signal.signal(signal.SIGALRM, old)
        sys.argv = before
        GlobalHydra.instance().clear()
    lines = [text for text in err.getvalue().splitlines() if text.strip() and "%|" not in text and "steps/s" not in text]
    if fault is None and code == 2 and len(lines) != 1:
        fault = f"exit status 2 and {len(lines)} lines: {lines[:4]}"
    if fault is None and code == 2 and not lines[0].startswith(("sdi_bench.", "analysis.")):
        fault = f"a line of nobody's: {lines[0]}"
    if fault is None and time.perf_counter() - began > limit:
        fault = f"an answer after more than {limit:g} s"
    if fault is None and code not in (0, 1, 2):
        fault = f"exit status {code}"
    return Answer(code, "\n".join(lines), time.perf_counter() - began, fault, out.getvalue())


GROWING = ("provenance.json", "index.json")
"""Files that every command adds to."""


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """The finished files of a folder, by size and time."""
    found = [path for kind in ("*.npz", "*.csv", "*.png", "*.json") for path in folder.rglob(kind)]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found if path.name not in GROWING}


def cheap(plans: Sequence[Plan], argv: Sequence[str] = ()) -> list[list[str]]:
    """Makes runs if that takes a moment."""
    rows = sum(len(plan.items) * plan.job.sampler.n_states for plan in plans)
    small = rows <= CHEAP and plans[0].about["model"] == "digits"
    return make(plans, argv) if small else [[] for _ in plans]


def trial(kind: str, examples: int, seed: int, told: bool = True) -> list[tuple[list[str], str]]:
    """The command lines that got no answer, and why."""
    faults: list[tuple[list[str], str]] = []
    counts: dict[int, int] = {}
    slowest = (0.0, [""])
    with tempfile.TemporaryDirectory() as place:
        home = Path(place) / "a" / "b" / "c"
        home.mkdir(parents=True)
        back = os.getcwd()
        os.chdir(home)
        sweeps.execute_all, real = cheap, sweeps.execute_all
        try:
            assert answer(run, DIGITS, 60).status == 0
            settings()

            @hypothesis.seed(seed)
            @hypothesis.settings(
                max_examples=examples, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck),
                phases=[hypothesis.Phase.generate],
            )  # fmt: skip
            @hypothesis.given({"lines": words(), "boundary": boundary()}[kind])
            def each(argv: list[str]) -> None:
                nonlocal slowest
                argv = [*argv, "results=results"]
                before = state(home / "results")
                found = answer(run, argv, LIMIT + EACH * size(argv))
                counts[found.status] = counts.get(found.status, 0) + 1
                slowest = max(slowest, (found.seconds, argv))
                after = state(home / "results")
                changed = [path for path in before if after.get(path) != before[path]]
                fault = found.fault or (
                    f"changed: {changed[:3]}" if changed and not any("overwrite" in word for word in argv) else None
                )
                if not told and found.status == 0 and fault is None:
                    return
                if fault is not None:
                    faults.append((argv, fault))
                    print(f"{argv}\n    {fault}", flush=True)

            each()
        finally:
            sweeps.execute_all = real
            os.chdir(back)
    if told:
        print(f"{kind}: {sum(counts.values())} command lines, seed {seed}: {counts} by exit status, {len(faults)} unanswered")
        print(f"the slowest took {slowest[0]:.1f} s: {slowest[1]}")
    return faults


# ---------------------------------------------------------------------------------------------------- damaged folders


@st.composite
def damage(draw: st.DrawFn) -> tuple[int, str, int, int]:
    """(which file, what is done to it, where, with which byte)."""
    how = draw(st.sampled_from(["empty", "cut", "flip", "gone", "folder", "text", "other", "unreadable", "twice"]))
    return draw(st.integers(0, 10**6)), how, draw(st.integers(0, 10**6)), draw(st.integers(1, 255))


def damaged(path: Path, how: str, where: int, byte: int, others: Sequence[Path]) -> None:
    """Do it."""
    content = path.read_bytes()
    if how in ("gone", "folder"):
        path.unlink()
    if how == "folder":
        path.mkdir()
    new = {
        "empty": b"",
        "cut": content[: where % max(1, len(content))],
        "text": b"not what was here\n",
        "unreadable": b"\xff\xfe\x00" * 9,
        "twice": content * 2,
        "other": others[where % len(others)].read_bytes() if others else b"",
    }
    if how in new:
        path.write_bytes(new[how])
    if how == "flip" and content:
        k = where % len(content)
        path.write_bytes(content[:k] + bytes([content[k] ^ byte]) + content[k + 1 :])


def images_of(folder: Path, items: Sequence[Item]) -> dict[str, bytes]:
    """The pictures of all whole runs of a folder."""
    found = {}
    for path in sorted(folder.glob("*/*/config.yaml")):
        shard = RunFolder(path.parent).read_shard(items)
        found[path.parent.name] = shard.images.tobytes()
    return found


def folders(examples: int, seed: int, told: bool = True) -> list[tuple[list[str], str]]:
    """Damages of a finished results folder after which a command gave no answer, or a wrong one; and why.

    The same command is given again, then what reads the folder. It may refuse in a line, or mend. Where it says that all is
    well, pictures and tables have to be those from before.
    """
    faults: list[tuple[list[str], str]] = []
    answers: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as place:
        back = os.getcwd()
        os.chdir(place)
        argv = ["-m", *DIGITS, "sampler=sds,ddim", "reference=null", "results=results", "name=mine"]
        items = [Item("3", seed) for seed in range(4)]
        try:

            @hypothesis.seed(seed)
            @hypothesis.settings(
                max_examples=examples, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck),
                phases=[hypothesis.Phase.generate],
            )  # fmt: skip
            @hypothesis.given(damage())
            def each(done: tuple[int, str, int, int]) -> None:
                import shutil

                shutil.rmtree("results", ignore_errors=True)
                assert answer(run, argv, 60).status == 0
                measuring = [
                    *(str(path.parent) for path in sorted(Path("results").glob("*/*/config.yaml"))),
                    "metric=[contrast]",
                ]
                measured = answer(evaluate, measuring, 30).shown
                whole = images_of(Path("results"), items)
                table = sorted(path.read_text() for path in Path("results/mine").glob("sweep-*.csv"))
                files = sorted(path for path in Path("results").rglob("*") if path.is_file())
                path = files[done[0] % len(files)]
                damaged(path, *done[1:], [other for other in files if other.suffix == path.suffix and other != path])
                said = []
                for module, words in (
                    (status, ["results/mine"]),
                    (evaluate, measuring),
                    (report, ["results/mine"]),
                    (run, argv),
                    (evaluate, measuring),
                    (status, ["results/mine"]),
                ):
                    found = answer(module, words, 30)
                    said.append(found)
                    if found.fault is not None:
                        faults.append(([done[1], path.name, getattr(module, "__name__", "")], found.fault))
                        print(f"{done[1]} {path}: {getattr(module, '__name__', '')} {words}\n    {found.fault}", flush=True)
                if any(one.status == 0 and one.shown != measured for one in (said[1], said[4])):
                    faults.append(([done[1], path.name, "evaluate"], "another table"))
                    print(f"{done[1]} {path}: another table", flush=True)
                if said[3].status == 0:
                    tables = sorted(found.read_text() for found in Path("results/mine").glob("sweep-*.csv"))
                    columns = [[line.split(",")[:4] for line in text.splitlines()] for text in (*table, *tables)]
                    same = images_of(Path("results"), items) == whole and columns[: len(table)] == columns[len(table) :]
                    if not same:
                        faults.append(([done[1], path.name, "run"], "believed"))
                        print(f"{done[1]} {path}: believed", flush=True)
                key = f"{done[1]} {path.suffix or path.name}: {[one.status for one in said]}"
                answers[key] = answers.get(key, 0) + 1

            each()
        finally:
            os.chdir(back)
    if told:
        print(yaml.safe_dump(answers))
        print(f"folders: {sum(answers.values())} damages, seed {seed}: {len(faults)} without a right answer")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["lines", "boundary", "folders"])
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    found = folders(said.examples, said.seed) if said.kind == "folders" else trial(said.kind, said.examples, said.seed)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
