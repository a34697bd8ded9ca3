"""What the pages and results/published say is what the code gives today."""

import importlib
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import quoted

from sdi_bench import run
from sdi_bench.evaluate import TABLES, read_table

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "results" / "published"


QUOTING = sorted(path.parent.name for path in ROOT.glob("results/*/README.md") if quoted.BLOCK.search(path.read_text()))


@pytest.mark.parametrize("name", QUOTING)
def test_the_pages_show_the_tables(name: str) -> None:
    """python tests/quoted.py writes them anew."""
    page = ROOT / "results" / name / "README.md"
    text = page.read_text(encoding="utf-8")
    assert quoted.written(text, page.parent) == text
    table = quoted.BLOCK.findall(text)[0][3]
    number = re.findall(r"\d+\.\d+", table)[-1]
    other = text.replace(number, number[:-1] + str((int(number[-1]) + 1) % 10), 1)
    assert quoted.written(other, page.parent) != other  # one digit of a table


def test_each_published_table_has_a_page() -> None:
    assert {"published", "guided", "trained", "benchmark2d", "benchmark3d"} <= set(QUOTING)
    for path in ROOT.glob("results/*/*.txt"):
        assert path.with_name("README.md").is_file(), path


@pytest.mark.parametrize("sampler", ["ddim", "sds"])
def test_the_published_numbers_are_made_again(monkeypatch, tmp_path, sampler: str) -> None:
    # the reference is cut short: its own rows and distances to it are not compared
    words = ["run", "model=digits", f"sampler={sampler}", "seeds=0..31", "reference.grid.n_levels=2", f"results={tmp_path}"]
    monkeypatch.setattr(sys, "argv", words)
    run.main()
    frames = [pd.read_csv(path) for path in (PUBLISHED / "digits.csv", next(tmp_path.glob("main/*.csv")))]
    columns = ["point", "low", "high", "rows_conditional", "n", "diverged"]
    mine = [frame[(frame["run"] == sampler) & (frame["measure"] != "to_reference")] for frame in frames]
    published, again = (frame.set_index("measure")[columns] for frame in mine)
    assert len(published) == 6
    # another processor rounds matrix products differently; nothing here amplifies that beyond 1e-9
    pd.testing.assert_frame_equal(published, again, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["guided", "benchmark2d", "benchmark3d", "trained", "family", "cheap"])
def test_the_tables_are_their_csvs(name: str) -> None:
    sys.path.insert(0, str(ROOT))
    benchmark = importlib.import_module(f"analysis.{name}")
    tables = (read_table(benchmark.FOLDER / f"{table}.csv") for table in TABLES)
    assert benchmark.tables(*tables) == (ROOT / "results" / name / "tables.txt").read_text()
