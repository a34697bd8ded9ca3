"""Every claim can turn red: a one-line bug is planted in a copy of the library, and the row it concerns must fail."""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from string import ascii_lowercase

import pytest
from mutants import Mutant, Planted, distances, priors, released, scenes

from sdi_bench import verify

ROOT = Path(__file__).parent.parent
MUTANTS = [
    mutant
    for path in sorted((ROOT / "tests" / "mutants").glob("v*.py"))
    for mutant in import_module(f"mutants.{path.stem}").MUTANTS
]


def identity(row: str) -> str:
    """V10 of V10a."""
    return row.rstrip(ascii_lowercase)


def in_every_run(mutants: list[Mutant]) -> list[Mutant]:
    """The first of some identities; -m slow plants all of them."""
    firsts: dict[str, Mutant] = {}
    for mutant in mutants:
        if identity(mutant.row) in ("V1", "V3", "V5"):
            firsts.setdefault(identity(mutant.row), mutant)
    return list(firsts.values())


FIRST = in_every_run(MUTANTS)
WATCH = """
import sys
from sdi_bench import verify
from sdi_bench.verify import cases

# A few of the settings do: over all of them the largest deviation can only be larger.
every = cases.covering
cases.covering = lambda full, *axes: every(full, *axes)[: int(sys.argv[2])]
row_id = sys.argv[1]
row = next(row for row in verify.rows(row_id.rstrip("abcdefghijklmnopqrstuvwxyz")) if row.id == row_id)
print("holds" if row.holds else "fails", row.deviation, row.tolerance)
"""


def watch(package: Path, row: str, settings: int = 4) -> str:
    """What a row says in the package in this folder: "holds ..." or "fails ..."."""
    env = os.environ | {"PYTHONPATH": str(package)}
    done = subprocess.run(
        [sys.executable, "-c", WATCH, row, str(settings)], cwd=package, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def plant(mutant: Mutant | Planted, folder: Path) -> None:
    """A copy of the library with the bug in it."""
    shutil.copytree(ROOT / "sdi_bench", folder / "sdi_bench")  # with what is compiled already
    target = folder / "sdi_bench" / mutant.file
    source = target.read_text()
    assert source.count(mutant.old) == 1, f"{mutant.file} holds {mutant.old!r} {source.count(mutant.old)} times"
    target.write_text(source.replace(mutant.old, mutant.new))


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(mutant, marks=[] if mutant in FIRST else pytest.mark.slow) for mutant in MUTANTS],
    ids=lambda m: f"{m.row}-{Path(m.file).stem}-{m.why[:40]}",
)
def test_the_planted_bug_turns_its_row_red(mutant: Mutant, tmp_path: Path) -> None:
    plant(mutant, tmp_path)
    red = watch(tmp_path, mutant.row).startswith("fails") or watch(tmp_path, mutant.row, 1000).startswith("fails")
    assert red, mutant.why


def test_every_planted_bug_quotes_a_line_that_is_there_once() -> None:
    """All of them, in every run: most are planted with -m slow alone."""
    for mutant in [*MUTANTS, *scenes.PLANTED, *priors.PLANTED, *released.PLANTED, *distances.PLANTED]:
        source = (ROOT / "sdi_bench" / mutant.file).read_text()
        assert source.count(mutant.old) == 1, f"{mutant.file} holds {mutant.old!r} {source.count(mutant.old)} times"


def test_every_identity_has_a_planted_bug() -> None:
    assert {mutant.row.rstrip(ascii_lowercase) for mutant in MUTANTS} == set(verify.CHECKS)


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(mutant, marks=[] if k == 0 and planted is scenes.PLANTED else pytest.mark.slow)
        for planted in (scenes.PLANTED, priors.PLANTED, released.PLANTED, distances.PLANTED)
        for k, mutant in enumerate(planted)
    ],
    ids=lambda m: m.why,
)
def test_the_planted_bug_turns_its_test_red(mutant: Planted, tmp_path: Path) -> None:
    plant(mutant, tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    some = ["-m", "slow or not slow", f"tests/{mutant.test}"]
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *some]
    done = subprocess.run(words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1 and "1 failed" in done.stdout, mutant.why + "\n" + done.stdout + done.stderr
