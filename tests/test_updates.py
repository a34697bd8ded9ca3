"""Updates: full step, gradient step and Adam are one rule, target by target; the weights are what they are called."""

import pytest
import torch
from torch import Tensor

from sdi_bench.levels import Level
from sdi_bench.scenes import Seen
from sdi_bench.schedules import Karras, RectifiedFlow, scaled_linear
from sdi_bench.update import Adam, FullStep, GradientStep, OneMinusAlphaBar, SigmaWeight, UnitWeight, Update, Weight

SCHEDULES = [scaled_linear(), Karras(), RectifiedFlow()]
TIMES = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)


def see(params: Tensor) -> Seen:
    """The image itself."""
    return Seen(params, lambda slope: slope)


@pytest.fixture
def images() -> list[Tensor]:
    """A start and three targets, [rows, channels, height, width]."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 1, 2, 2, generator=generator, dtype=torch.float64) for _ in range(4)]


def run(update: Update, images: list[Tensor], level: Level) -> Tensor:
    """The parameters after one target after the other."""
    params, memory = images[0], update.init(images[0])
    for target in images[1:]:
        params, memory = update.apply(params, memory, see(params), see, target, level)
    return params


def test_full_step_is_the_target(images):
    assert torch.equal(run(FullStep(), images, Karras().level(TIMES)), images[-1])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_gradient_step_of_size_one_is_the_full_step(schedule, images):
    found = run(GradientStep(1.0), images, schedule.level(TIMES))
    torch.testing.assert_close(found, images[-1], rtol=0, atol=4e-15)  # x - (x - target) rounds twice, at |x| < 5


def test_gradient_step_moves_its_share_of_the_way(images):
    x0, target = images[:2]
    found, _ = GradientStep(0.25).apply(x0, None, see(x0), see, target, Karras().level(TIMES))
    torch.testing.assert_close(found, 0.75 * x0 + 0.25 * target, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_weights(schedule):
    level = schedule.level(TIMES)
    torch.testing.assert_close(SigmaWeight()(level), level.sigma)
    torch.testing.assert_close(OneMinusAlphaBar()(level), level.sigma**2 / (1 + level.sigma**2), rtol=1e-13, atol=0)
    torch.testing.assert_close(UnitWeight()(level), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("weight", [SigmaWeight(), OneMinusAlphaBar(), UnitWeight()], ids=lambda weight: type(weight).__name__)
def test_the_gradient_is_weight_times_predicted_minus_added(schedule, weight, images):
    x0, target = images[:2]
    level = schedule.level(TIMES)
    found, _ = GradientStep(1.0, weight).apply(x0, None, see(x0), see, target, level)
    predicted_minus_added = (x0 - target) / level.sigma[:, None, None, None]
    torch.testing.assert_close(x0 - found, weight(level)[:, None, None, None] * predicted_minus_added, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n_inner", [1, 25])
@pytest.mark.parametrize("weight", [SigmaWeight(), OneMinusAlphaBar()], ids=lambda weight: type(weight).__name__)
@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.0, 0.5)])
def test_adam_is_torchs(n_inner: int, weight: Weight, beta1: float, beta2: float, images):
    level = scaled_linear().level(TIMES)
    found = run(Adam(0.1, n_inner, weight, beta1, beta2), images, level)
    params = images[0].clone().requires_grad_()
    optimiser = torch.optim.Adam([params], 0.1, (beta1, beta2))
    for target in images[1:]:
        for _ in range(n_inner):
            params.grad = (weight(level) / level.sigma)[:, None, None, None] * (params.detach() - target)
            optimiser.step()
    torch.testing.assert_close(found, params.detach(), rtol=0, atol=1e-12)


def test_adam_rows_do_not_touch_each_other(images):
    together = run(Adam(n_inner=3), images, scaled_linear().level(TIMES))
    for i, t in enumerate(TIMES):
        alone = run(Adam(n_inner=3), [image[i : i + 1] for image in images], scaled_linear().level(t))
        assert torch.equal(alone[0], together[i])


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: GradientStep(0.0), "update.size=0.0"),
        (lambda: GradientStep(float("nan")), "update.size=nan"),
        (lambda: Adam(lr=-1.0), "update.lr=-1.0"),
        (lambda: Adam(n_inner=0), "update.n_inner=0"),
        (lambda: Adam(beta1=1.0), "update.beta1=1.0"),
        (lambda: Adam(beta2=-0.1), "update.beta2=-0.1"),
        (lambda: Adam(eps=0.0), "update.eps=0.0"),
    ],
)
def test_bad_settings_are_named(build, field):
    with pytest.raises(ValueError, match=field):
        build()
