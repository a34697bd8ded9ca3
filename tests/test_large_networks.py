"""What large networks ask for: one in memory at a time, rows cut to what fits, text encoders out of the way."""

import gc
import sys
import weakref
from pathlib import Path

import pytest
import tiny_pipelines

from sdi_bench import plans, run, sweeps
from sdi_bench.models import DiffusersFolder
from sdi_bench.models.checkpoints import opening

LITTLE = ["model=diffusers", "grid=linear", "grid.n_levels=2", "seeds=0", "prompt=", "reference=null", "metric=[]"]


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The main job in this process; its exit status."""
    monkeypatch.setattr(sys, "argv", ["run", *words])
    try:
        run.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


# ------------------------------------------------------------------------------------------------ one network at a time


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three checkpoints."""
    place = tmp_path_factory.mktemp("three")
    return [tiny_pipelines.save("pixel", place / name, beta_end=end) for name, end in (("a", 0.02), ("b", 0.03), ("c", 0.04))]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(folder, how many networks are alive then) of each that is read from disk."""
    found: list[tuple[str, int]] = []
    alive: list[weakref.ref] = []
    real = opening.loaded

    def counted(place: Path, *rest):
        pipe = real(place, *rest)
        alive.append(weakref.ref(pipe.unet))
        found.append((place.name, sum(each() is not None for each in alive)))
        return pipe

    monkeypatch.setattr(opening, "loaded", counted)
    opening.opened.cache_clear()
    gc.collect()
    return found


@pytest.fixture
def summarised(monkeypatch: pytest.MonkeyPatch) -> list[list[list[plans.Plan]]]:
    """What would be measured and drawn."""
    found: list[list[list[plans.Plan]]] = []
    monkeypatch.setattr(sweeps, "summarise", lambda made: found.append(made) or True)
    return found


def swept(monkeypatch: pytest.MonkeyPatch, folders: list[Path], tmp_path: Path) -> int:
    """A sweep of two samplers over folders, the samplers first: the models come in turns."""
    paths = ",".join(map(str, folders))
    return command(monkeypatch, "-m", *LITTLE, "sampler=sds,ddim", f"model.path={paths}", f"results={tmp_path}")


def test_a_sweep_over_checkpoints_has_one_open_at_a_time(three, opened, summarised, tmp_path, monkeypatch) -> None:
    """To be checked before the first call all three are opened, and the last of them stays open for its own jobs."""
    assert swept(monkeypatch, three, tmp_path) == 0
    assert [name for name, _ in opened] == ["a", "b", "c", "a", "b"]
    assert [alive for _, alive in opened] == [1] * 5
    assert len(list(tmp_path.glob("main/*/shards/*.npz"))) == 6
    (table,) = summarised
    assert [(plan.label.split()[0], Path(plan.label).name) for plan, *_ in table] == [
        (sampler, name) for sampler in ("sds", "ddim") for name in "abc"
    ]


def test_a_sweep_over_one_opens_it_once(three, opened, summarised, tmp_path, monkeypatch) -> None:
    assert swept(monkeypatch, three[:1], tmp_path) == 0
    assert opened == [("a", 1)]


@pytest.mark.parametrize(
    "bug",
    [
        "plans keep their networks",
        pytest.param("the last one is kept beside", marks=pytest.mark.slow),
        pytest.param("runs in the order of the table", marks=pytest.mark.slow),
    ],
)
def test_planted_hoarding_is_seen(bug: str, three, opened, summarised, tmp_path, monkeypatch) -> None:
    if bug == "plans keep their networks":
        monkeypatch.setattr(sweeps, "closed", lambda plan: plan)
    elif bug == "the last one is kept beside":
        monkeypatch.setattr(opening, "LAST", type("All", (list,), {"__contains__": lambda self, one: True})())
    else:
        monkeypatch.setattr(sweeps, "by_model", lambda runs: runs)
    assert swept(monkeypatch, three, tmp_path) == 0 and summarised
    assert len(opened) > 5 or max(alive for _, alive in opened) > 1
