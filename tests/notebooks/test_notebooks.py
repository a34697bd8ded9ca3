"""The notebooks run as a newcomer would run them, define nothing, and are saved as they run."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
NAMES = [path.stem for path in SOURCES]
MISSING = [name for name in ("jupytext", "nbformat", "nbclient", "ipykernel") if find_spec(name) is None]
needs_jupyter = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; pip install -e '.[notebooks]'")


def defined(code: str) -> list[str]:
    """What a source defines: functions, classes, and lambdas that get a name."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and isinstance(node.value, ast.Lambda):
            found.append("lambda")
    return found


def spoken(notebook: Any) -> list[tuple[str, str]]:
    """(kind, text) of every output; pictures are no text."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            kind = output.get("name", output["output_type"])
            found += [(kind, output.get("text", "")), *((kind, text) for form, text in data.items() if form.startswith("text"))]
    return found


@pytest.mark.parametrize(
    "code", ["def f(): pass", "async def f(): pass", "class A: pass", "f = lambda: 0", "print(f := lambda: 0)"]
)
def test_a_definition_is_noticed(code: str) -> None:
    assert defined(f"if True:\n    {code}")
    assert not defined("x = sorted([1], key=lambda v: v)\nfor y in x:\n    print(y)")


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_notebooks_define_nothing(path: Path) -> None:
    assert not defined(path.read_text())


IN_EVERY_RUN = ("00_tour", "04_benchmark")
"""The others with -m slow."""


@needs_jupyter
@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in IN_EVERY_RUN else pytest.mark.slow) for name in NAMES])
def test_quick_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import save_notebook

    if name == "04_benchmark" and not (ROOT / "results" / "benchmark2d" / "measures.csv").is_file():
        pytest.skip("results/benchmark2d holds no tables yet")
    monkeypatch.setenv("SDI_BENCH_QUICK", "1")
    places = [ROOT / "notebooks", ROOT / "results"]
    before = [sorted(place.iterdir()) for place in places]
    done = save_notebook.execute(save_notebook.read(ROOT / "notebooks" / f"{name}.py"), timeout=400)
    assert not [text for kind, text in spoken(done) if kind in ("stderr", "error")]
    assert [cell.execution_count for cell in done.cells if cell.cell_type == "code"][-1] > 1
    assert [sorted(place.iterdir()) for place in places] == before


@needs_jupyter
@pytest.mark.parametrize("name", NAMES)
def test_saved_notebook_is_the_source_executed(name: str) -> None:
    import nbformat
    import save_notebook

    saved = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    nbformat.validate(saved)
    source = save_notebook.read(ROOT / "notebooks" / f"{name}.py")
    assert [(cell.cell_type, cell.source) for cell in saved.cells] == [(cell.cell_type, cell.source) for cell in source.cells]
    assert saved.metadata == source.metadata
    code = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    assert not [text for kind, text in spoken(saved) if kind in ("stderr", "error")]


@needs_jupyter
@pytest.mark.parametrize("name", NAMES)
def test_saved_notebook_names_no_machine(name: str) -> None:
    import nbformat

    saved = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    told = "\n".join([text for _, text in spoken(saved)] + [str(saved.metadata)] + [str(cell.metadata) for cell in saved.cells])
    assert not re.findall(r"(?<![\w.])(?:~|/(?:home|root|tmp|work|Users|usr|opt|var|mnt))/[^\s'\"]*|[A-Z]:\\\w+", told)
