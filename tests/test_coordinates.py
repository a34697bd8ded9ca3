"""Every parametrisation loses nothing, means what its definition says, and commutes with guidance."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, EDMEulerScheduler
from torch import Tensor

from sdi_bench import coordinates
from sdi_bench.coordinates import (
    Epsilon,
    FlowVelocity,
    Parametrisation,
    Preconditioned,
    Sample,
    Score,
    Velocity,
    eps_from_x0,
    noisy,
    x0_from_eps,
    x_bar,
)
from sdi_bench.guidance import Guidance
from sdi_bench.levels import Level, clean, expand
from sdi_bench.schedules import RectifiedFlow, scaled_linear

# Every class of the module that encodes, so that a new one is tested without being listed here.
ALL = [c() for c in vars(coordinates).values() if isinstance(c, type) and hasattr(c, "encode") and c is not Parametrisation]
each = pytest.mark.parametrize("how", ALL, ids=lambda how: type(how).__name__)


def level(*rows: tuple[float, float]) -> Level:
    a, b = torch.tensor(rows, dtype=torch.float64).T
    return Level(a, b, torch.linspace(0, 1, len(rows), dtype=torch.float64))


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    x0, eps = np.random.default_rng(0).standard_normal((2, *shape))
    return torch.from_numpy(x0), torch.from_numpy(eps)


LEVELS = {
    "variance preserving": level((0.6, 0.8)),
    "variance exploding": level((1, 7)),
    "flow": level((0.3, 0.7)),
    "nearly clean": level((0.99, 0.01)),
    "a row each": level((0.6, 0.8), (1, 7), (0.3, 0.7), (0.99, 0.01)),
}
each_level = pytest.mark.parametrize("at", LEVELS.values(), ids=LEVELS)


def test_all_parametrisations_were_found() -> None:
    assert {type(how) for how in ALL} >= {Epsilon, Sample, Velocity, Preconditioned, FlowVelocity, Score}


@each
@each_level
def test_encoding_loses_neither_x0_nor_eps(how: Parametrisation, at: Level) -> None:
    x0, eps = pair(4, 2, 3)
    found = how.decode(how.encode(x0, eps, at), noisy(x0, eps, at), at)
    for half, want in zip(found, (x0, eps), strict=True):
        # A few ulps, times b/a = 7 (x0 from eps) or a/b = 99 (eps from x0): below 1e-13.
        torch.testing.assert_close(half, want, rtol=0, atol=1e-13)


@each
def test_pure_noise_is_decoded_wherever_the_output_says_something_about_x0(how: Parametrisation) -> None:
    x0, eps = pair(3, 2)
    at = level((0, 1))
    found_x0, found_eps = how.decode(how.encode(x0, eps, at), noisy(x0, eps, at), at)
    torch.testing.assert_close(found_eps, eps, rtol=0, atol=1e-15)
    if isinstance(how, Epsilon | Score):  # the output is a function of x alone there: x0 is nowhere to be found
        assert not found_x0.isfinite().any()
    else:
        torch.testing.assert_close(found_x0, x0, rtol=0, atol=1e-15)


@each
@each_level
@pytest.mark.parametrize("scale", [-3.0, 0.5, 7.5])
def test_guidance_commutes_with_every_parametrisation(how: Parametrisation, at: Level, scale: float) -> None:
    x, _ = pair(4, 2, 3)
    outputs = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 4, 2, 3)))
    combine = Guidance(scale).combine
    guided_output = how.decode(combine(outputs), x, at)
    halves = [how.decode(output, x, at) for output in outputs]
    # some sixteen roundings, of decoding (at most by b/a, a/b, and for the score once more by b) and of the two weights
    a, b = expand(at.a, x), expand(at.b, x)
    size = (abs(scale) + abs(1 - scale)) * (1 + b) * (1 + a / b + b / a) * (x.abs() + outputs.abs().sum(0))
    for guided, first, second in zip(guided_output, *halves, strict=True):
        gap = (guided - combine(torch.stack([first, second]))).abs()
        assert (gap <= 16 * 2.0**-53 * size).all()


def test_the_elementary_relations_hold_for_hand_numbers() -> None:
    at, one = level((0.6, 0.8), (1, 2)), torch.ones(2, 1, dtype=torch.float64)
    x = noisy(5 * one, 10 * one, at)
    assert x.flatten().tolist() == pytest.approx([11, 25], rel=1e-15)
    assert x0_from_eps(x, 10 * one, at).flatten().tolist() == pytest.approx([5, 5], rel=1e-14)
    assert eps_from_x0(x, 5 * one, at).flatten().tolist() == pytest.approx([10, 10], rel=1e-14)
    assert x_bar(x, at).flatten().tolist() == pytest.approx([11 / 0.6, 25], rel=1e-15)
    assert torch.equal(noisy(x, one, clean()), x)


def test_velocity_is_that_of_diffusers() -> None:
    scheduler = DDPMScheduler()
    n = torch.tensor([0, 400, 999])
    signal = scheduler.alphas_cumprod[n].double()  # its float32 table, so that the two agree to the last bits
    x0, eps = pair(3, 1, 2, 2)
    theirs = scheduler.get_velocity(x0, eps, n)
    torch.testing.assert_close(Velocity().encode(x0, eps, Level(signal.sqrt(), (1 - signal).sqrt(), n / 1000.0)), theirs)


@pytest.mark.parametrize("sigma_data", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("negated", [False, True])
def test_preconditioning_is_that_of_diffusers(sigma_data: float, negated: bool) -> None:
    told = "v_prediction" if negated else "epsilon"
    scheduler = EDMEulerScheduler(sigma_data=sigma_data, prediction_type=told)
    out, x_bar = pair(3, 2, 2)
    sigma = torch.tensor([0.01, 1.0, 70.0], dtype=torch.float64)
    theirs = scheduler.precondition_outputs(x_bar, out, sigma.reshape(3, 1, 1))
    how = Preconditioned(sigma_data, negated)
    for a in (1.0, 0.3):  # the output is a function of x_bar and sigma
        at = Level(a * torch.ones_like(sigma), a * sigma, 0 * sigma)
        torch.testing.assert_close(how.decode(out, a * x_bar, at)[0], theirs, rtol=1e-13, atol=1e-13)


def test_preconditioning_with_data_of_spread_one_is_velocity() -> None:
    x0, eps = pair(5, 3)
    at = LEVELS["a row each"].rows(torch.tensor([0, 1, 2, 3, 0]))
    assert torch.equal(Preconditioned(1.0, negated=True).encode(x0, eps, at), Velocity().encode(x0, eps, at))
    assert torch.equal(Preconditioned(1.0).encode(x0, eps, at), -Velocity().encode(x0, eps, at))
    with pytest.raises(ValueError, match=r"^sigma_data=0.0: "):
        Preconditioned(0.0)


@each_level
def test_velocity_turns_x_along_the_circle(at: Level) -> None:
    x0, eps = pair(4, 3)
    phi = torch.atan2(at.b, at.a)

    def on_circle(phi: Tensor) -> Tensor:
        return noisy(x0, eps, Level(phi.cos(), phi.sin(), at.t))

    _, speed = torch.autograd.functional.jvp(on_circle, (phi,), (torch.ones_like(phi),))
    torch.testing.assert_close(Velocity().encode(x0, eps, at), speed, rtol=0, atol=1e-14)


def test_flow_velocity_is_dx_dt_of_rectified_flow() -> None:
    x0, eps = pair(2, 3)
    t = torch.tensor([0.2, 0.9], dtype=torch.float64)
    _, speed = torch.autograd.functional.jvp(lambda t: noisy(x0, eps, RectifiedFlow().level(t)), (t,), (torch.ones_like(t),))
    torch.testing.assert_close(FlowVelocity().encode(x0, eps, RectifiedFlow().level(t)), speed, rtol=0, atol=1e-15)


@each_level
def test_score_is_the_gradient_of_the_noise_s_log_density(at: Level) -> None:
    x0, eps = pair(4, 3)
    x = noisy(x0, eps, at).requires_grad_()
    mean, spread = at.a[:, None] * x0, at.b[:, None].expand(4, 3)
    torch.distributions.Normal(mean, spread).log_prob(x).sum().backward()
    # x - a·x0 loses an ulp of x, |x| <= 20, which is divided by b² >= 1e-4: 20·1e-16/1e-4 < 1e-10.
    torch.testing.assert_close(Score().encode(x0, eps, at), x.grad, rtol=0, atol=1e-10)


def test_states_may_have_any_shape_and_keep_their_precision() -> None:
    for shape in ((2,), (2, 3), (2, 1, 4, 4)):
        x0, eps = pair(*shape)
        assert noisy(x0, eps, level((0.6, 0.8))).shape == shape
    # A float32 output at a float64 level comes back in float64: no precision of the state is lost in a model.
    out = FlowVelocity().decode(torch.zeros(2, 3), torch.full((2, 3), math.pi, dtype=torch.float64), level((0.3, 0.7)))
    assert all(half.dtype == torch.float64 and float(half[0, 0]) == math.pi for half in out)


@each
@pytest.mark.parametrize("rows", [1, 2])  # two rows for two conditions: a level put along the wrong axis would pass unseen
def test_outputs_of_several_conditions_are_decoded_as_one_by_one(how: Parametrisation, rows: int) -> None:
    x, _ = pair(2, 3, 4)
    at = scaled_linear().level(torch.tensor([0.3, 0.8], dtype=torch.float64)[:rows])
    outputs = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 2, 3, 4)))
    together = how.decode(outputs, x, at)
    for found, want in zip(together, zip(*(how.decode(output, x, at) for output in outputs), strict=True), strict=True):
        assert torch.equal(found, torch.stack(want))
