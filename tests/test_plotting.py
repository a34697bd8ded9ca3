"""Figures of one's own runs: their numbers are those of the runs, and what is missing is a line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import exit_status
from matplotlib.colors import to_rgb
from test_report import handmade, sweep

from sdi_bench import plot, plotting
from sdi_bench.command_line import options
from sdi_bench.draws import Item, items_of
from sdi_bench.evaluate import open_folder as open_samples
from sdi_bench.measuring import clustered, compared, samples_of
from sdi_bench.metrics import Nearest
from sdi_bench.models import Empirical
from sdi_bench.plotting import correlation, measures, rows, spectrum, style, variance
from sdi_bench.predictor import Cost
from sdi_bench.samplers.distillation import Annealed, Distillation
from sdi_bench.sampling import Job
from sdi_bench.schedules import scaled_linear

PROMPTS, SEEDS = ["3", "8"], range(6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """DDIM and SDS on digits, with plots=true."""
    words = (
        "model=digits",
        "sampler=ddim,sds",
        "prompt=[3,8]",
        "seeds=0..5",
        "metric=[contrast,nearest]",
    )
    return sweep(tmp_path_factory.mktemp("plots"), *words, "plots=true")


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "plots" / f"{name}.csv")


def test_one_setting_draws_every_figure(folder: Path) -> None:
    made = {path.name for path in (folder / "plots").iterdir()}
    assert made == {f"{name}.{end}" for name in plotting.FIGURES for end in ("png", "csv")}
    for name, figure in plotting.FIGURES.items():
        assert len(figure.caption(table(folder, name).fillna({"against": ""}))) > 40 and figure.__doc__


def test_the_gradients_variance_is_that_of_the_states(folder: Path) -> None:
    """By numpy over states made anew; float16 holds 64 of 64 pixels to 1e-3."""
    from sdi_bench.grids import UniformT

    job = Job(Empirical.of(), Distillation(Annealed(UniformT(6))), scaled_linear())
    states = list(job.states(items_of(PROMPTS, SEEDS), Cost()))
    steps = [(before.x0 - after.x0).flatten(1).numpy() for before, after in zip(states, states[1:], strict=False)]
    want = [np.mean([step[:6].var(axis=0, ddof=1), step[6:].var(axis=0, ddof=1)]) for step in steps]
    found = table(folder, "variance").query("run == 'sds' and gamma == 1 and what == 'variance'")
    assert np.allclose(found["point"], want, rtol=5e-3)
    assert (found["low"] <= found["point"]).all() and (found["point"] <= found["high"]).all()


def test_ddims_noise_stays_and_sdss_is_drawn_anew(folder: Path) -> None:
    """Fresh noise at 64 pixels of 12 items has a cosine of 0 ± 1/sqrt(64·12) = 0.036; five of these are 0.18."""
    found = table(folder, "correlation").query("i != j").groupby("run")["over pixels"]
    assert found.min()["ddim"] > 0.8 and found.apply(lambda values: values.abs().max())["sds"] < 0.18


def paired_by(folder: Path) -> dict[str, float]:
    """nearest of SDS less that of DDIM's reference at gamma 1, by what evaluate compares experiments with."""
    found, model = [], Empirical.of()
    for path in sorted(folder.glob("digits-*-g1-*")):
        if "sds" in path.name or "ddim-9" in path.name:
            run = open_samples(path, "folder")
            items = tuple(run.items)
            found.append(samples_of(run.images, items, clustered(items, model), model, 1.0))
    return compared(found[1], found[0], Nearest()).difference.estimate._asdict()


def test_differences_are_paired_as_those_of_experiments_are(folder: Path) -> None:
    found = table(folder, "measures").query("run == 'sds' and gamma == 1 and measure == 'nearest' and what == 'difference'")
    assert found["against"].item() == "ddim-9"
    want = paired_by(folder)
    assert all(np.isclose(found[key].item(), want[key], atol=1e-6) for key in ("point", "low", "high"))


def test_a_planted_difference_that_is_not_paired_is_seen(folder: Path, monkeypatch) -> None:
    real = measures.spread_of
    monkeypatch.setattr(measures, "spread_of", lambda point, gaps: real(point, gaps[::-1] + np.arange(len(gaps)) % 2))
    (one,), _ = rows.open_folder(folder)
    found = measures.prepare(one).query("run == 'sds' and gamma == 1 and measure == 'nearest' and what == 'difference'")
    assert not np.isclose(found["low"].item(), paired_by(folder)["low"], atol=1e-6)


def test_the_spectrum_of_white_noise_is_flat_and_louder_noise_is_louder(tmp_path: Path) -> None:
    """Twice the amplitude is 20·log10(2) = 6.02 dB, in each band of white noise. In 24 pictures from band 4 on there are
    12 frequencies and more: 288 values of an exponential law, whose mean is known to 4.34/sqrt(288) dB, a difference of two to
    0.36; three of these are 1.1.
    """
    items = [Item("a", seed) for seed in range(24)]
    noise = np.random.default_rng(0).normal(size=(2, 24, 1, 32, 32)) / 10
    for name, images in (("m-ddim-1", noise[0]), ("m-sds-2", 2 * noise[1])):
        handmade(tmp_path, name, images, items, fingerprint="x")
    (one,), _ = rows.open_folder(tmp_path)
    found = spectrum.prepare(one)
    gaps = found[found["what"] == "difference"]["point"]
    assert np.allclose(gaps[3:15], 20 * np.log10(2), atol=1.1)
    assert "no run here has a trace" in plotting.plot(tmp_path, ["variance"]).missing[0]


def test_measures_are_drawn_over_what_varies() -> None:
    rows_of = [("sds", 1.0, 50), ("sds", 3.0, 50), ("ddim", 1.0, 50)]
    found = pd.DataFrame([{"run": run, "gamma": gamma, "n_levels": n} for run, gamma, n in rows_of])
    assert measures.axis_of(found) == "gamma"
    assert measures.axis_of(found.assign(gamma=1.0)) == "run"
    steps = found.assign(gamma=1.0, run=["sds n_levels=50", "sds n_levels=9", "ddim"], n_levels=[50, 9, 50])
    assert measures.axis_of(steps) == "n_levels" and measures.kind_of("sds n_levels=9", "n_levels") == "sds"
    about = {"measure": "contrast", "unit": "log ratio", "point": 0.1, "low": 0.0, "high": 0.2, "against": "ddim"}
    both = pd.concat([steps.assign(what=what, **about) for what in ("value", "difference")])
    above, below = measures.draw(both, rows.Rows("", Path(), [])).axes[:2]
    assert above.get_xscale() == "log" and above.get_xlim()[0] < 9 < 50 < above.get_xlim()[1]
    assert above.get_legend_handles_labels()[1] == ["sds", "ddim"] and "paired" in below.get_title()


def test_variance_and_correlation_of_numbers_by_hand() -> None:
    values = np.zeros((4, 1, 2))
    values[:, 0, 0] = [0, 2, 5, 9]
    prompts = np.array(["a", "a", "b", "b"])
    assert np.allclose(variance.over_seeds(values, prompts), np.mean([[2, 0], [8, 0]]))
    assert np.isnan(variance.over_seeds(values[:1], prompts[:1])).all()
    assert np.allclose(correlation.over_pixels(np.array([[[1.0, 0], [1, 1]]])), [[1, 0.5**0.5], [0.5**0.5, 1]])


def test_what_is_wrong_is_a_line(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    run = next(folder.glob("digits-*"))
    handmade(tmp_path / "points", "m-ddim-1", np.zeros((6, 2)), [Item(None, seed) for seed in range(6)])
    for words, said in (
        ([folder, "figure=corelation"], "figure=corelation: did you mean correlation?"),
        ([folder, "figures=all"], "figures=all: no such setting; did you mean figure?"),
        ([], "name one results folder"),
        (["results/mine", "correlation"], "as results/main; figures are said as figure=correlation,paths"),
        ([tmp_path / "none"], "no such folder"),
        ([run], "it is a run itself, name the folder that holds it"),
        ([tmp_path / "points", "figure=spectrum"], "not drawn: spectrum: the samples are points, not pictures"),
        ([tmp_path / "points", "--figure", "paths"], "not drawn: paths: these are points"),
        ([tmp_path / "points", "figure=measures"], "nothing was measured"),
    ):
        assert exit_status(monkeypatch, plot.main, *map(str, words)) == 2
        shown = capsys.readouterr().err
        assert said in shown and shown.count("\n") == 1


def test_every_sampler_and_kappa_has_a_look_of_its_own_everywhere() -> None:
    names = {*options("sampler"), *options("noise")}
    assert names <= {*style.FIXED}
    same = [{"held", "sdi_fast"}, {"ddim", "previous", "cached"}, {"sds", "fresh"}, {"sdi", "inversion"},
            {"sdi_released", "released"},
            {"ism", "interval"}, {"ddpm", "mixed"}, {"cfd", "consistent"}, {"fixed point", "fixed_point", "Picard"},
            {"exact root", "exact_root"}, {"data", "train data"}]  # fmt: skip
    looks: dict[tuple[str, str], set[str]] = {}
    for name, look in style.FIXED.items():
        looks.setdefault(look, set()).add(name)
    assert [mates for mates in looks.values() if len(mates) > 1 and mates not in same] == []
    made = style.look(["sds", "ddim-200", "sdi scale=3", "ddim", "_row"])
    assert made["sds"] == style.look(["nobody", "sds"])["sds"] and made["sds"]["color"] == style.RED
    assert made["ddim"]["color"] == made["ddim-200"]["color"] and made["ddim"]["linestyle"] != made["ddim-200"]["linestyle"]


def test_one_that_bears_a_samplers_name_alone_has_its_look_whoever_comes_first() -> None:
    made = style.look(["sdi, t_min .2", "sdi", "sdi, no entropy", "previous", "ddim"])
    assert made["sdi"] == style.look(["sdi"])["sdi"] and made["sdi"]["markerfacecolor"] is None
    assert made["sdi, t_min .2"]["markerfacecolor"] == "none" and made["sdi, t_min .2"]["color"] == style.TEAL
    assert made["sdi, no entropy"]["color"] == style.paler(style.TEAL, 0.3) != style.TEAL
    assert style.paler("#000000", 0.2) == "#333333"  # a fifth of 255 is 51
    drawn = {(look["color"], look["marker"], look["linestyle"]) for look in made.values()}
    assert len(drawn) == len(made)  # DDIM and the cached noise share a colour, and are told apart


def test_shades_of_what_is_ordered_are_no_samplers_colour_and_go_from_pale_to_dark() -> None:
    shades = [look["color"] for look in style.ordered(["1", "3", "7.5", "15", "30"]).values()]
    light = [np.array(to_rgb(shade)) @ [0.2126, 0.7152, 0.0722] for shade in shades]
    assert all(np.diff(light) < 0) and not {*shades} & {*style.COLOURS}
