"""What goes wrong while a sweep runs, or has happened to its files since: nothing finished is lost, nothing false believed."""

import errno
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from cases import crossed, some
from commands import exit_status

from sdi_bench import evaluate, export, jobs, ledger, run, status, store
from sdi_bench.draws import Item
from sdi_bench.store import Listed, RunFolder, Shard, read_index, write_index

WORDS = ["model=digits", "grid.n_levels=5", "reference=null", "metric=[contrast]", "prompt=3"]


def command(monkeypatch: pytest.MonkeyPatch, module: object, *words: str) -> int:
    return exit_status(monkeypatch, module.main, *words)


@pytest.fixture
def sweep(monkeypatch, tmp_path):
    """The main job on a few digits, in shards of four; its exit status."""
    monkeypatch.setattr(jobs, "SHARD", 4)
    return lambda *words: command(monkeypatch, run, *WORDS, f"results={tmp_path}", *words)


def shards(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/*/shards/*.npz")}


def contrast(folder: Path) -> list[float]:
    (table,) = folder.glob("main/sweep-*.csv")
    return [float(point) for point in pd.read_csv(table).query("run != 'data'")["point"]]


# ----------------------------------------------------------------------------------------------- nothing finished is lost


def test_overwriting_some_items_leaves_the_others(sweep, tmp_path) -> None:
    assert sweep("seeds=0..11") == 0
    before = shards(tmp_path)
    assert sweep("seeds=0..3", "overwrite=true") == 0
    after = shards(tmp_path)
    assert after.keys() == before.keys() and len(before) == 3
    assert sum(after[path] != before[path] for path in before) == 1


def test_a_shard_stays_until_the_new_one_is_whole(sweep, tmp_path, monkeypatch) -> None:
    assert sweep("seeds=0..7") == 0
    before = {path: path.read_bytes() for path in shards(tmp_path)}

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no more")

    monkeypatch.setattr(jobs, "make_shard", broken)
    assert sweep("seeds=0..7", "overwrite=true") == 1
    assert {path: path.read_bytes() for path in shards(tmp_path)} == before


def full(after: int):
    """A disk that is full after so many files."""
    left = [after]

    def sync(_: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    return sync


@pytest.mark.parametrize("after", [pytest.param(k, marks=[] if k in (1, 4, 8) else pytest.mark.slow) for k in range(1, 10)])
def test_a_full_disk_is_told_by_name_and_costs_nothing_that_was_finished(sweep, tmp_path, monkeypatch, capsys, after) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full(after))
        assert sweep("seeds=0..11") in (1, 2)
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("sdi_bench.run: ") and "No space left on device" in error
    assert not list(tmp_path.rglob("*.part"))
    kept = shards(tmp_path)
    assert sweep("seeds=0..11") == 0
    assert kept.items() <= shards(tmp_path).items() and len(shards(tmp_path)) == 3
    assert len(list(tmp_path.glob("main/*/metrics.json"))) == 1


def test_a_diagnostic_that_cannot_be_kept_costs_no_shard(sweep, tmp_path, monkeypatch) -> None:
    def lost(self: RunFolder, name: str, **_: object) -> None:
        raise store.NotWrittenError(f"{self.path / name}: cannot be written")

    monkeypatch.setattr(RunFolder, "write_arrays", lost)
    assert sweep("seeds=0..3") == 1
    assert len(shards(tmp_path)) == 1


def test_what_the_dead_left_half_written_is_swept_up_and_what_the_living_write_is_not(sweep, tmp_path) -> None:
    assert sweep("seeds=0..3") == 0
    (folder,) = {path.parent for path in shards(tmp_path)}
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    dead, living, foreign = (
        folder / f".x.npz.{name}.part"
        for name in (f"{store.node()}-{process.pid}", f"{store.node()}-{os.getppid()}", f"0123abcd-{process.pid}")
    )
    for path in (dead, living, foreign):
        path.write_bytes(b"half")
    assert sweep("seeds=0..7") == 0
    assert (dead.exists(), living.exists(), foreign.exists()) == (False, True, True)


def add(folder: str, name: str) -> None:
    for k in range(40):
        write_index(Path(folder), [Listed("tier", f"{name}{k}", "label", 1.0, RunFolder(Path(folder) / "run"))])


def test_several_processes_list_their_runs_and_no_row_is_lost(tmp_path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add, args=(str(tmp_path), name)) for name in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(read_index(tmp_path)) == 80


# ---------------------------------------------------------------------------------------------------- nothing false believed


def changed(path: Path, **arrays: np.ndarray) -> None:
    """A shard with other arrays, else as it was; its digest too."""
    with np.load(path) as archive:
        whole = {name: archive[name] for name in archive.files}
    np.savez(path, **whole | arrays)


def test_measures_of_shards_that_have_changed_are_taken_again(sweep, tmp_path) -> None:
    assert sweep("seeds=0..3") == 0
    was = contrast(tmp_path)
    (path,) = shards(tmp_path)
    folder = RunFolder(path.parents[1])
    (chunk,) = folder.chunks()
    old = folder.read_shard(chunk)
    folder.write_shard(Shard(chunk, 2 * old.images, old.rows, old.seconds, old.peak_mb))
    assert sweep("seeds=0..3") == 0
    now = contrast(tmp_path)
    assert now == pytest.approx([value + np.log(2) for value in was])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    some(
        3,
        [
            ("images", np.zeros((4, 1, 8, 8)), "was changed since it was written"),
            ("items", np.array(json.dumps([["3", k] for k in range(4, 8)])), "was changed since it was written"),
            ("items", np.array("x"), "was changed since it was written"),
            ("run", np.array("another"), "is of another run, another"),
            ("cost", np.array("{}"), "was changed since it was written"),
        ],
    ),
)
def test_a_shard_that_was_tampered_with_is_named(sweep, tmp_path, capsys, name, value, said) -> None:
    assert sweep("seeds=0..3") == 0
    (path,) = shards(tmp_path)
    changed(path, **{name: value})
    capsys.readouterr()
    assert sweep("seeds=0..3") == 2
    error = capsys.readouterr().err
    assert f"{path}: {said}" in error and error.count("\n") == 1


def forged(path: Path, **settings: object) -> None:
    """Other settings in a run's config.yaml, without the seal: as an earlier version wrote it, or someone who knows."""
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({k: v for k, v in config.items() if k not in (store.RUN, store.DIGEST)} | settings))


def test_a_shard_under_another_name_or_of_another_run_is_named(sweep, tmp_path, capsys) -> None:
    assert sweep("-m", "seeds=0..3", "sampler=sds,ddim") == 0
    one, other = sorted(shards(tmp_path))
    other.write_bytes(one.read_bytes())
    capsys.readouterr()
    assert sweep("-m", "seeds=0..3", "sampler=sds,ddim") == 2
    assert f"{other}: is of another run, {one.parent.parent.name}" in capsys.readouterr().err
    folder, items = RunFolder(tmp_path), [Item("a", 0), Item("b", 0)]
    folder.write_probed(items, {"x": np.arange(2)}, {})
    os.replace(folder.shard_path(items), folder.shard_path(items[::-1]))
    with pytest.raises(ValueError, match="holds other items than its name says"):
        folder._read(items[::-1])


def test_a_configuration_that_was_changed_or_lost_is_written_again(sweep, monkeypatch, tmp_path, capsys) -> None:
    assert sweep("seeds=0..3") == 0
    (path,) = tmp_path.glob("main/*/config.yaml")
    whole = path.read_text()
    for content in (whole.replace("n_levels: 5", "n_levels: 6"), "- 1", whole.replace(path.parent.name, "another")):
        path.write_text(content)
        capsys.readouterr()
        assert command(monkeypatch, evaluate, str(path.parent), "metric=[contrast]") == 2
        assert "config.yaml" in capsys.readouterr().err
        assert sweep("seeds=0..3") == 0 and path.read_text() == whole


def test_a_shard_of_earlier_versions_has_no_digest_and_is_read(sweep, tmp_path) -> None:
    assert sweep("seeds=0..3") == 0
    (path,) = shards(tmp_path)
    with np.load(path) as archive:
        np.savez(path, **{name: archive[name] for name in archive.files if name != store.DIGEST})
    assert sweep("seeds=0..3") == 0


@pytest.mark.parametrize(
    "content", [b"", *(pytest.param(c, marks=pytest.mark.slow) for c in (b"{", b"[]", b"\xff\xfe")), b'{"asked": 1}']
)
def test_measures_that_cannot_be_read_are_taken_again(sweep, tmp_path, content) -> None:
    assert sweep("seeds=0..3") == 0
    was = contrast(tmp_path)
    (path,) = tmp_path.glob("main/*/metrics.json")
    path.write_bytes(content)
    (path.parent / "provenance.json").write_bytes(content)
    assert sweep("seeds=0..3") == 0 and contrast(tmp_path) == was
    assert sweep("seeds=0..7") == 0  # writes provenance.json too


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"runs": [{"tier": 1}]}', b'{"runs": [1]}'])
def test_an_index_that_cannot_be_read_is_named(tmp_path, content) -> None:
    (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"index\.json: damaged"):
        read_index(tmp_path)


def test_runs_of_another_results_version_are_not_measured(sweep, monkeypatch, tmp_path, capsys) -> None:
    assert sweep("seeds=0..3") == 0
    (path,) = tmp_path.glob("main/*/config.yaml")
    forged(path, results_version=store.RESULTS_VERSION - 1)
    capsys.readouterr()
    assert command(monkeypatch, evaluate, str(path.parent), "metric=[contrast]") == 2
    error = capsys.readouterr().err
    assert f"is of version {store.RESULTS_VERSION - 1} of the results" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "module"), crossed([b"", b"- 1", b"model: [", b"model: {}", b"\xff", None], [evaluate, export])
)
def test_a_configuration_that_cannot_be_read_is_one_line(sweep, monkeypatch, tmp_path, capsys, content, module) -> None:
    assert sweep("seeds=0..3") == 0
    (path,) = tmp_path.glob("main/*/config.yaml")
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    capsys.readouterr()
    assert command(monkeypatch, module, str(path.parent), *(["mesh=false"] if module is export else [])) == 2
    error = capsys.readouterr().err
    assert "config.yaml cannot be read" in error and error.count("\n") == 1


def test_export_calls_nothing_that_a_folder_names(sweep, monkeypatch, tmp_path, capsys) -> None:
    assert sweep("seeds=0..3") == 0
    (path,) = tmp_path.glob("main/*/config.yaml")
    sampler = yaml.safe_load(path.read_text())["sampler"]
    forged(path, sampler=sampler | {"scene": {"_target_": "pathlib.Path", "_args_": ["x"]}})
    assert command(monkeypatch, export, str(path.parent), "mesh=false") == 2
    assert "would call 'pathlib.Path', which is none of this package's" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------- the ledger, status


def test_a_failure_stops_no_other_and_is_told_and_made_again(sweep, monkeypatch, tmp_path, capsys) -> None:
    kept = jobs.make_shard

    def sometimes(plan, items, bar, keep_trajectory) -> None:
        if plan.label == "sds" and items[0].seed == 4:
            raise RuntimeError("out of\nmemory")
        kept(plan, items, bar, keep_trajectory)

    words = ["-m", "sampler=sds,ddim", "seeds=0..7"]
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "make_shard", sometimes)
        assert sweep(*words) == 1
    out, error = capsys.readouterr()
    assert "1 failed; the same command tries these again:" in error and "RuntimeError: out of memory" in error
    assert "\nddim " in out and "\nsds " not in out and len(shards(tmp_path)) == 3
    assert command(monkeypatch, status, str(tmp_path / "main")) == 1
    told = capsys.readouterr().out
    assert "2 runs, 4 shards: 3 done, 1 failed" in told and "failed on" in told and "out of memory" in told
    # one more item is asked for; retry=failed makes what failed alone
    assert sweep(*words[:-1], "seeds=0..8", "retry=failed") == 0
    assert "makes the rest" in capsys.readouterr().out and len(shards(tmp_path)) == 4
    assert sweep(*words[:-1], "seeds=0..8") == 0 and len(shards(tmp_path)) == 6
    assert command(monkeypatch, status, str(tmp_path / "main")) == 0
    assert "2 runs, 6 shards: 6 done" in capsys.readouterr().out


def test_parts_share_all_shards_of_a_sweep_evenly(sweep, tmp_path) -> None:
    """Also where each run is one shard: a part that takes every other shard of each run would get none."""
    words = ["-m", "sampler=sds,ddim,ddpm,ism", "seeds=0..3"]
    assert sweep(*words, "part=1/2") == 0 and len(shards(tmp_path)) == 2
    assert sweep(*words, "part=0/2") == 0 and len(shards(tmp_path)) == 4


def test_status_tells_the_killed_the_running_and_the_missing_apart(tmp_path, monkeypatch, capsys) -> None:
    notes = ledger.Ledger(tmp_path)
    for shard in ("a", "b", "c"):
        notes.note("asked", "run", shard, label="sds", n=4, steps=10)
    notes.note("started", "run", "a")
    notes.note("started", "run", "b")
    lines = notes.path.read_text().splitlines()
    lines[-1] = json.dumps(json.loads(lines[-1]) | {"pid": 2**22 + 1})  # of a process that is not there
    notes.path.write_text("\n".join(lines) + '\n{"event": "fini')  # and a line that was cut off
    assert command(monkeypatch, status, str(tmp_path)) == 1
    told = capsys.readouterr().out
    assert "1 runs, 3 shards: 1 running, 1 missing, 1 killed" in told
    # the very same process number, but another process
    lines[-1] = json.dumps(json.loads(lines[-1]) | {"pid": os.getpid(), "born": "1"})
    notes.path.write_text("\n".join(lines))
    assert [work.killed for work in ledger.merged(tmp_path).values()] == [False, True, False]
    for words in (["nowhere"], [], [str(tmp_path), "x"], [str(tmp_path / ".ledger")]):
        assert command(monkeypatch, status, *words) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_time_left_is_that_of_what_is_done(tmp_path) -> None:
    works = [ledger.Work("a", "1", n=4, steps=10, seconds=8.0), ledger.Work("a", "2", n=2, steps=10)]
    works += [ledger.Work("b", "1", n=4, steps=20)]
    assert status.left(works, ["done", "missing", "missing"]) == pytest.approx(4 + 16)
    assert status.left(works, ["missing"] * 3) is None


def test_the_path_that_is_kept_does_not_hang_on_the_batch_size(sweep, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "SHARD", 16)
    found = []
    for size in (3, 64):
        assert sweep("seeds=0..11", f"results={tmp_path / str(size)}", f"batch_size={size}") == 0
        (path,) = (tmp_path / str(size)).glob("main/*/trajectory.npz")
        found.append(dict(np.load(path)))
    assert found[0]["x0"].shape[:2] == (5, jobs.N_TRAJECTORY)
    for name in found[0].keys() - {store.RUN, store.DIGEST}:
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=0, atol=1e-12, equal_nan=True)


def test_items_of_a_shard_are_those_of_its_name(tmp_path) -> None:
    """Another order of the same items is another shard."""
    folder, items = RunFolder(tmp_path), [Item("a", 0), Item("b", 0)]
    folder.write_probed(items, {"x": np.arange(2)}, {})
    assert folder.has(items) and not folder.has(items[::-1])


def test_an_empty_shard_and_a_ledger_that_is_none_are_told_or_passed_over(sweep, monkeypatch, tmp_path, capsys) -> None:
    assert sweep("seeds=0..3") == 0
    (path,) = shards(tmp_path)
    path.write_bytes(b"")
    capsys.readouterr()
    assert command(monkeypatch, evaluate, str(path.parent.parent), "metric=[contrast]") == 2
    error = capsys.readouterr().err
    assert f"{path}: damaged" in error and error.count("\n") == 1
    for notes in [*(tmp_path / "main" / ledger.FOLDER).glob("*.jsonl")]:
        notes.unlink()
        notes.mkdir()
    assert sweep("seeds=0..3") == 0
    assert command(monkeypatch, status, str(tmp_path / "main")) == 0
