"""Lint, format, types, import layers, and what `import sdi_bench` may load: each as the tool itself says."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINT_IMPORTS = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["-m", "ruff", "check", "."], id="lint"),
        pytest.param(["-m", "ruff", "format", "--check", "."], id="format"),
        pytest.param(["-m", "mypy"], id="types"),
        pytest.param(["-c", LINT_IMPORTS], id="layers"),
    ],
)
def test_clean(words: list[str]) -> None:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_test_file_has_a_name_of_its_own() -> None:
    """Else pytest collects only the first of them, once all extras are installed."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("diffusers", "transformers", "hydra", "torchmetrics", "matplotlib", "pandas")
    code = f"import sys, sdi_bench; print([m for m in {heavy} if m in sys.modules])"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_built_wheel_works_away_from_the_checkout(tmp_path) -> None:
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(words, check=True, capture_output=True)
    site = tmp_path / "site"
    wheel = next(tmp_path.glob("*.whl"))
    held = set(zipfile.ZipFile(wheel).namelist())
    for place, there in (("sdi_bench", "sdi_bench"), ("conf", "sdi_bench/conf"), ("hydra_plugins", "hydra_plugins")):
        files = [path for path in (ROOT / place).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {f"{there}/{path.relative_to(ROOT / place).as_posix()}" for path in files} <= held
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], check=True)
    run = ["sampler=sds", "seeds=0..1", "prompt=owl", "grid.n_levels=3", "reference.grid.n_levels=3", "metric=[contrast]"]
    code = "import sdi_bench; print(sdi_bench.__file__)"
    for words in (["-c", code], ["-m", "sdi_bench.run", *run, "plots=true"], ["-m", "sdi_bench.report", "results/main"]):
        env = os.environ | {"PYTHONPATH": str(site)}
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert str(tmp_path) in done.stdout or "results/main" in done.stdout
    assert list(tmp_path.glob("results/main/*/metrics.json"))
    assert len(list(tmp_path.glob("results/main/plots/*.png"))) == 6 and (tmp_path / "results/main/report.html").exists()
