"""The paper's figures over again: tables against closed forms and arrays, the same bytes twice, and ink."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from sdi_bench import Ddim, Distillation, Empirical, Fresh, Gaussian, Guidance, Mixture, UniformLogSigma
from sdi_bench.draws import Item, items_of
from sdi_bench.metrics.sharpness import high_frequency_share
from sdi_bench.noise import Fixed, FixedPoint, Previous, Zero
from sdi_bench.predictor import Cost
from sdi_bench.probes import Kappas, Probe, Regenerate, RootCount, Steepness, Trajectory
from sdi_bench.samplers import Annealed
from sdi_bench.sampling import Job
from sdi_bench.schedules import Karras
from sdi_bench.stats import FEWEST
from sdi_bench.store import Listed, RunFolder, Shard, write_index

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from analysis.figures.guidance import Guidance as GuidanceFigure  # noqa: E402
from analysis.figures.guidance_pairs import GuidancePairs  # noqa: E402
from analysis.figures.inversion_steps import InversionSteps  # noqa: E402
from analysis.figures.noises import Noises  # noqa: E402
from analysis.figures.regenerate import Regenerate as RegenerateFigure  # noqa: E402
from analysis.figures.residual import Residual  # noqa: E402
from analysis.figures.roots import Roots  # noqa: E402
from analysis.figures.solvers import Solvers, family  # noqa: E402
from analysis.figures.strips import Strips  # noqa: E402
from analysis.plot import Figure  # noqa: E402
from analysis.runs import Runs  # noqa: E402

GRID = UniformLogSigma(8, 20.0, 0.05)
VARIANCE = np.array([0.25, 4.0])
PLANE = Gaussian.of({"c": ([1.0, -0.5], np.diag(VARIANCE).tolist())}, ([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]]))
LINE = Mixture.of([[-1.5], [-0.5], [0.5], [1.5]], ["a", "b", "a", "b"], [0.15] * 4)
DIGITS = Empirical.of()
ON_THE_PLANE, ON_THE_LINE, DRAWN = items_of(["c"], range(6)), items_of(["a"], range(3)), items_of(["3", "8"], range(2))
KAPPAS = {"zero": Zero(), "fixed": Fixed(), "Picard 1": FixedPoint(n_steps=1), "Anderson 3": FixedPoint(n_steps=3, memory=2)}
PAIRS = [[1, 1], [0, 0], [-2, 2]]


@dataclass
class Experiment:
    """Runs made here, and measures of them."""

    folder: Path
    entries: list[Listed] = field(default_factory=list)
    measured: list[dict[str, Any]] = field(default_factory=list)

    def add(self, tier: str, row: str, gamma: float, config: Mapping[str, Any]) -> RunFolder:
        made = RunFolder(self.folder / f"run{len(self.entries)}")
        self.entries.append(Listed(tier, row, row, gamma, made))
        made.write_text("config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
        write_index(self.folder, self.entries)
        return made

    def measure(self, tier: str, row: str, ask: Probe, job: Job, items: Sequence[Item], **config: Any) -> None:
        made = self.add(tier, row, job.sampler.guidance.scale, config)
        made.write_probed(items, ask.measure(job, items, Cost()), {})

    def images(self, tier: str, row: str, gamma: float, points: Mapping[str, float], **config: Any) -> None:
        made = self.add(tier, row, gamma, config)
        made.write_shard(Shard(tuple(DRAWN), np.full((len(DRAWN), 1, 8, 8), gamma / 10 - 0.3), {}, 1.0, 1.0))
        about = {"tier": tier, "run": row, "gamma": gamma, "n": 4, "diverged": 0, "seconds": 0.5}
        rows = {"rows_conditional": 50, "rows_inversion": 100 * gamma}
        for name, point in points.items():
            self.measured.append(about | {"measure": name, "point": point, "low": point - 0.1, "high": point + 0.1} | rows)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    """Every tier that the figures below ask for."""
    made = Experiment(tmp_path_factory.mktemp("understanding"))
    schedule = Karras()
    drawers = {
        "ddim": Ddim(GRID),
        "sds": Distillation(Annealed(GRID), Fresh()),
        "previous": Distillation(Annealed(GRID), Previous()),
    }
    for row, sampler in drawers.items():
        made.measure("strips digits", row, Trajectory(4), Job(DIGITS, sampler, schedule), DRAWN)
    asked = {"kappas": dict.fromkeys(KAPPAS)}
    made.measure(
        "noises digits",
        "here",
        Kappas(KAPPAS, n_levels=3, pictures=True),
        Job(DIGITS, Ddim(GRID), schedule),
        DRAWN,
        probe=asked,
    )
    made.measure(
        "solvers plane",
        "here",
        Kappas(KAPPAS, n_levels=7, pictures=True),
        Job(PLANE, Ddim(GRID), schedule),
        ON_THE_PLANE,
        probe=asked,
    )
    grid = {"grid": {"n_levels": 8}}
    for scale in (1.0, 3.0):
        job = Job(PLANE, Ddim(GRID, Guidance(scale)), schedule)
        made.measure("steepness plane", "here", Steepness(n_iterations=60, n_levels=4), job, ON_THE_PLANE)
        job = Job(LINE, Ddim(GRID, Guidance(scale)), schedule)
        made.measure("roots", "here", RootCount(n_points=2001, n_levels=4), job, ON_THE_LINE)
    trips = Regenerate(PAIRS, pictures=True)
    made.measure(
        "regenerate digits", "8 levels", trips, Job(DIGITS, Ddim(GRID), schedule), DRAWN, sampler=grid, probe={"scales": PAIRS}
    )
    for gamma in (1.0, 3.0):
        for row in ("ddim", "sds"):
            made.images("guidance digits", row, gamma, {"contrast": gamma - (row == "sds"), "nearest": 0.1})
        for k, scale in enumerate((-2.0, 0.0, 3.0)):
            noise = {"sampler": {"noise": {"guidance_scale": scale}}}
            made.images(
                "pairs digits",
                f"sdi guidance_scale={scale:g}",
                gamma,
                {"contrast": (k - 1) * 0.15, "nearest": 0.2 * k},
                **noise,
            )
    for n_steps in (1, 10):
        made.images(
            "steps digits", f"sdi n_steps={n_steps}", 1.0, {"energy": 1 / n_steps}, sampler={"noise": {"n_steps": n_steps}}
        )
    pd.DataFrame(made.measured).to_csv(made.folder / "measures.csv", index=False)
    return Runs(made.folder)


FIGURES: dict[str, Figure] = {
    "strips": Strips("strips digits", ["ddim", "sds", "previous"], ["3", "8"], [0, 3]),
    "noises": Noises("noises digits", "here", "3"),
    "residual": Residual(["solvers plane"], ["here"], list(KAPPAS)),
    "solvers": Solvers(["solvers plane"]),
    "roots": Roots(["steepness plane"], "roots"),
    "regenerate": RegenerateFigure(["regenerate digits"], "regenerate digits", ["3"]),
    "guidance": GuidanceFigure(["guidance digits"], {"guidance digits": ["8"]}, {"guidance digits": ["contrast"]}),
    "pairs": GuidancePairs(["pairs digits"], {"pairs digits": {"contrast": 0, "nearest": 0.2}}, {"pairs digits": "3"}),
    "steps": InversionSteps(["steps digits"], {"steps digits": ["energy"]}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_runs_give_the_same_bytes_and_a_picture_of_sane_size(name: str, runs: Runs, tmp_path: Path) -> None:
    figure = FIGURES[name]
    table = figure.prepare(runs)
    assert figure.prepare(Runs(runs.folder)).to_csv() == table.to_csv()
    figure.draw(table, runs, tmp_path / "a.png")
    figure.draw(table, runs, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert 150 < image.width <= 1600
        assert 150 < image.height <= 2000
        assert np.asarray(image.convert("L")).std() > 5  # there is ink on it


def test_what_a_tier_or_an_item_lacks_is_said(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no row 'sdi'; it has ddim, previous, sds"):
        Strips("strips digits", ["sdi"], ["3"], [0]).prepare(runs)
    with pytest.raises(ValueError, match="no item '4' of seed 0; there are 3, 8"):
        Strips("strips digits", ["sds"], ["4"], [0]).prepare(runs)
    with pytest.raises(ValueError, match="no measures of tier 'strips digits'"):
        InversionSteps(["strips digits"], {"strips digits": ["energy"]}).prepare(runs)


def test_strips_hold_every_sampler_to_ddim(runs: Runs) -> None:
    table = FIGURES["strips"].prepare(runs)
    assert table.groupby("run")["to_ddim"].max()[["ddim", "previous"]].max() < 1e-6  # float32, and V1
    assert table[(table["run"] == "sds") & (table["sigma"] < 0.1)]["to_ddim"].min() > 0.02
    items, arrays = next(run for run in runs.tier("strips digits") if run.row == "sds").probed
    last = arrays["x0"][items.index(Item("8", 0)), -1].astype(float)
    row = table[(table["run"] == "sds") & (table["prompt"] == "8")].iloc[-1]
    assert row["contrast"] == pytest.approx(last.std())
    assert row["high"] == pytest.approx(high_frequency_share(last[None])[0])


def test_noises_show_the_item_and_tell_the_mean(runs: Runs) -> None:
    table = FIGURES["noises"].prepare(runs)
    assert list(dict.fromkeys(table["kappa"])) == list(KAPPAS)
    _, arrays = runs.tier("noises digits")[0].probed
    gap = np.sqrt(((arrays["x0"][:, :, None] - arrays["denoised"]) ** 2).mean(axis=(3, 4, 5)))
    # sigma·(eps - kappa) is x0 less its one-step denoised image
    assert table["point"].to_numpy().reshape(4, 3) == pytest.approx(gap.mean(axis=0).T, abs=1e-5)
    assert (table.loc[table["kappa"] == "zero", "size"] == 0).all()
    few = table["n"] < FEWEST  # no interval then
    assert ((table["low"] <= table["point"]) & (table["point"] <= table["high"]) | few).all()


def test_residual_and_solvers_on_a_gaussian(runs: Runs) -> None:
    """kappa = 0 leaves sigma²·(x0 - mu)/(s² + sigma²); with two distinct variances Anderson's third step is the root."""
    _, arrays = runs.tier("solvers plane")[0].probed
    sigma = arrays["sigma"][..., None]
    left = np.sqrt(((sigma**2 * (arrays["x0"] - [1.0, -0.5]) / (VARIANCE + sigma**2)) ** 2).mean(axis=-1))
    residual = FIGURES["residual"].prepare(runs)
    zero = residual[residual["kappa"] == "zero"]
    assert zero["point"].to_numpy() == pytest.approx(left.mean(axis=0), rel=1e-5)
    assert (zero["size"] == 0).all()
    table = FIGURES["solvers"].prepare(runs).set_index(["kappa", "measure"])
    assert table.loc[("zero", "residual"), "point"] == pytest.approx(np.median(left, axis=1).mean(), rel=1e-5)
    assert table.loc[("Anderson 3", "residual"), "point"] < 1e-6
    assert table.loc[("Anderson 3", "to_path"), "point"] == pytest.approx(1, abs=1e-6)
    assert table.loc[("Anderson 3", "next"), "point"] < 1e-6
    assert table.loc[("Picard 1", "residual"), "point"] > 1e-3
    assert table.loc[("zero", "residual"), "rows"] == 0
    assert table.loc[("Anderson 3", "residual"), "rows"] == 3


def test_a_solver_at_several_costs_is_one_family() -> None:
    named = {
        "Picard 20": "Picard",
        "damped .5, 20": "damped .5",
        "inversion 3": "inversion",
        "inversion 10, then Anderson 10": None,
    }
    for name, want in named.items():
        assert family(name) == (want or name)


def test_roots_and_radii_are_what_theory_says(runs: Runs) -> None:
    """Conditional: the radius is that of sigma²/(s² + sigma²), and the denoiser is monotone, so that it has one root."""
    table = FIGURES["roots"].prepare(runs)
    radius = table[(table["measure"] == "radius") & (table["gamma"] == 1)]
    want = radius["sigma"] ** 2 / (VARIANCE.min() + radius["sigma"] ** 2)
    assert radius["point"].to_numpy() == pytest.approx(want.to_numpy(), rel=5e-3)  # two like eigenvalues at high sigma
    assert (radius["above"] == 0).all()
    counts = table[table["measure"] == "roots"].set_index("gamma")
    assert (counts.loc[1.0, "point"] == 1).all()
    assert counts.loc[3.0, "point"].max() > 1
    assert counts.loc[3.0, "above"].max() > 0


def test_round_trips_stand_under_their_own_pair(runs: Runs) -> None:
    table = FIGURES["regenerate"].prepare(runs)
    assert list(table["pair"]) == ["(1, 1)", "(0, 0)", "(-2, 2)"]
    _, arrays = runs.tier("regenerate digits")[0].probed
    gap = np.sqrt(((arrays["back"] - arrays["source"][:, None]) ** 2).mean(axis=(2, 3, 4))).mean(axis=0)
    assert table["point"].to_numpy() == pytest.approx(gap, rel=1e-5)
    assert (table["levels"] == 8).all()


def test_measures_reach_their_figures(runs: Runs) -> None:
    guidance = FIGURES["guidance"].prepare(runs)
    assert set(guidance["measure"]) == {"contrast"}
    assert guidance.set_index(["run", "gamma"])["point"].to_dict() == {
        ("ddim", 1.0): 1.0,
        ("sds", 1.0): 0.0,
        ("ddim", 3.0): 3.0,
        ("sds", 3.0): 2.0,
    }
    steps = FIGURES["steps"].prepare(runs).set_index("n_steps")
    assert steps["point"].to_dict() == {1: 1.0, 10: 0.1}
    assert steps["rows"].to_dict() == {1: 150, 10: 150}
    assert steps["seconds"].to_dict() == {1: 0.5, 10: 0.5}


def test_pairs_know_their_inversion_and_what_is_near_the_best(runs: Runs) -> None:
    """contrast -0.15, 0, 0.15 of 0: the outer two are out of ±0.1; nearest 0, 0.2, 0.4 of 0.2 likewise."""
    table = FIGURES["pairs"].prepare(runs)
    assert len(table) == 2 * 3 * 2
    for _, rows in table.groupby(["gamma_fwd", "measure"]):
        assert rows.set_index("gamma_inv")["near"].to_dict() == {-2.0: False, 0.0: True, 3.0: False}
    assert table.set_index(["measure", "gamma_fwd", "gamma_inv"]).loc[("nearest", 3.0, 3.0), "off"] == pytest.approx(0.2)
