"""Lists of prompts: what ships is frozen, what stands twice gets seeds of its own, and a beginning can be extended."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from sdi_bench import command_line, jobs, prompts, run, sweeps
from sdi_bench.data.build.prompts import lists
from sdi_bench.data.world import World
from sdi_bench.draws import Item
from sdi_bench.words import halves, said_of

FROZEN = {
    "val": "d0ea0df58b66",
    "tune": "e10991c28e69",
    "val16": "7f39d4521935",
    "furniture": "2e5d14fcd5f8",
    "furniture_tune": "94ff4078b8e1",
    "objects20": "3767bd6f125b",
    "paper43": "6d7ab7911735",
}


def test_the_lists_that_ship_are_frozen_and_follow_from_the_world() -> None:
    for name, lines in lists(World.open().table).items():
        assert prompts.read(name) == lines
    lengths = {name: len(prompts.read(name)) for name in prompts.NAMED}
    assert lengths == {
        **{"val": 2300, "tune": 512, "val16": 16, "furniture": 405, "furniture_tune": 144},
        **{"objects20": 20, "paper43": 43},
    }
    found = {name: hashlib.sha256("\n".join(prompts.read(name)).encode()).hexdigest()[:12] for name in prompts.NAMED}
    assert found == FROZEN


def test_a_beginning_of_val_is_a_fair_sample() -> None:
    """Half of val are emoji; among 512 drawn at random their share is within 4 standard errors."""
    lines = prompts.read("val")
    share = [sum(line.endswith("emoji") for line in some) / len(some) for some in (lines, lines[:512])]
    assert abs(share[0] - share[1]) < 4 * (share[0] * (1 - share[0]) / 512) ** 0.5


def test_a_prompt_that_stands_again_gets_seeds_of_its_own() -> None:
    found = prompts.items(["a", "b", "a"], [5, 6])
    assert found == [Item("a", 5), Item("b", 5), Item("a", 7), Item("a", 6), Item("b", 6), Item("a", 8)]
    assert len(set(prompts.items(["a"] * 8 + ["b"], range(3, 20)))) == 9 * 17
    assert not set(prompts.items(["a"] * 8, [0])) & set(prompts.items(["a"] * 8, [100]))


def test_files_of_prompts(tmp_path) -> None:
    text, coco, empty, broken = (tmp_path / name for name in ("a.txt", "captions.json", "empty.txt", "broken.json"))
    text.write_text("a cat\n\n  a dog  \na cat\n")
    assert prompts.read(str(text)) == ["a cat", "a dog", "a cat"]
    notes = [{"id": 9, "image_id": 1, "caption": "Two\n dogs."}, {"id": 2, "image_id": 3, "caption": "A bus."}]
    coco.write_text(json.dumps({"annotations": notes}))
    assert prompts.read(str(coco)) == ["A bus.", "Two dogs."]
    empty.write_text("\n")
    broken.write_text('{"images": []}')
    for path, said in ((empty, "holds no prompt"), (broken, "cannot be read"), (tmp_path / "none", "lists that ship: val")):
        with pytest.raises(ValueError, match=f"prompt_file='{path}': .*{said}"):
            prompts.read(str(path))


def test_more_items_of_a_list_extend_the_run_and_parts_make_the_whole(monkeypatch, tmp_path) -> None:
    source = tmp_path / "prompts.txt"
    source.write_text("3\n8\n" * 80)
    words = ["model=digits", "reference=null", f"prompt_file={source}", "grid.n_levels=3", f"results={tmp_path}", "metric=[]"]
    made: list[int] = []
    real = jobs.make_shard
    monkeypatch.setattr(
        jobs, "make_shard", lambda plan, items, bar, **more: made.append(len(items)) or real(plan, items, bar, **more)
    )

    def command(*more: str) -> None:
        monkeypatch.setattr(sys, "argv", ["run", *words, *more])
        run.main()

    command("n_items=64")
    command("n_items=160", "part=1/2")
    assert made == [64, 64]
    command("n_items=160", "part=0/2")
    assert made == [64, 64, 32]
    (folder,) = tmp_path.glob("main/digits-*")
    assert len(list(folder.glob("shards/*.npz"))) == 3


def words_for(name: str, results: Path) -> list[str]:
    here = ["model=builtin", "prompt=[a chair]", "prompt_file=null"] if name == "3d_paper" else []  # no checkpoint here
    return [f"experiment={name}", f"results={results}", *here]


MANY = ("benchmark3d", "cheap", "family", "deviations", "trained", "understanding")
"""Of many kinds of jobs, or of networks: checked whole by the slow test below."""
QUICK = [name for name in command_line.experiments() if name not in MANY]


@pytest.mark.parametrize("name", QUICK)
def test_every_kind_of_job_in_an_experiment_is_accepted(name: str, tmp_path, monkeypatch) -> None:
    """Of the jobs that choose the same objects and set the same numbers, one."""
    every, met, some = command_line.jobs_of, set(), []

    def few(words, said, loader=None):
        asked = every(words, said, loader)
        places = [(one.place, one.label, said_of(one.overrides, "guidance.scale")) for one in asked]
        assert len(set(places)) == len(places)  # by these a run is found again
        for one in asked:
            pairs = [halves(word) for word in one.overrides]
            kind = frozenset(key if "." in key else (key, value) for key, value in pairs if key != "prompt")
            if kind not in met:
                met.add(kind)
                some.append(one)
        return some

    monkeypatch.setattr(sweeps, "jobs_of", few)
    assert len(sweeps.preflight(words_for(name, tmp_path))) == (len(some) or 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", command_line.experiments())
def test_every_job_of_an_experiment_is_accepted(name: str, tmp_path) -> None:
    plans = sweeps.preflight(words_for(name, tmp_path))
    places = [(plan.place, plan.label, plan.gamma) for plan, *_ in plans]
    assert len(set(places)) == len(places)
