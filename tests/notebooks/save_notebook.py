"""python tests/notebooks/save_notebook.py [NAME ...]: execute notebooks/NAME.py (or all) in full and save each .ipynb.

Nothing of this machine or of the clock is saved beside what the cells themselves show.
"""

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent.parent.parent / "notebooks"
METADATA = {
    "jupytext": {"formats": "ipynb,py:percent"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def read(path: Path) -> NotebookNode:
    """The cells of a .py, without outputs, each with an id of its own that stays."""
    notebook = jupytext.read(path)
    notebook.metadata = nbformat.from_dict(METADATA)
    for k, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{k}"
    return nbformat.from_dict(notebook | {"nbformat": 4, "nbformat_minor": 5})


def execute(notebook: NotebookNode, timeout: int = 600) -> NotebookNode:
    """The same with outputs, run where a reader's would be. Raises CellExecutionError."""
    NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", record_timing=False, resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def main() -> None:
    """Execute and save."""
    for name in sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.py")):
        notebook = execute(read(FOLDER / f"{name}.py"))
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")
        print("written:", FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
