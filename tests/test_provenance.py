"""What is written beside results says how to have them again, and on what they were made."""

import json
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from sdi_bench import evaluate, invert, provenance, run, sweeps
from sdi_bench.store import RESULTS_VERSION
from sdi_bench.words import quoted

DIGITS = ("model=digits", "sampler=ddim", "grid.n_levels=3", "reference=null", "metric=[]")
AWKWARD = ["it's a sofa", 'a "quoted" sofa', "a, b", "$5 & `x`; {y} | z*", "back\\slash", "größe 椅子"]


def record(folder: Path, name: str = "provenance.json") -> dict:
    found = json.loads((folder / name).read_text())
    assert isinstance(found, dict)
    return found


def ran(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["run", *words])
    run.main()


def only(folder: Path) -> Path:
    (path,) = [path.parent for path in folder.glob("main/*/provenance.json")]
    return path


def test_a_record_says_all_that_computes(monkeypatch) -> None:
    """Each against its source; nothing in it is more than plain data."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    told = json.loads(json.dumps(provenance.provenance("sdi_bench.run", ["seeds=0"])))
    for name in ("torch", "numpy", "scipy", "diffusers", "transformers", "tokenizers", "safetensors", "torchmetrics", "pillow"):
        assert told["versions"][name] == version(name)
    assert {"hydra-core", "omegaconf"} <= set(told["versions"]) and "no-such-package" not in told["versions"]
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(told["date"]) < timedelta(seconds=20)
    assert told["process"] == shlex.join([Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]])
    assert told["threads"] == torch.get_num_threads() and told["results_version"] == RESULTS_VERSION
    assert told["arithmetic"]["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    switches = {"matmul_tf32", "matmul_precision", "cudnn_tf32", "cudnn_benchmark", "cudnn_deterministic", "deterministic"}
    assert switches < set(told["arithmetic"]) and "CUDA and MPS have finished" in told["clock"]
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = not before
    try:
        assert provenance.arithmetic()["matmul_tf32"] is (not before)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert torch.__config__.show().splitlines()[1].split("- ")[1] in told["arithmetic"]["torch"]  # the compiler
    assert told["environment"]["ONEDNN_MAX_CPU_ISA"] == "AVX2" and "PATH" not in told["environment"]
    assert told["device"]["cpu"] and ("cuda" in told["device"]) == torch.cuda.is_initialized()


def test_cuda_devices_are_named_once_in_use(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda k: f"card {k}")
    monkeypatch.setattr(provenance, "driver", lambda: "580.1")
    told = provenance.device()
    assert (told["cuda"], told["driver"]) == (["card 0", "card 1"], "580.1") and "cudnn" in told


@pytest.mark.parametrize("words", [["a b", "x='"], ["prompt=$HOME `id` \\ \"'", "*", "", "~", "#", "ü\n"], ["-m", "a=b,c"]])
def test_a_shell_reads_the_command_as_it_was_typed(words: list[str]) -> None:
    line = provenance.provenance("sdi_bench.run", words)["command"]
    seen = subprocess.run(["sh", "-c", f'python() {{ printf "%s\\0" "$@"; }}; {line}'], capture_output=True, check=True).stdout
    assert seen.decode().split("\0")[:-1] == ["-m", "sdi_bench.run", *words]


@pytest.mark.parametrize("prompt", AWKWARD)
def test_words_that_were_made_ready_for_hydra_are_ready(prompt: str) -> None:
    """The command is stored as Hydra was given it: pasted back, it must come out the same."""
    ready = quoted([f"prompt={prompt}", "-m", "seeds=0..3"])
    assert quoted(ready) == ready


def test_the_stored_command_finds_its_own_results(monkeypatch, tmp_path) -> None:
    ran(monkeypatch, *DIGITS, f"results={tmp_path}/it is here", "prompt=[3,7]", "seeds=0..1")
    words = shlex.split(record(only(tmp_path / "it is here"))["command"])
    assert words[:3] == ["python", "-m", "sdi_bench.run"]
    ((plan,),) = sweeps.preflight(words[3:])
    assert plan.folder.path == only(tmp_path / "it is here") and not plan.missing


def test_a_run_that_is_extended_keeps_the_commands_that_began_it(monkeypatch, tmp_path) -> None:
    for seeds in ("0", "0..1", "0..2"):
        ran(monkeypatch, *DIGITS, "prompt=[3]", f"seeds={seeds}", f"results={tmp_path}")
    told = record(only(tmp_path))
    asked = [[word for word in shlex.split(one["command"]) if word.startswith("seeds")] for one in [*told["earlier"], told]]
    assert asked == [["seeds=0"], ["seeds=0..1"], ["seeds=0..2"]]
    assert all("earlier" not in one and one["versions"] for one in told["earlier"])
    ran(monkeypatch, *DIGITS, "prompt=[3]", "seeds=0..2", f"results={tmp_path}")  # nothing to do: nothing to say
    assert record(only(tmp_path)) == told


def test_what_measures_and_inverts_says_so_too(monkeypatch, tmp_path) -> None:
    ran(monkeypatch, *DIGITS, "prompt=[3]", "seeds=0..2", f"results={tmp_path}")
    made = str(only(tmp_path))
    monkeypatch.setattr(sys, "argv", ["evaluate", made, "metric=[sharpness]", f"output={tmp_path}/a.csv"])
    evaluate.main()
    line = shlex.split(record(tmp_path, "a.provenance.json")["command"])
    assert line == ["python", "-m", "sdi_bench.evaluate", made, "metric=[sharpness]", f"output={tmp_path}/a.csv"]
    words = ["model=digits", "grid.n_levels=3", "prompt=3", f"output={tmp_path}/back"]
    monkeypatch.setattr(sys, "argv", ["invert", *words])
    invert.main()
    assert shlex.split(record(tmp_path / "back", "round_trip.provenance.json")["command"])[3:] == words


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_the_checkouts_and_no_one_elses(tmp_path) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    commit = provenance.commit.__wrapped__
    ours, theirs = tmp_path / "sdi_bench", tmp_path / ".venv" / "sdi_bench"
    for package in (ours, theirs):
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a.yaml").write_text("x: 1\n")
    assert commit(ours) == {"commit": None}  # no checkout at all: a wheel
    (tmp_path / ".gitignore").write_text(".venv\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    assert commit(ours) == {"commit": head, "changed": False}
    assert commit(theirs) == {"commit": None}  # installed inside somebody's checkout
    (tmp_path / "results.csv").write_text("")
    assert commit(ours) == {"commit": head, "changed": False}
    (tmp_path / "conf" / "a.yaml").write_text("x: 2\n")
    assert commit(ours) == {"commit": head, "changed": True}


def test_the_source_has_another_hash_once_a_line_differs(monkeypatch, tmp_path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    first = provenance.source.__wrapped__()
    (tmp_path / "a.py").write_text("x = 2\n")
    assert provenance.source.__wrapped__() != first


def test_the_report_shows_every_command_of_a_run(tmp_path) -> None:
    from sdi_bench.reading import Run
    from sdi_bench.report.page import about

    made = {"command": "b", "date": "2", "earlier": [{"command": "a", "date": "1"}]}
    told = about(Run(provenance.RunFolder(tmp_path), {}, made, (), None), [], {})
    assert told.commands == [("as it was run, 1", "a"), ("as it was run, 2", "b")]
    before = about(Run(provenance.RunFolder(tmp_path), {}, {"command": "make"}, (), None), [], {})
    assert before.commands == [("as it was run", "make")]  # a record of an earlier release
