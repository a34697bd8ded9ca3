"""The main job: sweeps, the table, what is skipped, what is refused."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from cases import crossed
from commands import exit_status

from sdi_bench import command_line, jobs, run, sweeps
from sdi_bench.predictor import Cost
from sdi_bench.words import quoted

ROOT = Path(__file__).parent.parent
SMALL = ["seeds=0..7", "prompt=[3,8]", "grid.n_levels=6", "reference.grid.n_levels=12"]


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the main job in this process, on the digits unless said otherwise; its exit status."""
    model = [] if any(word.startswith("model=") for word in words) else ["model=digits"]
    return exit_status(monkeypatch, run.main, *model, *words)


def images_of(folder: Path) -> dict[str, np.ndarray]:
    """Every shard's images, by run folder and shard name."""
    return {str(p.relative_to(folder)): np.load(p)["images"] for p in sorted(folder.glob("*/*/shards/*.npz"))}


def test_a_sweep_writes_what_it_says_and_the_second_time_runs_nothing(monkeypatch, tmp_path, capsys) -> None:
    words = ["-m", "sampler=sds,sdi,ddim", f"results={tmp_path}", *SMALL]
    assert command(monkeypatch, *words) == 0
    first = capsys.readouterr().out
    table, written = first.split("\nwritten:\n")
    for name in ("sds", "sdi", "ddim", "ddim-12", "data"):
        assert any(line.startswith(f"{name} ") for line in table.splitlines()), name
    for path in re.findall(rf"{tmp_path}\S+", written):
        assert Path(path).exists()
    for name in ("config.yaml", "provenance.json", "metrics.json", "trajectory.npz", "samples.png"):
        assert len(list(tmp_path.glob(f"main/*/{name}"))) == 4
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("main/*/shards/*")}

    def refuse(*_: object) -> None:
        raise AssertionError("a network was asked although everything is finished")

    monkeypatch.setattr(jobs, "make_shard", refuse)
    assert command(monkeypatch, *words) == 0
    second = capsys.readouterr().out
    assert "finished earlier, not run again: ddim-12, sds, sdi, ddim" in second
    assert table.strip() in second
    assert made == {path: path.stat().st_mtime_ns for path in tmp_path.glob("main/*/shards/*")}


def test_swapping_the_noise_alone_changes_the_run_and_the_batch_size_does_not(monkeypatch, tmp_path) -> None:
    words = ["sampler=sds", f"results={tmp_path}", "metric=[contrast]", *SMALL]
    assert command(monkeypatch, *words) == 0
    one = {p.name for p in (tmp_path / "main").iterdir() if p.is_dir()}
    assert command(monkeypatch, *words, "batch_size=3") == 0
    assert {p.name for p in (tmp_path / "main").iterdir() if p.is_dir()} == one
    assert command(monkeypatch, *words, "noise@sampler.noise=zero") == 0
    two = {p.name for p in (tmp_path / "main").iterdir() if p.is_dir()}
    assert len(two - one) == 1 and "zero" in next(iter(two - one))


def test_without_a_reference_each_model_is_measured_against_its_own_law(monkeypatch, tmp_path, capsys) -> None:
    words = ["reference=null", "seeds=0..5", "prompt=3", "grid.n_levels=5", f"results={tmp_path}", "metric=[energy,contrast]"]

    def measured(*more: str) -> pd.DataFrame:
        assert command(monkeypatch, *more, *words) == 0
        tables = re.findall(r"\S+\.csv", capsys.readouterr().out)
        return pd.concat([pd.read_csv(table) for table in dict.fromkeys(tables)])

    together = measured("-m", "model.width=0.2,1.5")
    for width in ("0.2", "1.5"):
        alone = measured(f"model.width={width}").query("run != 'data'")
        of_it = together[together["folder"] == alone["folder"].iloc[0]]
        assert len(of_it) == len(alone) > 0
        assert of_it["point"].tolist() == alone["point"].tolist()
    laws = together["run"].str.startswith("data")
    assert laws.sum() == (~laws).sum() == 2 * len(alone)


@pytest.mark.slow
def test_same_seeds_same_bits_and_another_batch_size_changes_rounding_only(monkeypatch, tmp_path) -> None:
    words = ["-m", "sampler=sds,sdi,ddim", "metric=[contrast]", *SMALL]
    for name, size in (("a", 64), ("b", 64), ("c", 3)):
        assert command(monkeypatch, *words, f"results={tmp_path / name}", f"batch_size={size}") == 0
    a, b, c = (images_of(tmp_path / name) for name in "abc")
    assert a.keys() == b.keys() == c.keys()
    for shard in a:
        assert np.array_equal(a[shard], b[shard])
        # matrix products round differently for other shapes: 1e-16 a step, amplified by 1e3 at most on these data
        assert np.abs(a[shard] - c[shard]).max() <= 1e-12


def test_more_seeds_add_shards_and_overwrite_makes_them_again(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(jobs, "SHARD", 4)
    words = ["sampler=ddim", f"results={tmp_path}", "metric=[contrast]", "prompt=[3,8]", "grid.n_levels=6", *SMALL[3:]]
    assert command(monkeypatch, *words, "seeds=0..3") == 0
    few = {p: p.stat().st_mtime_ns for p in tmp_path.glob("main/*/shards/*")}
    assert command(monkeypatch, *words, "seeds=0..7") == 0
    more = {p: p.stat().st_mtime_ns for p in tmp_path.glob("main/*/shards/*")}
    assert len(more) == 2 * len(few) and few.items() <= more.items()
    assert command(monkeypatch, *words, "seeds=0..7", "overwrite=true") == 0
    again = {p: p.stat().st_mtime_ns for p in tmp_path.glob("main/*/shards/*")}
    assert again.keys() == {p for p in more if again.get(p) != more[p]}
    assert {p.parent.parent for p in again} == {p.parent.parent for p in more}


DIES = """
import os, signal, sys
from pathlib import Path
from sdi_bench import run

replace, written = os.replace, []


def die(part: str, path: str) -> None:
    written.extend([path] if Path(path).parent.name == "shards" else [])
    if len(written) > 8:  # 4 shards of the reference, 4 of sds; the next is left half written
        os.truncate(part, 1000)
        os.kill(os.getpid(), signal.SIGKILL)
    replace(part, path)


os.replace = die
run.main()
"""


def test_a_killed_sweep_goes_on_where_it_stopped_and_nothing_half_written_is_seen(tmp_path) -> None:
    words = [
        "-m",
        "model=digits",
        "sampler=sds,sdi",
        "prompt=[3,8]",
        "seeds=0..127",
        "grid.n_levels=30",
        *SMALL[3:],
        "metric=[contrast]",
    ]
    call = [sys.executable, "-m", "sdi_bench.run", *words]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    died = subprocess.run([sys.executable, "-c", DIES, *words, f"results={broken}"], env=env, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    kept = {path: path.stat().st_mtime_ns for path in broken.glob("main/*/shards/*.npz")}
    assert len(kept) == 8
    for path in kept:
        np.load(path)["images"]
    subprocess.run([*call, f"results={broken}"], env=env, check=True, capture_output=True)
    subprocess.run([*call, f"results={whole}"], env=env, check=True, capture_output=True)
    for path, made in kept.items():
        assert path.stat().st_mtime_ns == made
    ours, theirs = images_of(broken), images_of(whole)
    assert ours.keys() == theirs.keys() and len(ours) == 12
    assert all(np.array_equal(ours[shard], theirs[shard]) for shard in ours)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "sampler=sds,dim"], "sampler=dim: did you mean ddim?"),
        (["-m", "sampler=sds,sdi", "grid.n_level=3"], "grid.n_level: no such setting; did you mean grid.n_levels?"),
        (
            ["sampler=sdi", "sampler.noise.n_step=3"],
            "sampler.noise.n_step: no such setting; did you mean sampler.noise.n_steps?",
        ),
        (["+foo=1"], "foo: no such setting; there are model, "),
        (["metric=[contrst]"], "metric=contrst: did you mean contrast?"),
        (["-m", "grid.n_levels=5,0"], "grid.n_levels=0: must be a whole number >= 1"),
        (["grid.t_min=0.9", "grid.t_max=0.1"], "grid.t_max=0.1, grid.t_min=0.9: the grid must fall"),
        (["guidance.scale=nan"], "guidance.scale=nan: must be a finite number"),
        (["seeds=many"], "seeds='many': must be a range like 0..31"),
        (["seeds=[]"], "seeds=[]: must be"),
        (["seeds=-1"], "seeds=-1: must be"),
        (["batch_size=0"], "batch_size=0: must be a whole number >= 1"),
        (["overwrite=maybe"], "overwrite='maybe': must be true or false"),
        (["sampler=sds", "noise@sampler.noise=exact_root"], "noise=exact_root: Empirical has no exact root"),
        (
            ["model=mixture", "sampler=sds", "noise@sampler.noise=exact_root", "guidance.scale=3"],
            "guidance.scale=3: a mixture's root",
        ),
        (["schedule=flow", "sampler=ddpm"], "sampler=ddpm: starts at sigma = infinity on this grid"),
        (
            ["schedule=flow", "model=gaussian", "sampler=sds", "noise@sampler.noise=exact_root"],
            "noise=exact_root: would be sought at sigma = infinity",
        ),
        (["schedule=flow", "sampler=sdi", "sampler.noise.tau=null"], "noise=inversion: would be sought at sigma = infinity"),
        (["prompt=11"], "prompt='11': did you mean '1'?"),
        (["prompt_file=/nowhere"], "prompt_file='/nowhere': cannot be read"),
        (["n_items=0"], "n_items=0: must be a whole number >= 1"),
        (["part=2/2"], "part='2/2': must be k/n with k < n, like 0/2 and 1/2"),
        (["results=/proc/no"], "results='/proc/no/main': cannot write there"),
        (["sampler=sds,sdi"], "sampler=sds,sdi: several values need a sweep; add -m"),
        (["prompt=[3,'3']"], "prompt=['3', '3']: must be one prompt or a list of distinct ones"),
        (["device=tpu"], "device='tpu': not to be had here"),
        (["grid=null"], "grid=null: there are leading, linear"),
        (["metric=3"], "metric=3: there are "),
        (["probe=3"], "probe=3: there are deviations"),
        (["reference=3"], "reference=3: must be a Ddim"),
        (["results=''"], "results='': must name a folder"),
        (["retry=some"], "retry='some': must be all or failed"),
        (["grid.n_levels=99999999999999999999"], "grid.n_levels=99999999999999999999: must be a whole number <= 1,000,000"),
        (["seeds=99999999999999999999"], "seeds=99999999999999999999: must be a whole number <= 9,223,372,036,854,775,807"),
        (["seeds=0..99999999999"], "seeds='0..99999999999': must be at most 1,000,000 seeds"),
        (["sampler=sdi", "sampler.noise.n_steps=99999999999999999999"], "noise.n_steps=99999999999999999999: must be"),
        (["sampler=sds_dreamfusion", "grid.n_levels=7"], "grid.n_levels=7: sampler=sds_dreamfusion does not read grid"),
        (["-m", "sampler=sds_dreamfusion", "grid.n_levels=7,8"], "grid.n_levels=7: sampler=sds_dreamfusion does not read grid"),
        (["sampler=sds", "direction@sampler.direction=interval"], "direction=interval: needs noise=inversion"),
        (["sampler=rfds"], "direction=velocity: TableSchedule is no rectified flow"),
        (
            ["model=gaussian", "sampler=bridge", "sampler.direction.descriptors=, ugly"],
            "direction=bridge, which asks for more: prompt='narrow, ugly': did you mean 'narrow'? this model",
        ),
        (["sampler=bridge", "sampler.direction.switch=-1"], "direction.switch=-1: must be a whole number >= 0"),
        (["sampler=hifa", "sampler.update.image_share=-1"], "update.image_share=-1: must be a finite number >= 0"),
    ],
)
def test_bad_input_is_one_line_and_nothing_runs(monkeypatch, tmp_path, capsys, words, said) -> None:
    monkeypatch.setattr(sweeps, "execute_all", lambda *_: pytest.fail("something ran"))
    results = [] if any(word.startswith("results=") for word in words) else [f"results={tmp_path}"]
    assert command(monkeypatch, *words, *results) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sdi_bench.run: {said}") and error.count("\n") == 1


def test_a_word_for_a_number_is_one_line_and_status_2(tmp_path) -> None:
    # in a process of its own: here the tests' type checker would speak first
    call = [sys.executable, "-m", "sdi_bench.run", "model=digits", "guidance.scale=strong", f"results={tmp_path}"]
    done = subprocess.run(call, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "sdi_bench.run: guidance.scale='strong': must be a finite number\n")


def test_a_corrupt_image_set_is_refused_and_finished_runs_stay(monkeypatch, tmp_path, capsys) -> None:
    words = ["sampler=ddim", f"results={tmp_path}", "metric=[contrast]", *SMALL]
    assert command(monkeypatch, *words) == 0
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("main/*/*/*")}
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"PK\x03\x04 not an archive")
    assert command(monkeypatch, *words, f"model.path={bad}", "overwrite=true") == 2
    assert f"model.path='{bad}': not a readable image set" in capsys.readouterr().err
    assert made == {path: path.stat().st_mtime_ns for path in tmp_path.glob("main/*/*/*")}


def test_a_damaged_shard_is_named(monkeypatch, tmp_path, capsys) -> None:
    words = ["sampler=ddim", f"results={tmp_path}", "metric=[contrast]", *SMALL]
    assert command(monkeypatch, *words) == 0
    shard = next(tmp_path.glob("main/digits-ddim-g1*/shards/*.npz"))
    whole = shard.read_bytes()
    for n in (0, 100, len(whole) - 1):  # cut off: made again
        shard.write_bytes(whole[:n])
        assert command(monkeypatch, *words) == 0
        assert sorted(np.load(shard)) == sorted(np.load(io.BytesIO(whole)))
    at = whole.index(np.load(shard)["images"].tobytes()[:64])
    shard.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert command(monkeypatch, *words) == 2
    assert f"{shard.name}: damaged" in capsys.readouterr().err


def test_prompt_file_negative_prompt_and_one_seed(monkeypatch, tmp_path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("3\n\n8\n")
    words = [
        "sampler=sds",
        f"results={tmp_path}",
        f"prompt_file={prompts}",
        "seeds=5",
        "negative_prompt='0'",
        "guidance.scale=2",
    ]
    assert command(monkeypatch, *words, *SMALL[2:]) == 0
    record = json.loads(next(tmp_path.glob("main/digits-sds-fresh-g2*/metrics.json")).read_text())
    assert record["n"] == 2
    # 2 items x 6 levels, each with a row for the prompt and one for the negative prompt
    assert record["cost"]["rows"] == {"conditional": 12, "unconditional": 12, "inversion": 0, "other": 0, "training": 0}


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_a_prompt_may_hold_a_comma(tmp_path, flags) -> None:
    said = "a driver's red sofa, side view"
    words = [*flags, f"prompt={said}", "negative_prompt=owl, blue", "seeds=0", f"results={tmp_path}"]
    ((plan, _),) = sweeps.preflight(quoted(words))
    assert [item.prompt for item in plan.items] == [said]
    assert plan.job.sampler.guidance.negative == "owl, blue"
    assert quoted(quoted(words)) == quoted(words)
    assert len(sweeps.preflight(["-m", "model=digits", "prompt=3,8", f"results={tmp_path}"])) == 2


def test_seeds_can_be_swept_and_whole_numbers_name_the_same_run(monkeypatch, tmp_path, capsys) -> None:
    words = ["sampler=ddim", f"results={tmp_path}", "metric=[contrast]", "prompt=[3,8]", *SMALL[2:]]
    assert command(monkeypatch, "-m", *words, "seeds=0..3,4..7") == 0
    assert len(list(tmp_path.glob("main/sweep-*.csv"))) == 1
    capsys.readouterr()
    assert command(monkeypatch, *words, "seeds=0..3", "guidance.scale=1") == 0
    assert "finished earlier, not run again: ddim-12, ddim" in capsys.readouterr().out


def test_dreamfusion_and_its_reference_share_their_guidance(tmp_path) -> None:
    for words, scale in (([], 100.0), (["guidance.scale=7.5"], 7.5)):
        plan, reference = sweeps.preflight(["model=digits", "sampler=sds_dreamfusion", f"results={tmp_path}", *words])[0]
        assert plan.job.sampler.guidance == reference.job.sampler.guidance
        assert plan.job.sampler.guidance.scale == scale


@pytest.mark.parametrize(
    ("schedule", "noise"),
    crossed(
        sorted({path.stem for path in (command_line.conf_dir() / "schedule").glob("*.yaml")} - {"diffusers", "own"}),
        ["fresh", "fixed", "inversion", "interval", "mixed", "previous", "zero"],
    ),
)
def test_no_noise_is_nan_on_any_schedule(tmp_path, schedule: str, noise: str) -> None:
    words = [
        "model=digits",
        "sampler=sds",
        f"schedule={schedule}",
        f"noise@sampler.noise={noise}",
        "seeds=0..7",
        "prompt=3",
        "grid.n_levels=50",
    ]
    plan, _ = sweeps.preflight([*words, f"results={tmp_path}"])[0]
    *_, last = plan.job.states(plan.items, Cost())
    assert bool(last.x0.isfinite().all())


def test_points_of_a_plane_are_drawn_too(monkeypatch, tmp_path) -> None:
    words = ["-m", "sampler=ddim,sds", "model=mixture,gaussian", f"results={tmp_path}", "seeds=0..15", *SMALL[2:]]
    assert command(monkeypatch, *words) == 0
    assert len(list(tmp_path.glob("main/sweep-*.png"))) == 1


def test_sds_and_sdi_differ_in_their_noise_only() -> None:
    texts = [(command_line.conf_dir() / "sampler" / f"{name}.yaml").read_text() for name in ("sds", "sdi")]
    said = [[line for line in text.splitlines() if not line.startswith("#")] for text in texts]
    lines = [pair for pair in zip(*said, strict=True) if pair[0] != pair[1]]
    assert lines == [("  - /noise@noise: fresh", "  - /noise@noise: inversion")]
    assert yaml.safe_load(texts[0]).keys() == yaml.safe_load(texts[1]).keys()


@pytest.mark.parametrize(
    "choice",
    [
        f"{folder.name}={path.stem}"
        if folder.name not in ("noise", "update", "direction", "student")
        else f"{folder.name}@sampler.{'direction.' if folder.name == 'student' else ''}{folder.name}={path.stem}"
        for folder in sorted(command_line.conf_dir().iterdir())
        if folder.is_dir()
        and folder.name not in ("hydra", "metric", "experiment", "figure", "recipe")  # tests/test_plot.py, tests/test_train.py
        and folder.name not in ("preset", "deviation")  # tests/test_presets.py
        for path in sorted(folder.glob("*.yaml"))
        if path.stem != "diffusers"  # needs a folder: tests/test_diffusers_folder.py
        and (folder.name, path.stem) != ("schedule", "own")  # needs a model that has one: tests/test_own_network.py
    ],
)
def test_every_configuration_is_composed_instantiated_and_runs(tmp_path, choice) -> None:
    own = {
        "sampler=sds_dreamfusion": ["n_steps=5"],
        "sampler=lucid_dreamer": ["n_steps=5"],
        "sampler=sdi_released": ["n_targets=3", "n_spans=2"],
    }.get(choice)
    grid = ["grid.n_levels=4"] if own is None else [f"sampler.timeline.{word}" for word in own]
    words = [choice, "seeds=0..1", *grid, "reference.grid.n_levels=3", f"results={tmp_path}"]
    if "@" in choice:
        named = {"direction": {"dds": "dds", "pds": "pds", "entropic": "esd", "mean_shift": "msd"}, "student": {}}
        kind, name = choice.partition("@")[0], choice.partition("=")[2]
        usual = "vsd" if kind == "student" else "sdi" if "interval" in choice else "sds"
        words.append(f"sampler={named.get(kind, {}).get(name, usual)}")
    if not choice.startswith(("model=", "scene=", "probe=")) and "sampler=esd" not in (choice, *words):
        words.append("model=digits")
    if "exact_root" in choice:
        words.append("model=gaussian")
    if choice.startswith("scene="):
        words += [
            "model.size=32",
            "prompt=[a brown table]",
            "sampler=sds",
            "update@sampler.update=adam",
            "sampler.update.n_inner=1",
        ]
    if "sampler=esd" in words:
        words += [
            "model=builtin_3d",
            "model.size=8",
            "scene=voxel",
            "scene.resolutions=[4]",
            "scene.n_samples=4",
            "scene.n_views=2",
        ]
        words += ["update@sampler.update=adam_step", "prompt=[a brown table]", "reference=null"]
    if choice.endswith("student=exact"):
        words.append("model=gaussian")
    if choice in ("sampler=rfds", "direction@sampler.direction=velocity"):
        words.append("schedule=flow")
    if choice.startswith("probe="):
        words += ["model=digits", "sampler=sds" if choice == "probe=spread" else "sampler=ddim", "prompt=[3]"]
    if choice == "probe=root_count":
        words = [w for w in words if not w.startswith(("model", "prompt"))]
        words += ["model=mixture", "model.centres=[[-1],[1]]", "model.labels=[a,b]", "model.widths=[0.2,0.2]"]
    for plan in sweeps.preflight(words)[0]:
        if plan.probe is not None:
            found = plan.probe.measure(plan.job, plan.items, Cost())
            assert all(len(value) == len(plan.items) for value in found.values())
            continue
        states = list(plan.job.states(plan.items, Cost()))
        assert len(states) == plan.job.sampler.n_states
        assert all(bool(state.x0.isfinite().all()) for state in states)
