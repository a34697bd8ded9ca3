"""What every sampler and kappa must do, for all of conf/sampler and conf/noise: a new yaml is tested without a line here."""

import math

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from sdi_bench import (
    Empirical,
    Gaussian,
    sweeps,
)
from sdi_bench.command_line import conf_dir
from sdi_bench.directions import Velocity
from sdi_bench.draws import Item, items_of
from sdi_bench.models.base import Denoiser
from sdi_bench.predictor import Cost, Use
from sdi_bench.samplers import Distillation, Sampler
from sdi_bench.sampling import Job
from sdi_bench.schedules import RectifiedFlow, scaled_linear

N_LEVELS = 6
DIGITS = Empirical.of()
BOX = Gaussian.of({"c": ([1.0, -0.5], [0.25, 0.1])}, ([0.0, 0.0], [1.0, 0.5]))


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def sampler(*words: str) -> Sampler:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", ["model=digits", f"grid.n_levels={N_LEVELS}", *words])
    return instantiate(sweeps.plain(cfg, True)["sampler"], _convert_="all")


def run(sampler: Sampler, model: Denoiser, items: list[Item]) -> tuple[torch.Tensor, Cost]:
    flows = isinstance(sampler, Distillation) and isinstance(sampler.direction, Velocity)
    job, cost = Job(model, sampler, RectifiedFlow() if flows else scaled_linear()), Cost()
    job.check(items)
    *_, last = job.states(items, cost)
    return last.x0, cost


SAMPLERS = [name for name in names("sampler") if name != "esd"]  # which needs views: tests/test_students.py
CASES = [pytest.param([f"sampler={name}"], id=name) for name in SAMPLERS] + [
    pytest.param(["sampler=sds", f"noise@sampler.noise={name}"], id=f"noise-{name}") for name in names("noise")
]


@pytest.mark.parametrize("words", CASES)
def test_same_items_same_bits_and_a_row_is_a_batch_of_one(words: list[str]) -> None:
    short = {
        "sampler=sds_dreamfusion": ["n_steps=20"],
        "sampler=sdi_released": ["n_targets=4", "n_spans=3"],
        "sampler=lucid_dreamer": ["n_steps=20"],
    }.get(words[0], [])
    short = [f"sampler.timeline.{word}" for word in short]
    made = sampler(*words, *short)
    model, prompts = (BOX, ["c"]) if "exact_root" in words[-1] else (DIGITS, ["3", "8"])
    items = items_of(prompts, [0, 1])
    first, _ = run(made, model, items)
    again, _ = run(made, model, items)
    assert torch.equal(first, again)
    for i, item in enumerate(items):
        alone, _ = run(made, model, [item])
        # matrix products round differently for other shapes; iterations on eq. 8 amplify that most
        unit = 1e-9 if words == ["sampler=sdi_released"] else 1e-12  # 25 steps of Adam divide by gradients that end small
        assert float((alone[0] - first[i]).abs().max()) <= unit * max(1.0, float(first[i].abs().max()) ** 2)


@pytest.mark.parametrize("words", CASES)
def test_a_point_mass_is_recovered(words: list[str]) -> None:
    spot = Gaussian.of({"c": ([0.3, -0.7], [1e-8, 1e-8])}, ([0.3, -0.7], [1e-8, 1e-8]))
    if words == ["sampler=lucid_dreamer"]:
        pytest.skip("from pure noise: where D is one point ISM's direction, D_0(x_s) - D_y(x_t), is 0")
    x0, _ = run(sampler(*words), spot, items_of(["c"], range(4)))
    # standard deviation 1e-4; Adam ends within a few steps' length of it (lr .01; sjc .05, sdi_released .1); nfsd leaves its
    # last noise in
    coarse = {"sjc": 0.25, "nfsd": 0.15, "rfds": 0.05, "hifa": 0.05, "sds_dreamfusion": 0.05, "sdi_released": 0.25}
    assert float((x0 - torch.tensor([0.3, -0.7])).abs().max()) <= coarse.get(words[0].removeprefix("sampler="), 2e-3)


ROWS = {
    "ddim": {Use.CONDITIONAL: N_LEVELS},
    "ddpm": {Use.CONDITIONAL: N_LEVELS},
    "heun": {Use.CONDITIONAL: N_LEVELS, Use.OTHER: N_LEVELS - 1},
    "sds": {Use.CONDITIONAL: N_LEVELS},
    # the inversion to t takes int(10 t) steps, at least one; t = .8, .6, .4, .2, 0 and no tau; gamma = -1 takes two rows
    "sdi": {Use.CONDITIONAL: N_LEVELS, Use.INVERSION: 2 * (8 + 6 + 4 + 2 + 1)},
    # unconditional, int(5 (t - .08)) steps, at least one, and the interval; at t = 0 the interval alone
    "ism": {Use.CONDITIONAL: N_LEVELS, Use.INVERSION: (3 + 1) + (2 + 1) + (1 + 1) + (1 + 1) + 1},
    # the student is asked, and taught, after the first prediction
    "vsd": {Use.CONDITIONAL: N_LEVELS, Use.OTHER: N_LEVELS - 1, Use.TRAINING: N_LEVELS - 1},
    # the start, and 10·(1 - t) steps down to t = 1, .8, .6, .4, .2
    "dsd": {Use.CONDITIONAL: N_LEVELS, Use.INVERSION: 1 + 3 + 5 + 7 + 9},
    "cfd": {Use.CONDITIONAL: N_LEVELS},
    "ucm": {Use.CONDITIONAL: N_LEVELS, Use.INVERSION: 10 * (N_LEVELS - 1)},
    "rfds_rev": {Use.CONDITIONAL: N_LEVELS, Use.INVERSION: N_LEVELS - 1},
    "msd": {Use.CONDITIONAL: N_LEVELS, Use.OTHER: 9 * (N_LEVELS - 1)},
    "dds": {Use.CONDITIONAL: N_LEVELS - 1, Use.OTHER: N_LEVELS - 1},
    "pds": {Use.CONDITIONAL: N_LEVELS - 1, Use.OTHER: N_LEVELS - 1},
    # a start and 41 targets; gamma = -1 takes two rows of as many steps as 1, 101, ... are below t, and one
    "sdi_released": {
        Use.CONDITIONAL: 42,
        Use.INVERSION: 2 * sum(1 + len([s for s in range(1, 1000, 100) if s < 20 + 24 * k]) for k in range(41)),
    },
    "sds_dreamfusion": {Use.CONDITIONAL: 1000, Use.UNCONDITIONAL: 1000},
    # at gamma = 1 guidance asks for the prompt alone: none is asked for besides, by nfsd again as the negative one
    "sjc": {Use.CONDITIONAL: N_LEVELS},
    "csd": {Use.CONDITIONAL: N_LEVELS, Use.OTHER: N_LEVELS - 1},
    "nfsd": {Use.CONDITIONAL: N_LEVELS, Use.OTHER: 2 * 4 + 1},  # t = .8, .6, .4, .2 and 0
    "bridge": {Use.CONDITIONAL: N_LEVELS, Use.OTHER: N_LEVELS - 1 - N_LEVELS // 2},
    "asd": {Use.CONDITIONAL: N_LEVELS, Use.OTHER: N_LEVELS - 1},
    "rfds": {Use.CONDITIONAL: N_LEVELS},
    "hifa": {Use.CONDITIONAL: N_LEVELS},
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_network_rows_per_image(name: str) -> None:
    if name not in ROWS:
        pytest.skip("no formula given")
    words = ["sampler.noise.tau=0.0"] if name == "sdi" else []
    _, cost = run(sampler(f"sampler={name}", *words), BOX, items_of(["c"], range(3)))
    wanted = dict.fromkeys(Use, 0) | ROWS[name]
    assert {use: rows / 3 for use, rows in cost.rows.items()} == wanted


@pytest.mark.parametrize("gamma", [0.0, 1.0, 7.5])
def test_guidance_costs_two_rows_only_where_it_needs_two(gamma: float) -> None:
    _, cost = run(sampler("sampler=sds", f"guidance.scale={gamma}"), BOX, items_of(["c"], [0]))
    assert cost.rows[Use.CONDITIONAL] == (0 if gamma == 0 else N_LEVELS)
    assert cost.rows[Use.UNCONDITIONAL] == (0 if gamma == 1 else N_LEVELS)


def test_kappa_that_needs_the_path_says_so() -> None:
    needing = {name for name in names("noise") if sampler("sampler=sds", f"noise@sampler.noise={name}").noise.needs_path}
    assert needing == {"previous", "mixed"}
    warm = sampler("sampler=sds", "noise@sampler.noise=fixed_point", "sampler.noise.init._target_=sdi_bench.noise.Previous")
    assert warm.noise.needs_path


def test_all_samplers_start_from_the_same_noise() -> None:
    items = items_of(["3"], [0, 1])
    firsts = []
    for name in ("ddim", "ddpm", "heun", "sds", "sdi", "ism"):
        job = Job(DIGITS, sampler(f"sampler={name}"), scaled_linear())
        firsts.append(next(iter(job.states(items, Cost()))).x0)
    # ddim forms x0 from eps, the loop takes the model's own: a few ulp of sigma = 14.6
    assert all(float((first - firsts[0]).abs().max()) <= 1e-13 for first in firsts)


def test_heun_is_of_second_order() -> None:
    """Against the closed form of the probability-flow ODE on a Gaussian: x_bar - mu scales as sqrt(s² + sigma²)."""
    line = Gaussian.of({"c": ([1.0], [0.25])}, ([0.0], [1.0]))
    errors = []
    for n in (40, 80):
        words = [f"grid.n_levels={n}", "grid=log_sigma", "grid.sigma_max=10.0", "grid.sigma_min=0.01", "sampler=heun"]
        job = Job(line, sampler(*words), scaled_linear())
        states = list(job.states([Item("c", 0)], Cost()))
        x_bar = [float(s.x0 + s.level.sigma * s.eps) for s in (states[0], states[-1])]
        exact = 1 + (x_bar[0] - 1) * math.sqrt((0.25 + 0.01**2) / (0.25 + 10.0**2))
        errors.append(abs(x_bar[1] - exact))
    assert 1.8 < math.log2(errors[0] / errors[1]) < 2.2
