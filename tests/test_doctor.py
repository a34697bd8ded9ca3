"""Each check of the doctor finds the fault that is planted for it, and no other; what it says is a report, whatever happens."""

import os
import re
import socket
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from sdi_bench import doctor, sweeps
from sdi_bench.data import shipped
from sdi_bench.doctor import BAD, NOTE, OK, Line

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ADDED = [f"{word}; extra == '{extra}'" for extra, words in PROJECT["optional-dependencies"].items() for word in words]
HERE = Path("results")
VERSIONS = {"scipy": "1.17.1", "clean-fid": "0.1.35"}
"""Of packages whose newest might not do; all others are of version 999."""


@pytest.fixture(autouse=True)
def asked(monkeypatch) -> Iterator[None]:
    """Whatever is installed, what is asked for is what pyproject.toml says, and all of it is there."""
    monkeypatch.setattr(doctor, "requires", lambda name: PROJECT["dependencies"] + ADDED)
    monkeypatch.setattr(doctor, "version", lambda name: VERSIONS.get(name, "999"))
    shipped.shipped.cache_clear()
    yield
    shipped.shipped.cache_clear()


def there(monkeypatch, **versions: str | None) -> None:
    """Plant versions; None: not installed. `_` stands for `-`."""

    def version(name: str) -> str:
        found = versions.get(name.replace("-", "_"), VERSIONS.get(name, "999"))
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(doctor, "version", version)


def lines(check, clip: str | None = None, results: Path = HERE) -> dict[str, Line]:
    return {one.name: one for one in check(results, clip)}


def said(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["doctor", *words])
    return doctor.main(), *capsys.readouterr()


def test_this_machine_is_fit_and_nothing_is_fetched_or_left(monkeypatch, capsys, tmp_path) -> None:
    called: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *words: called.append(words))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **more: called.append(words))
    code, out, err = said(monkeypatch, capsys, f"results={tmp_path}/deep/results")
    assert (code, called, err, list(tmp_path.iterdir())) == (0, [], "", [])
    assert out.splitlines()[0] == "fit for the main job: python -m sdi_bench.run"
    assert re.findall("^[a-z].*", out, flags=re.M)[1:] == ["packages", "machine", "program", "more"]
    assert "  ok   main job " in out and "  ok   data, weights " in out and " BAD " not in out
    texts = re.findall(r"^  (?:ok |-  )  \S+(?: \S+)* {2,}(?=\S)", out, flags=re.M)
    assert len(texts) > 20 and len({len(found) for found in texts}) == 1


@pytest.mark.parametrize(
    ("name", "version", "good"),
    [
        ("scipy", "1.17.9", True),
        ("scipy", "1.18.0", False),
        ("torch", "2.3.1", False),
        ("torch", "2.4.0+cu121", True),
        ("numpy", "3.0.0rc1", True),
        ("diffusers", None, False),
    ],
)
def test_a_package_out_of_range_is_named(name: str, version: str | None, good: bool, monkeypatch) -> None:
    there(monkeypatch, **{name: version})
    found = lines(doctor.packages)
    assert [one.name for one in found.values() if one.mark != OK] == ([] if good else [name])
    assert len(found) == 1 + len(PROJECT["dependencies"])
    assert found[name].text.split()[0] == (version or "missing")
    assert found[name].command == ("" if good else "pip install -c constraints.txt -e .")


def test_an_old_python_and_a_package_that_is_not_installed_are_named(monkeypatch) -> None:
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.10.2")
    assert lines(doctor.packages)["Python"] == Line(BAD, "Python", "3.10.2        wants >=3.11")

    def metadata(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "metadata", metadata)
    monkeypatch.setattr(doctor, "CHECKS", (("packages", BAD, doctor.packages),))
    (found,) = doctor.report(HERE, None)["packages"]
    assert (found.mark, found.command) == (BAD, "pip install -c constraints.txt -e .") and "sdi-bench" in found.text


def test_the_extras_are_those_of_the_project() -> None:
    for _, extra, names in doctor.EXTRAS:
        listed = PROJECT["optional-dependencies"].get(extra)
        if extra == "cluster":
            assert listed is None or any(word.startswith(names[0]) for word in listed)
        else:
            assert sorted(re.split("[<>=]", word)[0] for word in listed) == sorted(names)


def test_what_an_extra_lacks_is_told_with_its_command(monkeypatch) -> None:
    there(monkeypatch, trimesh=None, clean_fid="0.1.2", hydra_ray_launcher=None)
    found = lines(doctor.more)
    lacking = {"3D meshes, .glb", "FID", "cluster, ray", "FID weights", "CLIP score", "CLIP-IQA", "reward"}
    assert {one.name for one in found.values() if one.mark == NOTE} == lacking
    assert found["3D meshes, .glb"][2:] == ("wants trimesh>=5 (missing)", "pip install -c constraints.txt -e '.[mesh]'")
    assert found["FID"][2:] == ("wants clean-fid>=0.1.35 (0.1.2)", "pip install -c constraints.txt -e '.[fid]'")
    assert found["cluster, joblib"] == Line(OK, "cluster, joblib", "hydra-joblib-launcher 999")
    monkeypatch.setattr(doctor, "requires", lambda name: [])  # an older install, whose metadata knows no such extras
    assert lines(doctor.more)["cluster, ray"].command == "pip install hydra-ray-launcher"
    monkeypatch.setattr(doctor, "requires", lambda name: ["hydra-ray-launcher>=1.2; extra == 'cluster'"])
    assert lines(doctor.more)["cluster, ray"].command == "pip install -c constraints.txt -e '.[cluster]'"
    monkeypatch.setattr(doctor, "CHECKOUT", False)
    assert lines(doctor.more)["cluster, ray"].command == "pip install 'sdi-bench[cluster]'"


def test_inceptions_file_is_looked_for(monkeypatch, tmp_path) -> None:
    path = tmp_path / "my weights" / "inception.pt"
    monkeypatch.setenv("SDI_BENCH_INCEPTION", str(path))
    assert lines(doctor.more)["FID weights"].command == f"curl --create-dirs -fLo '{path}' {doctor.INCEPTION}"
    path.parent.mkdir()
    path.touch()
    assert lines(doctor.more)["FID weights"] == Line(OK, "FID weights", str(path))


def test_a_clip_folder_is_looked_at(tmp_path) -> None:
    for name, text, wanted in (
        ("config.json", '{"model_type": "clip"}', "has no tokenizer"),
        ("tokenizer.json", "{}", "has no weights"),
        ("model.safetensors", "", ""),
    ):
        assert lines(doctor.more, str(tmp_path))["CLIP score"].mark == NOTE
        (tmp_path / name).write_text(text)
        found = lines(doctor.more, str(tmp_path))["CLIP score"]
        assert wanted in found.text
        assert found.command.startswith("hf download openai/clip") == bool(wanted)
    assert found == Line(OK, "CLIP score", f"metric.clip_score.folder={str(tmp_path)!r}")
    assert lines(doctor.more, str(tmp_path))["CLIP-IQA"] == Line(OK, "CLIP-IQA", f"metric.clip_iqa.folder={str(tmp_path)!r}")


@pytest.mark.parametrize(("threads", "said", "many"), [(2, "2", False), (8, "", True), (2, "8", True), (1, "1,2", False)])
def test_more_threads_than_cores_get_advice(threads: int, said: str, many: bool, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    found = lines(doctor.devices)
    assert found["cpu"].text.startswith(f"cores: 2, threads of torch: {threads},")
    assert ("threads" in found) == many
    assert not many or found["threads"].command == "export OMP_NUM_THREADS=2"


@pytest.mark.parametrize(
    ("quota", "cores"), [(None, 8), ("max 100000\n", 8), ("250000 100000\n", 2), ("50000 100000\n", 1), ("9900000 100000", 8)]
)
def test_cores_are_those_of_the_container(quota: str | None, cores: int, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(doctor, "QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert doctor.cores() == cores


def test_gpus_are_named_and_one_that_does_not_compute_is_not_offered(monkeypatch) -> None:
    ones = torch.ones

    def planted(n: int, device: str) -> torch.Tensor:
        if device == "cuda:1":
            raise RuntimeError("no kernel image is available\nfor execution on the device")
        return ones(n)

    monkeypatch.setattr(torch, "ones", planted)
    for name, value in (
        ("is_available", lambda: True),
        ("device_count", lambda: 2),
        ("get_device_name", lambda k: f"GPU {k}"),
        ("mem_get_info", lambda k: (3 * 2**30, 8 * 2**30)),
    ):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    found = lines(doctor.devices)
    assert found["cuda:0"][:3] == (OK, "cuda:0", "GPU 0, 8.0 GiB of memory, 3.0 GiB of it free")
    assert found["cuda:1"].mark == NOTE and "no kernel image is available for" in found["cuda:1"].text
    assert found["device="].text == "device=cpu is the default; device=cuda:0 works too"
    assert "cuda" not in found and found["mps"].text.startswith("there")


def test_results_that_cannot_be_written_are_told(monkeypatch, tmp_path) -> None:
    (tmp_path / "file").touch()
    found = lines(doctor.disk, results=tmp_path / "file" / "results")["results"]
    assert found.mark == BAD and "cannot write there (Not a directory)" in found.text and found.command
    (tmp_path / "kept").mkdir()
    assert lines(doctor.disk, results=tmp_path / "kept" / "a" / "b")["results"].mark == OK
    assert lines(doctor.disk, results=tmp_path / "kept")["results"].mark == OK
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["file", "kept"]
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("usage", (), {"free": 499e6}))
    assert lines(doctor.disk, results=tmp_path)["results"].mark == BAD


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_told(tmp_path) -> None:
    tmp_path.chmod(0o500)
    found = lines(doctor.disk, results=tmp_path / "results")["results"]
    assert (found.mark, "Permission denied" in found.text) == (BAD, True)


def test_files_that_are_changed_or_missing_are_named(monkeypatch, tmp_path) -> None:
    for name in shipped.sums():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(shipped.HERE / name)
    monkeypatch.setattr(shipped, "HERE", tmp_path)
    assert [one.mark for one in doctor.data(HERE, None)] == [OK]
    shipped.shipped.cache_clear()
    content = bytearray((tmp_path / "digits.npz").read_bytes())
    content[7] ^= 1
    (tmp_path / "digits.npz").unlink()
    (tmp_path / "digits.npz").write_bytes(content)
    (tmp_path / "world/03.webp").unlink()
    found = lines(doctor.data)
    assert {name: (one.mark, one.text.split(",")[0]) for name, one in found.items()} == {
        "digits.npz": (BAD, "damaged"),
        "world/03.webp": (BAD, "missing"),
    }
    assert {one.command for one in found.values()} == {"git checkout -- sdi_bench/data"}
    monkeypatch.setattr(doctor, "CHECKOUT", False)
    assert lines(doctor.data)["digits.npz"].command == "pip install 'sdi-bench' --force-reinstall --no-deps"


def planted(results: Path, clip: str | None) -> Iterator[Line]:
    yield Line(OK, "before", "fine")
    warnings.warn("the driver\nis old", stacklevel=1)
    raise KeyError("planted")


@pytest.mark.parametrize(("mark", "wanted"), [(BAD, 1), (NOTE, 0)])
def test_a_check_that_raises_is_a_line(mark: str, wanted: int, monkeypatch, capsys) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (("first", mark, planted), ("second", BAD, lambda *_: iter([Line(OK, "b", "c")]))))
    code, out, err = said(monkeypatch, capsys)
    head = "not fit: planted fails: KeyError: 'planted'" if wanted else "fit for the main job: python -m sdi_bench.run"
    assert (code, err) == (wanted, "")
    assert out.splitlines() == [
        head,
        "",
        "first",
        "  ok   before   fine",
        f"  {mark:3}  planted  fails: KeyError: 'planted'",
        "  -    warning  the driver is old",
        "",
        "second",
        "  ok   b        c",
    ]


def test_a_main_job_that_would_not_start_is_told(monkeypatch) -> None:
    def refuse(argv: list[str]) -> None:
        raise ValueError("device='cpu': not to be had here")

    monkeypatch.setattr(sweeps, "preflight", refuse)
    monkeypatch.setattr(doctor, "CHECKS", (("program", BAD, doctor.main_job),))
    assert doctor.report(HERE, None)["program"] == [
        Line(BAD, "main job", "fails: ValueError: device='cpu': not to be had here")
    ]


def test_the_first_line_says_why_and_a_command_is_said_once() -> None:
    found = {"a": [Line(BAD, name, "is   bad", "mend") for name in "wxyz"]}
    told = doctor.shown(found).splitlines()
    assert told[0] == "not fit: w is bad; x is bad; y is bad; 1 more"
    assert [line.strip() for line in told[3:]].count("mend") == 1 and told[-1].strip() == "mend"


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("result=x", "result=x: no such setting; there are results=FOLDER and clip=FOLDER"),
        ("results", "results: no such setting; there are results=FOLDER and clip=FOLDER"),
        ("results=", "results='': must name a folder"),
        (f"results={__file__}", f"results={__file__!r}: must name a folder"),
        (f"clip={__file__}", f"clip={__file__!r}: must name a folder"),
    ],
)
def test_bad_input_is_one_line(word: str, wanted: str, monkeypatch, capsys) -> None:
    assert said(monkeypatch, capsys, word) == (2, "", f"sdi_bench.doctor: {wanted}\n")


def test_help_is_the_docstring(monkeypatch, capsys) -> None:
    assert said(monkeypatch, capsys, "--help") == (0, f"{doctor.__doc__}\n", "")


def test_without_torch_it_still_reports_where_all_else_stops(tmp_path) -> None:
    """Also on a terminal that knows ASCII alone."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module named torch')")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "PYTHONIOENCODING": "ascii"}

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *words], env=env, cwd=tmp_path, capture_output=True, text=True)

    assert "No module named torch" in python("-c", "import sdi_bench").stderr
    done = python("-m", "sdi_bench.doctor", "clip=é")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("not fit: disk fails: ModuleNotFoundError: No module named torch; main job fails: ")
    assert "  ok   data, weights " in done.stdout and "Traceback" not in done.stdout
