"""Features on disk: computed once, for each picture, whoever asks; and never wrong, whatever became of the file."""

import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from rounding import rounding

from sdi_bench.data.shipped import sums
from sdi_bench.features import cache, effnet

PICTURES = np.random.default_rng(0).uniform(-1, 1, (7, 3, 4, 5)).astype(np.float32)


class Counted:
    """Some function of each picture alone, and which pictures it was asked for, by their first value."""

    def __init__(self) -> None:
        self.asked: list[list[float]] = []

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.asked.append(images[:, 0, 0, 0].tolist())
        return np.stack([images.sum(axis=(1, 2, 3)), images[:, 0, 0, 0], images[:, 2, 3, 4]], axis=1)


def first(*places: int) -> list[float]:
    return PICTURES[list(places), 0, 0, 0].tolist()


@pytest.fixture
def counted() -> Iterator[Counted]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield Counted()


def file(folder: Path) -> Path:
    (found,) = folder.glob("*.sqlite")
    return found


def rows(folder: Path) -> int:
    with closing(sqlite3.connect(file(folder))) as store:
        return store.execute("SELECT count(*) FROM kept").fetchone()[0]


def test_only_what_is_missing_is_computed_once_and_in_its_place(counted: Counted, tmp_path) -> None:
    want = Counted()(PICTURES)
    for chosen, asked in (([2, 0, 2], [2, 0]), ([0, 1, 2, 3, 1], [1, 3]), ([3, 2, 1, 0], None), ([6, 5, 6, 4, 0], [6, 5, 4])):
        before = len(counted.asked)
        found = cache.cached("net/1", PICTURES[chosen], counted, tmp_path)
        assert found.dtype == np.float32 and (found == want[chosen]).all()
        assert counted.asked[before:] == ([] if asked is None else [first(*asked)])
    assert rows(tmp_path) == 7


def test_names_and_shapes_are_kept_apart(counted: Counted, tmp_path) -> None:
    turned = np.ascontiguousarray(PICTURES.reshape(7, 3, 5, 4))  # the same bytes
    cache.cached("a/b", PICTURES, counted, tmp_path)
    assert (cache.cached("a/b", turned, lambda images: images[:, 0, 1, :2], tmp_path) == turned[:, 0, 1, :2]).all()
    assert (cache.cached("a-b", PICTURES, lambda images: images[:, 0, 0, :1], tmp_path) == PICTURES[:, 0, 0, :1]).all()
    assert (cache.cached("a/b", PICTURES, counted, tmp_path) == Counted()(PICTURES)).all()
    assert len(counted.asked) == 1 and len(list(tmp_path.glob("*.sqlite"))) == 2


def test_pictures_are_compared_as_float32(counted: Counted, tmp_path) -> None:
    cache.cached("net", PICTURES.astype(np.float64) + 1e-12, counted, tmp_path)
    cache.cached("net", PICTURES, counted, tmp_path)
    assert len(counted.asked) == 1
    cache.cached("net", np.nextafter(PICTURES, np.float32(2)), counted, tmp_path)
    assert len(counted.asked) == 2


def test_more_pictures_than_are_asked_for_at_once(counted: Counted, tmp_path) -> None:
    many = np.random.default_rng(1).uniform(-1, 1, (2 * cache.BATCH + 3, 3, 4, 5)).astype(np.float32)
    assert (cache.cached("net", many, counted, tmp_path) == Counted()(many)).all()
    assert (cache.cached("net", many[::-1], counted, tmp_path) == Counted()(many[::-1])).all()
    assert len(counted.asked) == 1


def test_no_picture_is_no_row(counted: Counted, tmp_path) -> None:
    assert cache.cached("net", PICTURES[:0], counted, tmp_path).shape == (0, 3)


def test_a_folder_that_cannot_be_written_is_done_without(counted: Counted, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    for _ in range(2):
        assert (cache.cached("net", PICTURES, counted, tmp_path / "file" / "folder") == Counted()(PICTURES)).all()
    assert len(counted.asked) == 2


def test_another_process_that_does_not_stop_writing_is_done_without(counted: Counted, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cache, "PATIENCE", 0.05)
    cache.cached("net", PICTURES[:3], counted, tmp_path)
    with closing(sqlite3.connect(file(tmp_path), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert (cache.cached("net", PICTURES, counted, tmp_path) == Counted()(PICTURES)).all()
    assert counted.asked[1] == first(3, 4, 5, 6) and rows(tmp_path) == 3  # what is there can still be read


@pytest.mark.parametrize("harm", [lambda old: b"not a database" * 200, lambda old: old[:4096] + b"\xff" * 4096 + old[8192:]])
def test_a_damaged_file_is_set_aside_and_made_anew(harm, tmp_path) -> None:
    counted = Counted()
    cache.cached("net", PICTURES, counted, tmp_path)
    path = file(tmp_path)
    damaged = harm(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"net\.sqlite: damaged .* set aside and made anew"):
        assert (cache.cached("net", PICTURES, counted, tmp_path) == Counted()(PICTURES)).all()
    assert Path(f"{path}.damaged").read_bytes() == damaged
    assert (cache.cached("net", PICTURES, counted, tmp_path) == Counted()(PICTURES)).all()
    assert len(counted.asked) == 2


def test_a_flipped_bit_in_a_value_is_noticed(counted: Counted, tmp_path) -> None:
    cache.cached("net", PICTURES, counted, tmp_path)
    with closing(sqlite3.connect(file(tmp_path))) as store, store:
        key, value = store.execute("SELECT key, value FROM kept WHERE key = ?", [cache.key_of(PICTURES[4])]).fetchone()
        store.execute("UPDATE kept SET value = ? WHERE key = ?", [value[:6] + bytes([value[6] ^ 1]) + value[7:], key])
    for _ in range(2):
        assert (cache.cached("net", PICTURES, counted, tmp_path) == Counted()(PICTURES)).all()
    assert counted.asked[1:] == [first(4)]


WRITER = """
import sys, numpy as np
from pathlib import Path
from sdi_bench.features.cache import cached
start, folder = int(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for i in range(start, start + 100):
    images = np.full((2, 3, 2, 2), 1, np.float32) * np.array([i, i + 1])[:, None, None, None]
    found = cached("net", images, lambda missing: missing[:, :, 0, 0], folder)
    assert (found == images[:, :, 0, 0]).all()
"""


def test_two_processes_write_the_same_file(tmp_path) -> None:
    """0 to 100 and 60 to 160: some new to both. Both begin at the same moment, where there is no file yet."""
    words = [sys.executable, "-W", "error", "-c", WRITER]
    both = [
        subprocess.Popen([*words, str(start), str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for start in (0, 60)
    ]
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in both:
        process.communicate("\n", timeout=600)
    assert [process.returncode for process in both] == [0, 0]
    assert rows(tmp_path) == 161


def test_many_at_once_make_the_file(tmp_path) -> None:
    start, found = threading.Barrier(8), []

    def one(i: int) -> None:
        start.wait()
        cache.cached("net", np.full((1, 1), float(i)), lambda missing: missing, tmp_path)
        found.append(i)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == rows(tmp_path) == 8


def test_the_folder_is_named_by_the_environment(monkeypatch, tmp_path) -> None:
    assert cache.default_folder().name.startswith("sdi_bench-")  # of this session: see conftest.py
    monkeypatch.setenv("SDI_BENCH_CACHE", str(tmp_path))
    cache.cached("net", PICTURES, Counted())
    assert rows(tmp_path) == 7
    monkeypatch.delenv("SDI_BENCH_CACHE")
    assert cache.default_folder() == Path.home() / ".cache" / "sdi_bench" / "features"


def test_features_are_those_of_the_network_whatever_was_asked_before(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("SDI_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(effnet, "KEPT", {})
    images = np.random.default_rng(2).uniform(-1, 1, (40, 3, 32, 32)).astype(np.float32).cumsum(axis=2) / 8
    effnet.features(images[3:20])  # other batches than pooled() makes of all
    want, found = effnet.pooled(images), effnet.features(images)
    close = rounding(lambda: effnet.pooled(images[:8]))
    assert np.abs(found - want).max() < close
    assert np.abs(found - want[::-1]).max() > 100 * close  # another picture's
    monkeypatch.setattr(effnet, "KEPT", {})
    monkeypatch.setattr(effnet, "pooled", None)  # nothing is left to compute
    assert (effnet.features(images) == found).all() and (effnet.features(images[::-1]) == found[::-1]).all()
    assert sums()["weights/effnet.safetensors"] in file(tmp_path).name
