"""The main job as a Hydra application: what sweeps, launchers, experiments and a user's own configurations do to it."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from sdi_bench import command_line, ledger, sweeps

ROOT = Path(__file__).parent.parent
SMALL = ["model=digits", "grid.n_levels=4", "reference=null", "metric=[contrast]", "prompt=3"]
needs_joblib = pytest.mark.skipif(not find_spec("hydra_plugins.hydra_joblib_launcher"), reason="needs the extra cluster")


def command(*words: str, **more: str) -> subprocess.CompletedProcess:
    """The main job in a process of its own."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more
    return subprocess.run([sys.executable, "-m", "sdi_bench.run", *words], env=env, capture_output=True, text=True, cwd=ROOT)


def images(folder: Path) -> dict[str, np.ndarray]:
    return {str(path.relative_to(folder)): np.load(path)["images"] for path in sorted(folder.glob("*/*/shards/*.npz"))}


def table(done: subprocess.CompletedProcess) -> str:
    """What a command prints of its runs, without the seconds."""
    lines = done.stdout[done.stdout.index("\nrun ") :].split("\n\n")[0].splitlines()
    return "\n".join(" ".join(line.split()[:-2]) for line in lines)


def test_jobs_are_all_combinations_each_with_what_tells_it_apart() -> None:
    words, several = command_line.words_of(["sampler=sdi,ism", "sampler.noise.t_min=0.2", "-m", "seeds=0,1"])
    assert several and words == ["-m", "sampler=sdi,ism", "sampler.noise.t_min=0.2,0.2", "seeds=0,1"]
    asked = command_line.jobs_of(words[1:], {"params": {"grid.n_levels": "5,6", "seeds": "7"}})
    labels = {f"{name} n_levels={n} seeds={seed}" for name in ("sdi", "ism") for n in (5, 6) for seed in (0, 1)}
    assert len(asked) == 8 and {one.label for one in asked} == labels
    assert all("sampler.noise.t_min=0.2" in one.overrides for one in asked)
    with pytest.raises(ValueError, match="must be a list of values"):
        command_line.jobs_of(["guidance.scale=interval(1,3)"], {})


@pytest.mark.parametrize(
    "word", ["reference=null", "metric=[]", "prompt='a, b'", "prompt=", "+model.boosts.camera=2.0", "seeds=0..3"]
)
def test_a_word_of_one_value_is_one_job_that_says_the_same(word: str) -> None:
    (said,), several = command_line.words_of([word])
    assert not several
    (_, twice), _ = command_line.words_of(["-m", word])
    (one,) = command_line.jobs_of([twice], {})
    parse = OverridesParser.create().parse_override
    assert parse(one.overrides[0]).value() == parse(said).value()


def settings(job: list[str]) -> dict:
    return sweeps.plain(sweeps.own(compose("config", job, return_hydra_config=True)), True)


def told(make) -> object:
    """What it gives, or what it raises."""
    try:
        return make()
    except Exception as error:
        return type(error), str(error)


def test_what_differs_in_values_alone_is_composed_once_and_comes_out_as_hydra_has_it() -> None:
    asked = []
    with initialize_config_dir(str(command_line.conf_dir()), version_base="1.3"):

        def composed(overrides):
            asked.append(overrides)
            return compose("config", list(overrides), return_hydra_config=True)

        take = sweeps.taking(composed)
        jobs = [
            ["sampler=sdi", "guidance.scale=3", "sampler.noise.guidance_scale='${guidance.scale}'", "seeds=[0,1]"],
            ["sampler.noise.guidance_scale=0", "sampler=sdi", "guidance.scale=1e-3", "seeds=[0,1]"],
            ["guidance.scale=7.5", "guidance.scale=2", "sampler=sdi", "sampler.noise.t_min=null", "seeds=[0,1]"],
            ["model.boosts={concept:2,view:1}", "model.windows=[[0.0,1],[2,3]]", "sampler=sdi", "seeds=[0,1]"],
        ]
        for job in jobs:
            cfg = compose("config", job, return_hydra_config=True)
            said = sweeps.plain(sweeps.own(cfg), True), sweeps.plain(sweeps.own(cfg), False), dict(cfg.hydra.runtime.choices)
            assert take(job) == said
        assert asked == [("sampler=sdi",)]
        for wrong in (
            "guidance.scal=3",
            "sampler.noise=3",
            "sampler.noise.t_min=${nothing}",
            "+guidance.scale=3",
            "~grid.x",
            "++guidance.scale=3",
        ):
            job = ["sampler=sdi", "guidance.scale=2", wrong]
            said, found = (told(partial(settings, job)), told(lambda job=job: take(job)[0]))
            assert found == said


def test_a_users_own_experiments_and_groups_are_found_in_his_folder(tmp_path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "grid").mkdir()
    (tmp_path / "conf" / "grid" / "mine.yaml").write_text("_target_: sdi_bench.grids.UniformT\nn_levels: 3\n")
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: digits\n  - override /grid: mine\n  - _self_\n"
        "name: mine\nreference: null\nprompt: '3'\nseeds: 0..1\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      sampler: sds,ddim\n      metric: '[contrast]'\n"
    )
    done = command("--config-dir", str(tmp_path / "conf"), "experiment=mine", f"results={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "\nsds " in done.stdout and "\nddim " in done.stdout and len(images(tmp_path)) == 2
    assert all(Path(name).parts[0] == "mine" for name in images(tmp_path))
    assert not (tmp_path / "main").exists()


def test_hydra_answers_as_its_documentation_says() -> None:
    shown = command("--cfg", "job", "sampler=sdi", "--resolve")
    assert shown.returncode == 0 and "sdi_bench.noise.Inversion" in shown.stdout and "${" not in shown.stdout
    shown = command("--help")
    assert shown.returncode == 0 and "3d, 3d_paper, benchmark2d" in shown.stdout and "n_levels: 50" in shown.stdout
    shown = command("--frob")
    assert (shown.returncode, shown.stderr.count("\n")) == (2, 1) and "--frob: no such option" in shown.stderr


def test_nothing_imports_what_hydra_keeps_to_itself() -> None:
    for path in [*ROOT.glob("sdi_bench/**/*.py"), *ROOT.glob("hydra_plugins/**/*.py"), *ROOT.glob("analysis/**/*.py")]:
        assert "hydra._internal" not in path.read_text(), path


@needs_joblib
def test_under_joblib_the_bits_and_the_table_are_those_of_a_serial_sweep(tmp_path) -> None:
    words = ["-m", *SMALL, "sampler=sds,sdi,ddim", "seeds=0..191"]
    serial = command(*words, f"results={tmp_path / 'serial'}")
    spread = command(*words, f"results={tmp_path / 'spread'}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert serial.returncode == spread.returncode == 0, spread.stderr
    ours, theirs = images(tmp_path / "serial"), images(tmp_path / "spread")
    assert ours.keys() == theirs.keys() and len(ours) == 9
    assert all(np.array_equal(ours[shard], theirs[shard]) for shard in ours)
    assert table(serial) == table(spread)
    notes = list((tmp_path / "spread" / "main" / ledger.FOLDER).glob("*.jsonl"))
    workers = {
        line.split('"pid": ')[1].split(",")[0] for path in notes for line in path.read_text().splitlines() if "finished" in line
    }
    assert len(workers) == 2


@needs_joblib
@pytest.mark.slow  # as tests/kills.py, which kills more
def test_a_sweep_whose_workers_are_killed_is_complete_all_the_same(tmp_path) -> None:
    words = ["-m", *SMALL, "sampler=sds,sdi,ddim", "seeds=0..191", "grid.n_levels=40"]
    whole = command(*words, f"results={tmp_path / 'whole'}")
    assert whole.returncode == 0
    killed = []

    def kill() -> None:
        folder = tmp_path / "broken" / "main" / ledger.FOLDER
        for _ in range(1):
            until = time.time() + 60
            while time.time() < until:
                running = [work for work in ledger.merged(folder.parent).values() if work.event == "started" and work.running]
                pids = [int(work.writer["pid"]) for work in running if int(work.writer["pid"]) not in killed]
                if pids:
                    os.kill(pids[0], signal.SIGKILL)
                    killed.append(pids[0])
                    break
                time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    broken = command(*words, f"results={tmp_path / 'broken'}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    killer.join()
    if broken.returncode:  # killed again before anything was done: the same command goes on
        broken = command(*words, f"results={tmp_path / 'broken'}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert killed and broken.returncode == 0, broken.stderr
    ours, theirs = images(tmp_path / "whole"), images(tmp_path / "broken")
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[shard], theirs[shard]) for shard in ours)
    assert table(whole) == table(broken)
    assert not list((tmp_path / "broken").rglob("*.part"))
