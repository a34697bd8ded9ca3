"""torchvision beside a torch that it was not built for: a stand-in for it; tests/fid has the real one where it is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

LACKING = """
import torch
from . import part
torch.library.register_fake("torchvision::nms")(lambda dets, scores, iou: dets.new_empty(0))
from .late import value
"""


def imported(home: Path, init: str, program: str) -> subprocess.CompletedProcess[str]:
    """A fresh process beside a package of that name."""
    package = home / "torchvision"
    package.mkdir()
    for name, text in (
        ("__init__", init),
        ("part", "import builtins\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1"),
        ("late", "value = 7"),
    ):
        (package / f"{name}.py").write_text(text)
    paths = f"import sys; sys.path.insert(0, {str(home)!r}); "
    return subprocess.run([sys.executable, "-c", paths + program], capture_output=True, text=True)


def test_operators_that_are_missing_are_declared(tmp_path) -> None:
    done = imported(tmp_path, LACKING, "import sdi_bench, torchvision, builtins; print(torchvision.value, builtins.runs)")
    assert done.stdout.split() == ["7", "1"], done.stderr  # what had been imported is not run again


def test_without_it_the_import_fails(tmp_path) -> None:
    done = imported(tmp_path, LACKING, "import torchvision")
    assert "operator torchvision::nms does not exist" in done.stderr


@pytest.mark.parametrize(
    ("init", "said"),
    [("raise RuntimeError('another fault')", "another fault"), ("import no_such", "No module named 'no_such'")],
)
def test_other_faults_are_not_hidden(init: str, said: str, tmp_path) -> None:
    done = imported(tmp_path, init, "import sdi_bench, torchvision")
    assert done.returncode == 1 and said in done.stderr.splitlines()[-1]


def test_one_that_fits_is_run_once_and_nothing_is_declared(tmp_path) -> None:
    said = "print(builtins.runs, sdi_bench._torchvision.DECLARED)"
    done = imported(tmp_path, "from . import part", f"import sdi_bench, torchvision, builtins; {said}")
    assert done.stdout.strip() == "1 []", done.stderr
