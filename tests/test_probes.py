"""Probes against closed forms on Gaussians, and through the main job's store."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sdi_bench import Ddim, Distillation, Fresh, Gaussian, Guidance, Inversion, Mixture, UniformLogSigma
from sdi_bench.directions import DeltaDenoising
from sdi_bench.draws import items_of
from sdi_bench.noise import Fixed, FixedPoint, Previous, Zero
from sdi_bench.predictor import Cost
from sdi_bench.probes import Kappas, Regenerate, RootCount, Spread, Steepness, Trajectory
from sdi_bench.samplers import Annealed
from sdi_bench.sampling import Job
from sdi_bench.scenes import Image
from sdi_bench.schedules import Karras
from sdi_bench.sources import Source

MEAN, VARIANCE = np.array([1.0, -0.5]), np.array([0.25, 4.0])
PLANE = Gaussian.of({"c": (MEAN.tolist(), np.diag(VARIANCE).tolist())}, ([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]]))
GRID = UniformLogSigma(12, 20.0, 0.05)
SIGMAS = np.geomspace(20.0, 0.05, 12)
ITEMS = items_of(["c"], range(5))


def job(sampler) -> Job:
    return Job(PLANE, sampler, Karras())


def test_the_scatter_of_an_sds_update_is_what_a_gaussian_says() -> None:
    """target = mu + d·(x0 + sigma·kappa - mu), d = s²/(s² + sigma²): its variance over kappa is (d·sigma)²."""
    found = Spread(n_draws=400, n_levels=4).measure(job(Distillation(Annealed(GRID))), ITEMS, Cost())
    after = SIGMAS[1:][[0, 3, 7, 10]]  # evenly spaced among 11 steps
    d = VARIANCE[:, None] / (VARIANCE[:, None] + after**2)
    want = ((d * after) ** 2).mean(axis=0)
    assert found["sigma"][0] == pytest.approx(SIGMAS[[0, 3, 7, 10]])
    # a sample variance of 400 draws is good to sqrt(2/400) = 7 % a pixel: five items and two pixels, four standard errors
    assert found["variance"].mean(axis=0) == pytest.approx(want, rel=4 * np.sqrt(2 / 400 / 5))


@pytest.mark.parametrize(
    "sampler",
    [
        Distillation(Annealed(GRID), Zero(), scene=Image(words="x")),
        Distillation(Annealed(GRID), Zero(), scene=Image(project=True)),
        Distillation(Annealed(GRID), Zero(), direction=DeltaDenoising(), source=Source()),
    ],
    ids=["words", "projected", "edit"],
)
def test_an_update_without_noise_is_the_path_s_own(sampler: Distillation) -> None:
    model = Gaussian.of({"c": ([1.0], [[0.25]]), "cx": ([-3.0], [[2.0]])}, ([0.0], [[1.0]]))
    found = Spread(2, n_levels=11).measure(Job(model, sampler, Karras()), ITEMS, Cost())
    path = torch.stack([state.x0[:, 0] for state in Job(model, sampler, Karras()).states(ITEMS, Cost())], dim=1)
    assert found["signal"] == pytest.approx(path.diff(dim=1).square().numpy(), rel=1e-9, abs=1e-12)
    assert found["variance"].max() < 1e-12 * found["signal"].max()


def test_the_mean_of_k_draws_scatters_k_times_less_and_a_fixed_kappa_not_at_all_along_a_path() -> None:
    one, four = (
        Spread(200, 3).measure(job(Distillation(Annealed(GRID), Fresh(n_avg=k))), ITEMS, Cost())["variance"] for k in (1, 4)
    )
    assert (one / four).mean() == pytest.approx(4, rel=0.15)
    inverted = Distillation(Annealed(GRID), Inversion(1.0, tau=None, entropy=0.0))
    assert Spread(2, 3).measure(job(inverted), ITEMS, Cost())["variance"].max() == pytest.approx(0, abs=1e-25)


def test_what_every_kappa_leaves_of_eq_8_on_a_gaussian() -> None:
    """eps = sigma·(x_bar - mu)/(s² + sigma²), x_bar = x0 + sigma·kappa."""
    kappas = {"cached": Previous(), "zero": Zero(), "fixed": Fixed(), "solved": FixedPoint(n_steps=3, memory=2)}
    cost = Cost()
    probe = Kappas(kappas, n_levels=11, pictures=True)
    found = probe.measure(job(Ddim(GRID)), ITEMS, cost)
    assert found["residual"].shape == (5, 11, 4)
    assert found["residual"][:, :, 0].max() < 1e-12  # DDIM's own noise is a root
    sigma = found["sigma"][:, :, None, None]
    x0, kappa = found["x0"][:, :, None].astype(float), found["kappa"].astype(float)
    want = sigma**2 * (x0 - MEAN + sigma * kappa) / (VARIANCE + sigma**2) - sigma * kappa
    assert found["residual"][:, :, 1:3] == pytest.approx(np.sqrt((want**2).mean(axis=-1))[:, :, 1:3], rel=1e-4, abs=1e-6)
    assert found["residual"][:, :, 3].max() < 1e-8  # Anderson needs one step more than there are distinct variances
    assert found["size"][:, :, 1].max() == 0
    assert found["to_path"][:, :, 0] == pytest.approx(1)
    assert np.isnan(found["to_path"][:, :, 1]).all()
    assert found["next"][:, :, 0].max() < 1e-12  # and leads where DDIM goes
    assert found["rows"][0, 0].tolist() == [0, 0, 0, 3]


def test_kappas_at_data_have_no_path_to_be_held_against() -> None:
    found = Kappas({"zero": Zero()}, at="data", n_levels=3).measure(job(Ddim(GRID)), ITEMS, Cost())
    assert np.isnan(found["next"]).all()
    assert np.isfinite(found["residual"]).all()
    with pytest.raises(ValueError, match=r"probe.kappas.cached: needs the path's last prediction"):
        Kappas({"cached": Previous()}, at="data")


def test_steepness_is_the_largest_slope_of_eps() -> None:
    """d eps / d kappa = sigma²/(s² + sigma²), largest along the narrow axis."""
    found = Steepness(n_iterations=60, n_levels=4).measure(job(Ddim(GRID)), ITEMS, Cost())
    sigma = found["sigma"]
    # the power iteration forgets the wide axis by the ratio of slopes, close to 1 at high noise: there the bound is loose
    assert found["radius"] == pytest.approx(sigma**2 / (VARIANCE.min() + sigma**2), rel=2e-2)
    assert found["radius"][:, -1] == pytest.approx(sigma[:, -1] ** 2 / (VARIANCE.min() + sigma[:, -1] ** 2), rel=1e-6)


def test_roots_on_the_line_one_without_guidance_several_under_it() -> None:
    line = Mixture.of([[-1.0], [1.0], [3.0]], ["a", "b", "a"], [0.2, 0.2, 0.2])
    counts = []
    for scale in (1.0, 7.5):
        at = Job(line, Ddim(GRID, Guidance(scale)), Karras())
        counts.append(RootCount(n_levels=6).measure(at, items_of(["a"], range(4)), Cost())["roots"])
    assert (counts[0] == 1).all()  # D is the gradient of a convex function
    assert counts[1].max() > 1
    with pytest.raises(ValueError, match="roots are counted on the line"):
        RootCount().check(job(Ddim(GRID)))


def test_a_trajectory_is_the_samplers_own() -> None:
    found = Trajectory(n_kept=12).measure(job(Ddim(GRID)), ITEMS, Cost())
    states = list(job(Ddim(GRID)).states(ITEMS, Cost()))
    assert found["x0"] == pytest.approx(torch.stack([s.x0 for s in states], dim=1).numpy(), rel=1e-6)
    assert np.isnan(found["kappa"]).all()
    assert found["update"][:, 1:] == pytest.approx(np.diff(found["x0"], axis=1), abs=1e-5)
    assert found["length"].shape == (5, 11)
    assert found["turn"].shape == (5, 10)
    change = np.diff(found["x0"].astype(float), axis=1)
    want = (
        (change[:, 1:] * change[:, :-1]).sum(2) / np.linalg.norm(change[:, 1:], axis=2) / np.linalg.norm(change[:, :-1], axis=2)
    )
    assert found["turn"] == pytest.approx(want, abs=1e-3)


def test_regenerating_at_equal_scales_comes_back_and_at_others_does_not() -> None:
    fine = Ddim(UniformLogSigma(400, 20.0, 0.01))
    found = Regenerate([[1.0, 1.0], [1.0, 3.0]]).measure(job(fine), ITEMS, Cost())
    assert (found["error"][:, 0] < 0.1).all()
    assert (found["error"][:, 1] > 1).all()
    with pytest.raises(ValueError, match="needs sampler=ddim"):
        Regenerate().check(job(Distillation(Annealed(GRID))))


def test_a_batch_of_items_is_its_items_one_by_one() -> None:
    probes = [Trajectory(4), Kappas({"fresh": Fresh(), "inverted": Inversion(1.0)}, n_levels=3), Steepness(3, n_levels=2)]
    for probe in probes:
        whole = probe.measure(job(Ddim(GRID)), ITEMS, Cost())
        for i, item in enumerate(ITEMS[:2]):
            single = probe.measure(job(Ddim(GRID)), [item], Cost())
            for name, value in single.items():
                if name == "rows":  # a mean over the batch: inversions of a random length
                    continue
                assert whole[name][i : i + 1] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name


def test_the_main_job_keeps_what_a_probe_measures(tmp_path: Path, monkeypatch) -> None:
    import sys

    from sdi_bench import run
    from sdi_bench.store import RunFolder

    words = ["model=gaussian", "sampler=sds", "probe=spread", "probe.n_draws=2", "grid.n_levels=5", f"results={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["run", *words, "seeds=0..2"])
    run.main()
    (folder,) = (path for path in (tmp_path / "main").iterdir() if path.name.startswith("gaussian-sds-fresh-spread-g1-"))
    items, arrays = RunFolder(folder).read_probed()
    assert len(items) == len(arrays["variance"]) == 6
    before = folder.stat().st_mtime_ns
    run.main()  # finished: nothing is made again
    assert folder.stat().st_mtime_ns == before
    monkeypatch.setattr(sys, "argv", ["run", *[w for w in words if w != "sampler=sds"], "seeds=0..2", "sampler=ddim"])
    with pytest.raises(SystemExit) as error:
        run.main()
    assert error.value.code == 2


def test_an_experiment_s_index_keeps_what_was_not_asked_again(tmp_path: Path) -> None:
    from sdi_bench.store import Listed, RunFolder, read_index, write_index

    def listed(row: str, gamma: float, folder: str) -> Listed:
        return Listed("tier", row, row, gamma, RunFolder(tmp_path / folder))

    write_index(tmp_path, [listed("a", 1.0, "one"), listed("a", 2.0, "two"), listed("b", 1.0, "three")])
    write_index(tmp_path, [listed("a", 2.0, "anew")])
    assert {(e.row, e.gamma, e.folder.path.name) for e in read_index(tmp_path)} == {
        ("a", 1.0, "one"),
        ("a", 2.0, "anew"),
        ("b", 1.0, "three"),
    }
    with pytest.raises(ValueError, match=r"has no index.json; run the experiment first"):
        read_index(tmp_path / "nowhere")
