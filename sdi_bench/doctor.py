"""python -m sdi_bench.doctor: is this machine fit for the main job? Nothing is fetched, nothing is sampled.

  python -m sdi_bench.doctor
  python -m sdi_bench.doctor results=/data/results
  python -m sdi_bench.doctor clip=models/clip

    results=FOLDER   where results would go (results)
    clip=FOLDER      a CLIP in transformers' format, to be looked at (none)

In front of a line: ok; BAD, which makes the machine unfit; or -, which is advice, or something more that could be had.
Below it is the command that mends it. Exit status: 0 fit, 1 not fit, 2 for bad input.
"""

import io
import os
import platform
import shlex
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any, NamedTuple

from .texts import line

OK, BAD, NOTE = "ok", "BAD", "-"
CHECKOUT = (Path(__file__).resolve().parent.parent / "pyproject.toml").is_file()
QUOTA = Path("/sys/fs/cgroup/cpu.max")
ROOM = 500e6
"""Bytes that must be free: the main job writes some 320 MB."""

EXTRAS = (
    ("3D meshes, .glb", "mesh", ("scikit-image", "trimesh")),
    ("notebooks", "notebooks", ("ipykernel", "jupytext", "nbclient", "nbformat")),
    *((f"cluster, {name}", "cluster", (f"hydra-{name}-launcher",)) for name in ("joblib", "submitit", "ray")),
    ("FID", "fid", ("clean-fid",)),
    ("TensorBoard", "tensorboard", ("tensorboard",)),
)
"""What more can be had: a title, the extra that brings it, and its packages."""

INCEPTION = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
REWARD = (
    "python -m sdi_bench.run 'metric=[reward]' "
    "'metric.reward.function={_target_: hydra.utils.get_method, path: MODULE.FUNCTION}'"
)
CLIP = "config.json model.safetensors preprocessor_config.json tokenizer.json tokenizer_config.json vocab.json merges.txt"


class Line(NamedTuple):
    """A line of the report, and the command that mends what it says."""

    mark: str
    name: str
    text: str
    command: str = ""


def install(extra: str = "") -> str:
    """The command that installs this package, in a checkout or not, with an extra."""
    wanted = f"[{extra}]" if extra else ""
    return f"pip install -c constraints.txt -e {shlex.quote('.' + wanted)}" if CHECKOUT else f"pip install 'sdi-bench{wanted}'"


def required(extra: str = "") -> list[Any]:
    """What the installed package asks for, or what an extra of it does. Raises PackageNotFoundError if it is not installed."""
    from packaging.requirements import Requirement

    listed = [Requirement(text) for text in requires("sdi-bench") or []]
    return [one for one in listed if (one.marker.evaluate({"extra": extra}) if one.marker else not extra)]


def judged(wanted: Any) -> tuple[bool, str]:
    """Whether a requirement is met, and the version that is there, or that it is missing."""
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return False, "missing"
    return wanted.specifier.contains(found, prereleases=True), found


def packages(results: Path, clip: str | None) -> Iterator[Line]:
    """Python, and every package that is always needed, against what is asked for."""
    from packaging.specifiers import SpecifierSet

    python, wanted = platform.python_version(), SpecifierSet(metadata("sdi-bench")["Requires-Python"] or "")
    yield Line(OK if wanted.contains(python, prereleases=True) else BAD, "Python", f"{python:12}  wants {wanted}")
    for one in required():
        good, found = judged(one)
        asked = f"wants {one.specifier}" if str(one.specifier) else ""
        yield Line(OK if good else BAD, one.name, f"{found:12}  {asked}", "" if good else install())


def cores() -> int:
    """Cores that this process may use: those it is bound to, or its container's share of them where that is less."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share, _, period = QUOTA.read_text().partition(" ") if QUOTA.is_file() else ("max", "", "")
    return bound if share == "max" else max(1, min(bound, int(share) // int(period)))


def devices(results: Path, clip: str | None) -> Iterator[Line]:
    """Cores and threads, GPUs with their memory, and what device= takes."""
    import torch

    n, threads, said = cores(), torch.get_num_threads(), line(os.environ.get("OMP_NUM_THREADS", "not set"), 20)
    yield Line(OK, "cpu", f"cores: {n}, threads of torch: {threads}, OMP_NUM_THREADS: {said}")
    if max(threads, int(said) if said.isdecimal() else 0) > n:
        yield Line(NOTE, "threads", "more than there are cores, which is slow; say first", f"export OMP_NUM_THREADS={n}")
    usable = ["device=cpu is the default"]
    for k in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        try:
            free, total = torch.cuda.mem_get_info(k)
            torch.ones(1, device=f"cuda:{k}").add(1).item()
        except RuntimeError as error:
            yield Line(NOTE, f"cuda:{k}", f"cannot be used: {line(str(error), 100)}")
        else:
            name = torch.cuda.get_device_name(k)
            yield Line(OK, f"cuda:{k}", f"{name}, {total / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB of it free")
            usable.append(f"device=cuda:{k} works too")
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        yield Line(NOTE, "cuda", "torch sees none" if built else "none: this torch is built for the CPU alone")
    mps = torch.backends.mps.is_available()
    yield Line(NOTE, "mps", "there, but it lacks the float64 of our draws: not used" if mps else "none")
    yield Line(OK, "device=", "; ".join(usable))


def disk(results: Path, clip: str | None) -> Iterator[Line]:
    """Whether results can be written, and how much. Folders made to find out are removed."""
    from .store import writable

    made = [place for place in (results, *results.parents) if not os.path.exists(place)]
    try:
        writable(results, "results")
        free = shutil.disk_usage(results).free
        few = f", and the main job wants {ROOM / 1e9:.1f} GB" if free < ROOM else ""
        yield Line(BAD if few else OK, "results", f"can be written, {free / 1e9:.1f} GB free{few}")
    except ValueError as error:
        yield Line(BAD, "results", line(str(error)).removeprefix("results="), "python -m sdi_bench.run results=ANOTHER_FOLDER")
    finally:
        for place in made:
            with suppress(OSError):
                place.rmdir()


def data(results: Path, clip: str | None) -> Iterator[Line]:
    """Every file that ships, against its checksum."""
    from .data import shipped

    bad, mend = [], "git checkout -- sdi_bench/data" if CHECKOUT else f"{install()} --force-reinstall --no-deps"
    for name in shipped.sums():
        try:
            shipped.shipped(name)
        except (OSError, ValueError) as error:
            said = line(str(error)).removeprefix(f"{shipped.HERE / name}: ")
            bad.append(Line(BAD, name, said.split(";")[0], mend))
    yield from bad or [Line(OK, "data, weights", f"all {len(shipped.sums())} files are as they were shipped")]


def main_job(results: Path, clip: str | None) -> Iterator[Line]:
    """The main job loads, and accepts its own settings."""
    from .sweeps import preflight

    with tempfile.TemporaryDirectory() as place:
        preflight(["-m", "sampler=sds,sdi,ddim", f"results={place}"])
    yield Line(OK, "main job", "loads, opens its model, accepts its settings")


def more(results: Path, clip: str | None) -> Iterator[Line]:
    """What more could be had, and how. None of it makes a machine unfit."""
    from packaging.requirements import Requirement

    yield Line(OK, "3D", "needs nothing more")
    for title, extra, names in EXTRAS:
        known = {one.name: one for one in required(extra)}
        found = {one: judged(one) for one in (known.get(name, Requirement(name)) for name in names)}
        lacks = [f"{one.name}{one.specifier} ({there})" for one, (good, there) in found.items() if not good]
        command = install(extra) if names[0] in known else f"pip install {' '.join(names)}"
        has = ", ".join(f"{one.name} {there}" for one, (_, there) in found.items())
        yield Line(NOTE, title, f"wants {', '.join(lacks)}", command) if lacks else Line(OK, title, has)
    from .features.clip import require_folder
    from .features.inception import places

    tried = places()
    there = [str(path) for path in tried if path.is_file()]
    fetch = f"curl --create-dirs -fLo {shlex.quote(str(tried[0]))} {INCEPTION}"
    yield Line(OK, "FID weights", there[0]) if there else Line(NOTE, "FID weights", f"wants {tried[0].name} (missing)", fetch)
    fetch = f"hf download openai/clip-vit-large-patch14 {CLIP} --local-dir clip"
    try:
        if clip is None:
            raise ValueError("wants a CLIP folder as metric.clip_score.folder=FOLDER (to look at yours: clip=FOLDER)")
        require_folder("clip_score", clip)
        if not any(path.suffix in (".safetensors", ".bin") for path in Path(clip).iterdir()):
            raise ValueError(f"metric.clip_score.folder={clip!r}: has no weights")
        yield Line(OK, "CLIP score", f"metric.clip_score.folder={clip!r}")
        yield Line(OK, "CLIP-IQA", f"metric.clip_iqa.folder={clip!r}")
    except ValueError as error:
        yield Line(NOTE, "CLIP score", line(str(error)), fetch)
        yield Line(NOTE, "CLIP-IQA", "wants the same folder as metric.clip_iqa.folder=FOLDER", fetch)
    yield Line(NOTE, "reward", "wants a function (pictures [n, h, w, 3] uint8, prompts) -> n numbers, of yours", REWARD)


CHECKS: tuple[tuple[str, str, Callable[[Path, str | None], Iterator[Line]]], ...] = (
    ("packages", BAD, packages),
    ("machine", NOTE, devices),
    ("machine", BAD, disk),
    ("program", BAD, data),
    ("program", BAD, main_job),
    ("more", NOTE, more),
)
"""A title, how bad it is if it cannot be checked, and the check."""


def report(results: Path, clip: str | None) -> dict[str, list[Line]]:
    """The lines of every check by its title. Raises nothing: a check that raises, or warns, is a line."""
    found: dict[str, list[Line]] = {}
    for title, mark, check in CHECKS:
        lines = found.setdefault(title, [])
        with warnings.catch_warnings(record=True) as warned:
            try:
                lines.extend(check(results, clip))
            except Exception as error:
                said = line(f"fails: {type(error).__name__}: {error}", 200)
                lines.append(
                    Line(mark, check.__name__.replace("_", " "), said, install() if isinstance(error, ImportError) else "")
                )
        lines.extend(Line(NOTE, "warning", text) for text in dict.fromkeys(line(str(one.message), 200) for one in warned))
    return found


def shown(found: Mapping[str, Sequence[Line]]) -> str:
    """The report. Its first line says whether the machine is fit, or why not."""
    width = max(len(one.name) for lines in found.values() for one in lines)
    bad = [" ".join(f"{one.name} {one.text}".split()) for lines in found.values() for one in lines if one.mark == BAD]
    rest = [f"{len(bad) - 3} more"] if bad[3:] else []
    text = [f"not fit: {'; '.join(bad[:3] + rest)}" if bad else "fit for the main job: python -m sdi_bench.run"]
    for title, lines in found.items():
        text += ["", title]
        for one, after in zip(lines, [*lines[1:], None], strict=True):
            text.append(f"  {one.mark:3}  {one.name:{width}}  {one.text}".rstrip())
            if one.command and (after is None or after.command != one.command):
                text.append(f"         {one.command}")
    return "\n".join(text)


def settings(argv: Sequence[str]) -> dict[str, str]:
    """What the command line says. Raises ValueError, naming the field, the value and what would do."""
    said = {}
    for word in argv:
        key, equals, value = word.partition("=")
        if key not in ("results", "clip") or not equals:
            raise ValueError(f"{line(word)}: no such setting; there are results=FOLDER and clip=FOLDER")
        if not value or os.path.isfile(value):
            raise ValueError(f"{key}={value!r}: must name a folder")
        said[key] = value
    return said


def main() -> int:
    """Look, and say. 0 if the machine is fit, 1 if not, 2 for bad input."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    try:
        said = settings(sys.argv[1:])
    except ValueError as error:
        print(f"sdi_bench.doctor: {error}", file=sys.stderr)
        return 2
    found = report(Path(said.get("results", "results")), said.get("clip"))
    print(shown(found))
    return int(any(one.mark == BAD for lines in found.values() for one in lines))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
