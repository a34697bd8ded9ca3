"""Every yaml of conf/figure is a figure with a caption, and the command says what it lacks."""

import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from analysis import plot  # noqa: E402
from analysis.runs import Runs  # noqa: E402

PUBLISHED = ROOT / "results" / "understanding"


@pytest.mark.parametrize("name", plot.names())
def test_a_figure_has_a_file_of_its_name_and_a_caption(name: str) -> None:
    one = plot.named(name)
    assert isinstance(one.figure, plot.Figure)
    assert type(one.figure).__module__ == f"analysis.figures.{name}"
    assert min(len(one.title), len(one.seen), len(one.where)) > 0
    assert "to be written" not in one.seen


def test_every_figure_file_has_a_yaml() -> None:
    shared = {"__init__", "tiles", "front"}
    assert {path.stem for path in (ROOT / "analysis" / "figures").glob("*.py")} - shared == set(plot.names())


def test_what_is_missing_is_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    for words, said in (
        ([f"runs={tmp_path}", "figure=residual"], "has no index.json; run the experiment first"),
        (["figure=nonsense"], "figure='nonsense': "),
        (["figures=all"], "figures: no such setting; did you mean figure?"),
    ):
        monkeypatch.setattr(sys, "argv", ["plot", *words])
        with pytest.raises(SystemExit) as error:
            plot.main()
        assert error.value.code == 2
        shown = capsys.readouterr().err
        assert said in shown
        assert shown.count("\n") == 1


def test_a_figure_that_cannot_be_made_does_not_keep_the_others_from_it(tmp_path: Path, monkeypatch) -> None:
    class Toy:
        def prepare(self, runs: Runs) -> pd.DataFrame:
            return pd.DataFrame({"a": [1 / 3]})

        def draw(self, table: pd.DataFrame, runs: Runs, path: Path) -> None:
            path.write_bytes(b"ink")

    class Broken(Toy):
        def prepare(self, runs: Runs) -> pd.DataFrame:
            raise ValueError("no runs")

    figures = {"broken": Broken(), "toy": Toy()}
    monkeypatch.setattr(plot, "named", lambda name: plot.Named(name, figures[name], "t", "w", "c", "s"))
    with pytest.raises(ValueError, match="broken: no runs"):
        plot.plot(["broken", "toy"], Runs(tmp_path), tmp_path)
    assert (tmp_path / "toy.csv").read_text() == "a\n0.333333\n"
    assert (tmp_path / "toy.png").read_bytes() == b"ink"


@pytest.mark.skipif(not (PUBLISHED / "FIGURES.md").exists(), reason="no published figures")
def test_the_published_page_is_what_the_yamls_say() -> None:
    assert (PUBLISHED / "FIGURES.md").read_text() == plot.page([plot.named(name) for name in plot.names()])
    for name in plot.names():
        assert (PUBLISHED / f"{name}.csv").stat().st_size > 0
        assert (PUBLISHED / f"{name}.png").stat().st_size > 0
        pictured = isinstance(plot.named(name).figure, plot.Pictured)
        assert (PUBLISHED / f"{name}_pictures.png").is_file() == pictured


def test_without_runs_a_figure_is_drawn_from_its_csv_and_samples_stay(tmp_path: Path) -> None:
    """The ink is that of the numbers: another number in the csv gives another picture, and the csv is left as it was."""
    table = (PUBLISHED / "guidance.csv").read_text()
    (tmp_path / "guidance_pictures.png").write_bytes(b"samples")
    drawn = []
    for text in (table, table, table.replace("0.0163597", "0.5163597")):
        (tmp_path / "guidance.csv").write_text(text)
        with pytest.raises(ValueError, match=r"guidance: .* has no index\.json"):
            plot.plot(["guidance"], Runs(tmp_path), tmp_path)
        assert (tmp_path / "guidance.csv").read_text() == text
        drawn.append((tmp_path / "guidance.png").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]
    assert (tmp_path / "guidance_pictures.png").read_bytes() == b"samples"
