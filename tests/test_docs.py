"""README and CONTRIBUTING are true: their code runs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
README, CONTRIBUTING = ((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)


def test_the_five_line_api_of_the_readme_runs() -> None:
    scope: dict[str, object] = {}
    exec(blocks(README, "python")[0], scope)
    images = scope["images"]
    assert isinstance(images, torch.Tensor)
    assert images.shape == (8, 1, 8, 8)
    assert images.dtype == torch.float64
    assert float(images.abs().max()) < 2


def test_the_readme_names_every_choice() -> None:
    table = README.split("## What there is")[1].split("## Symbols")[0]
    for folder in sorted((ROOT / "conf").iterdir()):
        if folder.is_dir() and folder.name != "guidance":
            for path in folder.glob("*.yaml"):
                assert f"`{path.stem}`" in table, f"{folder.name}/{path.name} is not in the README"


@pytest.mark.slow
def test_every_sweep_the_readme_shows_is_accepted(tmp_path, monkeypatch) -> None:
    from sdi_bench import sweeps

    lines = [line for block in blocks(README, "bash") for line in block.splitlines() if "sdi_bench.run" in line]
    commands = [line for line in lines if "--config-dir" not in line]  # that one runs: tests/test_own_network.py
    assert len(commands) >= 4
    for line in commands:
        words = shlex.split(line.split("sdi_bench.run")[1], comments=True)
        here = [word for word in words if not word.startswith("hydra")]  # launchers are an extra
        assert sweeps.preflight([*here, f"results={tmp_path}"])


def test_adding_a_sampler_is_what_contributing_says(tmp_path) -> None:
    for name in ("sdi_bench", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    sampler, oracle = blocks(CONTRIBUTING, "python")
    (tmp_path / "sdi_bench/samplers/midpoint.py").write_text(sampler)
    (tmp_path / "conf/sampler/midpoint.yaml").write_text(blocks(CONTRIBUTING, "yaml")[0])
    path = tmp_path / "sdi_bench/verify/oracles/recursions.py"

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run([sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True)

    check = "from pathlib import Path; from sdi_bench.verify.oracles import missing; print(missing(Path('conf')))"
    assert "sampler/midpoint" in python("-c", check).stdout  # a yaml without an oracle is noticed
    path.write_text(path.read_text() + "\n\n" + oracle)
    assert python("-c", check).stdout.strip() == "[]"
    words = [
        "model=digits",
        "sampler=midpoint",
        "seeds=0..1",
        "prompt=3",
        "grid.n_levels=5",
        "reference.grid.n_levels=5",
        "metric=[contrast]",
    ]
    done = python("-m", "sdi_bench.run", *words)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^midpoint .* 5/0/0/4 ", done.stdout, flags=re.M)
    claims = (
        "from sdi_bench.verify.oracles import ORACLES, cases, deviation\n"
        "for case in cases(False):\n"
        "    for claim in ORACLES['sampler/midpoint'](case):\n"
        "        print(float(deviation(case, claim).max()))\n"
    )
    units = [float(line) for line in python("-c", claims).stdout.split()]
    assert len(units) == 3
    assert max(units) <= 1
    assert max(units) > 0


@pytest.mark.slow
def test_adding_a_family_of_checkpoints_is_what_contributing_says(tmp_path) -> None:
    for name in ("sdi_bench", "conf", "hydra_plugins", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    paths = [
        tmp_path / "sdi_bench/models/checkpoints/families/stable_diffusion_3.py",
        tmp_path / "tests/families/stable_diffusion_3.py",
    ]
    for path in paths:
        path.unlink()
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    env = {key: value for key, value in env.items() if not key.startswith("PYTEST")}
    words = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:warnings", "tests/test_families.py", "-k", "SD3"]

    for path, text in zip(paths, blocks(CONTRIBUTING, "python family"), strict=True):
        path.write_text(text)
        assert text == (ROOT / path.relative_to(tmp_path)).read_text(), path.name
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-2000:]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text()):
        assert target.startswith("https://") or (ROOT / target).exists(), target
