"""Levels, schedules and grids, against diffusers' tables and time steps and against formulas written another way."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EDMEulerScheduler
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.special import logit

from sdi_bench import grids
from sdi_bench.grids import Leading, Linspace, Trailing, UniformLogSigma, UniformSigma, UniformT, falling, steps_of
from sdi_bench.levels import Level, clean, expand
from sdi_bench.schedules import Karras, RectifiedFlow, TableSchedule, cosine, linear, scaled_linear, zero_terminal_snr

CONF = Path(__file__).parent.parent / "conf"
SCHEDULES = {
    path.stem: instantiate(OmegaConf.load(path))
    for path in sorted((CONF / "schedule").glob("*.yaml"))
    if path.stem
    not in ("default", "diffusers", "own")  # a model's own: tests/test_diffusers_folder.py, tests/test_own_network.py
}
GRIDS = {path.stem: instantiate(OmegaConf.load(path)) for path in sorted((CONF / "grid").glob("*.yaml"))}
each_schedule = pytest.mark.parametrize("name", SCHEDULES)


def level(a: float, b: float, t: float = 0.5) -> Level:
    return Level(*(torch.tensor([value], dtype=torch.float64) for value in (a, b, t)))


def squared_cosine(t: float) -> float:
    return (1 + math.cos((t + 0.008) / 1.008 * math.pi)) / 2


def exp_of_logs(betas: np.ndarray, n: int) -> float:
    return math.exp(math.fsum(math.log1p(-beta) for beta in betas[: n + 1]))


N = np.arange(1000)
# Each schedule's sigma at t = n/1000, from a formula that shares nothing with the library's: sums of logs for products,
# telescoped products (whose last beta is capped at .999), tanh for the sigmoid, powers of interpolated roots.
SIGMA: dict[str, Callable[[int], float]] = {
    "linear": lambda n: math.exp(-logit(exp_of_logs(1e-4 + (0.02 - 1e-4) * N / 999, n)) / 2),
    "scaled_linear": lambda n: math.exp(-logit(exp_of_logs((0.00085**0.5 * (1 - N / 999) + 0.012**0.5 * N / 999) ** 2, n)) / 2),
    "cosine": lambda n: math.exp(
        -logit((squared_cosine((n + 1) / 1000) if n < 999 else 0.001 * squared_cosine(0.999)) / squared_cosine(0)) / 2
    ),
    "sigmoid": lambda n: math.exp(-logit(max((1 - math.tanh(3 * (n + 1) / 1000 - 1.5) / math.tanh(1.5)) / 2, 1e-9)) / 2),
    "edm": lambda n: math.exp(7 * math.log(0.002 ** (1 / 7) * (1 - n / 1000) + 80 ** (1 / 7) * n / 1000)),
    "flow": lambda n: 1 / (1000 / max(n, 1) - 1),
}
FAMILY = {"edm": lambda a, b: a, "flow": lambda a, b: a + b}  # this is 1; a² + b² for all others


def test_every_schedule_has_an_oracle() -> None:
    assert set(SIGMA) == set(SCHEDULES)


@each_schedule
@pytest.mark.parametrize("n", [0, 1, 17, 500, 998, 999])
def test_sigma_is_that_of_an_independent_formula(name: str, n: int) -> None:
    # 1e-10: 1000 roundings, magnified by 1/alpha_bar ~ 1e4 where 1 - alpha_bar is the small one (linear at n = 0).
    assert float(SCHEDULES[name].level(n / 1000).sigma) == pytest.approx(SIGMA[name](n), rel=1e-10)


@each_schedule
def test_levels_keep_to_their_family(name: str) -> None:
    at = SCHEDULES[name].level(torch.linspace(0, 1, 3001))
    one = FAMILY.get(name, lambda a, b: a**2 + b**2)(at.a, at.b)
    torch.testing.assert_close(one, torch.ones_like(one), rtol=0, atol=4e-16)


@each_schedule
def test_sigma_rises_and_the_signal_falls_with_t(name: str) -> None:
    schedule = SCHEDULES[name]
    t = torch.linspace(float(schedule.lowest.t), float(schedule.highest.t), 3001, dtype=torch.float64)
    at = schedule.level(t)
    assert (at.sigma.diff() > 0).all()
    assert (at.a.diff() <= 0).all() and (at.b.diff() >= 0).all()
    torch.testing.assert_close(at.t, t, rtol=0, atol=1e-12)


@each_schedule
def test_t_outside_the_trained_range_is_clamped(name: str) -> None:
    schedule = SCHEDULES[name]
    at = schedule.level(torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    assert at.sigma.tolist() == [float(schedule.lowest.sigma)] * 2 + [float(schedule.highest.sigma)] * 2
    assert 0 < float(schedule.lowest.sigma) < float(schedule.highest.sigma)


@each_schedule
def test_a_batch_of_times_is_the_times_one_by_one(name: str) -> None:
    times = [0.2, 0.9, 0.0123]
    batch = SCHEDULES[name].level(torch.tensor(times, dtype=torch.float64))
    for field in ("a", "b", "t"):
        assert getattr(batch, field).tolist() == [float(getattr(SCHEDULES[name].level(t), field)) for t in times]


@each_schedule
def test_at_sigma_inverts_level(name: str) -> None:
    schedule = SCHEDULES[name]
    t = torch.linspace(float(schedule.lowest.t), min(float(schedule.highest.t), 0.999), 777, dtype=torch.float64)
    there = schedule.level(t)
    back = schedule.at_sigma(there.sigma)
    # t: the library writes 1 - alpha_bar, whose relative rounding at the clean end is 1e-16/1e-4; slope of t there ~ 1e-3.
    for field, tolerance in (("a", 1e-14), ("b", 1e-14), ("t", 1e-11)):
        torch.testing.assert_close(getattr(back, field), getattr(there, field), rtol=0, atol=tolerance)


@each_schedule
def test_at_sigma_beyond_the_trained_range_keeps_sigma_and_clamps_t(name: str) -> None:
    schedule = SCHEDULES[name]
    at = schedule.at_sigma(torch.tensor([1e-5, 1e5], dtype=torch.float64))
    torch.testing.assert_close(at.sigma, torch.tensor([1e-5, 1e5], dtype=torch.float64), rtol=1e-12, atol=0)
    assert float(schedule.lowest.t) == float(at.t[0]) and float(at.t[1]) <= 1


# ------------------------------------------------------------------------------------------------ diffusers' tables


def float32_error(betas: torch.Tensor) -> torch.Tensor:
    """Relative error of a float32 product of (1 - beta): every factor and every product is rounded once, beta itself before."""
    alphas = 1 - betas.double()
    return (2.0**-24 * (2 + 2 / alphas)).cumsum(0)


@pytest.mark.parametrize("scheduler", [DDPMScheduler, DDIMScheduler])
@pytest.mark.parametrize(
    ("schedule", "name", "ends"),
    [
        (linear, "linear", (1e-4, 0.02)),
        (scaled_linear, "scaled_linear", (0.00085, 0.012)),
        (cosine, "squaredcos_cap_v2", None),
        (lambda: linear(200, 0.001, 0.05), "linear", (0.001, 0.05)),
    ],
)
def test_tables_are_those_of_diffusers(scheduler, schedule, name, ends) -> None:
    ours = schedule()
    more = {} if ends is None else {"beta_start": ends[0], "beta_end": ends[1]}
    theirs = scheduler(num_train_timesteps=ours.n_train, beta_schedule=name, **more)
    error = (theirs.alphas_cumprod.double() / ours.alphas_cumprod - 1).abs()
    assert (error <= float32_error(theirs.betas)).all()
    assert error.max() < 2e-4  # so the bound above says something


@pytest.mark.parametrize(("schedule", "name"), [(linear, "linear"), (scaled_linear, "scaled_linear")])
def test_zero_terminal_snr_is_that_of_diffusers(schedule, name) -> None:
    base = schedule()
    ours = zero_terminal_snr(base)
    ends = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}[name]
    theirs = DDIMScheduler(beta_schedule=name, beta_start=ends[0], beta_end=ends[1], rescale_betas_zero_snr=True)
    # Theirs goes through betas and back in float32, 1000 products: 1000·2^-23 at most; the shift itself is 6e-3 or more.
    root = ours.alphas_cumprod.sqrt()
    torch.testing.assert_close(theirs.alphas_cumprod.double().sqrt(), root, rtol=0, atol=1000 * 2.0**-23)
    assert float(base.alphas_cumprod[-1].sqrt()) > 6e-3
    assert float(ours.alphas_cumprod[0]) == pytest.approx(float(base.alphas_cumprod[0]), rel=1e-14)
    last = ours.highest
    assert (float(last.a), float(last.b), float(last.sigma), float(last.alpha_bar)) == (0, 1, math.inf, 0)


def test_karras_levels_are_those_of_diffusers() -> None:
    theirs = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    theirs.set_timesteps(40)
    ours = Karras().level(torch.linspace(1, 0, 40, dtype=torch.float64)).sigma
    # float32, and the seventh power multiplies its rounding by 7.
    torch.testing.assert_close(theirs.sigmas[:40].double(), ours, rtol=50 * 2.0**-24, atol=0)


def test_karras_levels_with_rho_infinite_fall_in_equal_steps_of_log_sigma() -> None:
    theirs = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_schedule="exponential")
    theirs.set_timesteps(40)
    schedule, t = Karras(rho=math.inf), torch.linspace(1, 0, 40, dtype=torch.float64)
    ours = schedule.level(t)
    torch.testing.assert_close(theirs.sigmas[:40].double(), ours.sigma, rtol=50 * 2.0**-24, atol=0)
    assert (float(schedule.lowest.sigma), float(schedule.highest.sigma)) == (0.002, 80)
    torch.testing.assert_close(schedule.at_sigma(ours.sigma).t, t, rtol=0, atol=1e-14)
    torch.testing.assert_close(Karras(rho=1e6).level(t).sigma, ours.sigma, rtol=1e-4, atol=0)
    assert schedule.at_sigma(torch.tensor([1e-9, 1e9])).t.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("schedule", "low", "high"), [(scaled_linear, 0.0292, 14.6146), (linear, 0.0100, 157.407), (cosine, 0.0064, 20291.2)]
)
def test_the_ranges_of_sigma_are_the_published_ones(schedule, low, high) -> None:
    assert float(schedule().lowest.sigma) == pytest.approx(low, abs=5e-5)  # k-diffusion prints 0.0292 and 14.6146 for SD
    assert float(schedule().highest.sigma) == pytest.approx(high, rel=3e-6)


def test_log_snr_is_linear_between_the_entries_of_a_table() -> None:
    table = torch.tensor([0.99, 0.9, 0.5, 0.01, 1e-6], dtype=torch.float64)
    schedule = TableSchedule(table)
    entries = schedule.level(torch.arange(5).double() / 5)
    torch.testing.assert_close(entries.alpha_bar, table, rtol=1e-15, atol=0)
    for low, share in ((0, 0.5), (1, 0.25), (3, 0.9)):
        want = (1 - share) * logit(float(table[low])) + share * logit(float(table[low + 1]))
        assert logit(float(schedule.level((low + share) / 5).alpha_bar)) == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize("table", [[0.9, 0.9, 0.1], [0.1, 0.9], [1.0, 0.5], [0.5, -0.1], [0.9, math.nan, 0.1]])
def test_a_table_that_does_not_fall_is_refused(table) -> None:
    with pytest.raises(ValueError, match="alphas_cumprod"):
        TableSchedule(torch.tensor(table))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Karras(sigma_min=0), "sigma_min"),
        (lambda: Karras(sigma_min=2.0, sigma_max=1.0), "sigma_min"),
        (lambda: Karras(rho=-math.inf), "rho"),
        (lambda: RectifiedFlow(t_min=0), "t_min"),
        (lambda: RectifiedFlow(t_min=1), "t_min"),
    ],
)
def test_bad_schedules_are_refused_by_field(make, field) -> None:
    with pytest.raises(ValueError, match=f"^{field}="):
        make()


# ------------------------------------------------------------------------------------------------------------ levels


def test_a_level_knows_its_sigma_and_signal_share() -> None:
    at = level(0.6, 0.8)
    assert float(at.sigma) == pytest.approx(4 / 3) and float(at.alpha_bar) == pytest.approx(0.36)
    assert float(level(1, 3).alpha_bar) == pytest.approx(0.1)
    assert float(level(0, 1).sigma) == math.inf and float(level(0, 1).alpha_bar) == 0
    assert float(clean().sigma) == 0 and float(clean().alpha_bar) == 1


def test_rows_of_a_level_are_rows_and_one_row_stands_for_all() -> None:
    at = scaled_linear().level(torch.tensor([0.1, 0.5, 0.9]))
    assert at.rows(torch.tensor([2, 0])).b.tolist() == at.b[[2, 0]].tolist()
    assert at.rows(torch.tensor([False, True, True])).t.tolist() == at.t[1:].tolist()
    assert scaled_linear().level(0.5).rows(torch.tensor([2, 0])).a.shape == (1,)
    values = expand(torch.tensor([2.0, 3.0]), torch.zeros(2, 1, 4, 5))
    assert values.shape == (2, 1, 1, 1) and values.flatten().tolist() == [2, 3]


# ------------------------------------------------------------------------------------------------------------- grids


def entries(grid: grids.Grid) -> list[float]:
    return [float(at.t) * 1000 for at in grid.levels(scaled_linear())]


@pytest.mark.parametrize("n", [2, 3, 7, 10, 30, 48, 50, 61, 96, 100, 103, 199, 333, 500, 999])
@pytest.mark.parametrize(
    ("spacing", "grid"),
    [
        ("leading", lambda n: Leading(n)),
        ("leading", lambda n: Leading(n, offset=1)),
        ("trailing", lambda n: Trailing(n)),
        ("linspace", lambda n: Linspace(n)),
    ],
)
def test_table_grids_visit_the_timesteps_of_diffusers(spacing, grid, n) -> None:
    ours = grid(n)
    offset = getattr(ours, "offset", 0)
    theirs = DDIMScheduler(timestep_spacing=spacing, steps_offset=offset)
    theirs.set_timesteps(n)
    # At n = 61, 103, ... arange's rounding gives diffusers' trailing grid one step too many, at entry -1 or 0.
    assert entries(ours) == pytest.approx(theirs.timesteps[:n].tolist(), abs=1e-9)


@pytest.mark.parametrize("grid", [Leading, Trailing, Linspace])
def test_a_grid_of_all_levels_is_the_whole_table(grid) -> None:
    assert entries(grid(1000)) == pytest.approx(range(999, -1, -1), abs=1e-9)


def test_a_grid_of_one_level_starts_at_pure_noise() -> None:
    assert entries(Linspace(1)) == entries(Trailing(1)) == entries(UniformT(1)) == pytest.approx([999])
    assert UniformSigma(1).levels(Karras())[0].sigma.tolist() == [80]


@pytest.mark.parametrize(
    ("grid", "times"),
    [
        (UniformT(5), [1, 0.75, 0.5, 0.25, 0]),
        (UniformT(3, t_max=0.98, t_min=0.02), [0.98, 0.5, 0.02]),
        (UniformT(5, power=0.5), [1, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5, 0]),
    ],
)
def test_times_fall_as_a_power_of_progress(grid, times) -> None:
    assert grid.times().tolist() == pytest.approx(times, abs=1e-15)
    assert [float(at.t) for at in grid.levels(Karras())] == pytest.approx(times, abs=1e-15)


def test_sigma_grids_fall_evenly_between_their_ends() -> None:
    at = [float(level.sigma) for level in UniformSigma(5, sigma_max=9, sigma_min=1).levels(linear())]
    assert at == pytest.approx([9, 7, 5, 3, 1], rel=1e-14)
    at = [float(level.sigma) for level in UniformLogSigma(4, sigma_max=8.0, sigma_min=1.0).levels(RectifiedFlow())]
    assert at == pytest.approx([8, 4, 2, 1], rel=1e-14)
    ends = [float(level.sigma) for level in UniformLogSigma(7).levels(cosine())]
    assert (ends[0], ends[-1]) == pytest.approx((float(cosine().highest.sigma), float(cosine().lowest.sigma)), rel=1e-13)


@pytest.mark.parametrize("grid", GRIDS)
@each_schedule
def test_every_grid_falls_on_every_schedule(name: str, grid: str) -> None:
    if name == "flow" and grid.endswith("sigma"):
        with pytest.raises(ValueError, match=r"grid\.sigma_max=inf"):
            GRIDS[grid].levels(SCHEDULES[name])
        return
    levels = GRIDS[grid].levels(SCHEDULES[name])
    sigmas = torch.cat([at.sigma for at in levels])
    assert len(levels) == GRIDS[grid].n_levels
    assert (sigmas[1:] < sigmas[:-1]).all() and sigmas[-1] > 0


def rows(*pairs: tuple[float, float]) -> Level:
    a, b = torch.tensor(pairs, dtype=torch.float64).T
    return Level(a, b, 0 * a)


def test_falling_lets_only_falling_levels_pass_and_splits_them() -> None:
    apart = falling(rows((0, 1), (1, 2), (1, 1e-9)))
    assert [(float(at.a), float(at.b)) for at in apart] == [(0, 1), (1, 2), (1, 1e-9)]
    for bad in (rows((1, 1), (1, 1)), rows((1, 1), (1, 2)), rows((0, 1), (0, 1)), rows((1, math.nan), (1, math.nan))):
        with pytest.raises(ValueError, match="sigma must fall"):
            falling(bad)
    for bad in (rows((1, 2), (1, 0)), rows((1, 0)), rows((1, math.nan))):
        with pytest.raises(ValueError, match="must be > 0"):
            falling(bad)


def test_steps_join_neighbouring_levels_and_count_from_one() -> None:
    levels = UniformT(4).levels(linear())
    steps = steps_of(levels)
    assert [step.index for step in steps] == [1, 2, 3]
    assert [step.src for step in steps] == levels[:-1] and [step.dst for step in steps] == levels[1:]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: UniformT(0), "grid.n_levels=0"),
        (lambda: Trailing(-3), "grid.n_levels=-3"),
        (lambda: UniformT(5, t_max=1.5), "grid.t_max=1.5"),
        (lambda: UniformT(5, t_min=-0.1), "grid.t_min=-0.1"),
        (lambda: UniformT(5, t_max=0.2, t_min=0.7), "grid.t_max=0.2, grid.t_min=0.7"),
        (lambda: UniformT(5, power=0.0), "grid.power=0.0"),
        (lambda: UniformT(5, power=math.nan), "grid.power=nan"),
        (lambda: Leading(50, offset=-1), "grid.offset=-1"),
        (lambda: Leading(50, offset=21).levels(linear()), "grid.offset=21"),
        (lambda: Leading(1000, offset=1).levels(linear()), "grid.offset=1"),
        (lambda: Leading(1001).levels(linear()), "grid.n_levels=1001"),
        (lambda: Trailing(1001).levels(linear()), "grid.n_levels=1001"),
        (lambda: Linspace(1001).levels(linear()), "grid.n_levels=1001"),
        (lambda: UniformSigma(5, sigma_max=1.0, sigma_min=2.0).levels(linear()), "grid.sigma_max=1.0, grid.sigma_min=2.0"),
        (lambda: UniformSigma(5, sigma_min=0.0).levels(linear()), "grid.sigma_min=0.0"),
        (lambda: UniformSigma(5).levels(zero_terminal_snr(linear())), "grid.sigma_max=inf"),
    ],
)
def test_bad_grids_are_refused_by_field(make, field) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(field)):
        make()
