"""The predictor: what it answers, and what it says it cost."""

import pytest
import torch

from sdi_bench.guidance import Guidance
from sdi_bench.models import Mixture
from sdi_bench.predictor import Cost, Predictor, Use
from sdi_bench.schedules import scaled_linear

MODEL = Mixture.of([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [2.0, 2.0]], ["a", "b", "a", "ugly"], [0.3, 0.5, 0.2, 0.4])
PROMPTS = ("a", "b", None, "a")
SCHEDULE = scaled_linear()
AT = SCHEDULE.level(0.6)
X = torch.tensor([[0.1, 0.5], [1.0, -0.2], [0.3, 0.3], [-0.4, 0.9]], dtype=torch.float64)


def predictor(scale: float, negative: str | None = None) -> Predictor:
    return Predictor(MODEL, SCHEDULE, Guidance(scale, negative), PROMPTS)


def alone(row: int, prompt: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    x0, eps = MODEL.predict(X[row : row + 1], AT, [[prompt]])
    return x0[0, 0], eps[0, 0]


@pytest.mark.parametrize("negative", [None, "ugly"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5, -2.0])
def test_the_guided_prediction_combines_rows_asked_for_one_by_one(scale: float, negative: str | None) -> None:
    found = predictor(scale, negative)(X, AT)
    for row, prompt in enumerate(PROMPTS):
        for half, cond, base in zip((found.x0, found.eps), alone(row, prompt), alone(row, negative), strict=True):
            # ulps of terms up to 8.5·2
            torch.testing.assert_close(half[row], (1 - scale) * base + scale * cond, rtol=0, atol=1e-13)
    assert len(found.raw.x0) == len(found.raw.eps) == (1 if scale in (0, 1) else 2)


@pytest.mark.parametrize(
    ("scale", "conditional", "unconditional"), [(0.0, 0, 4), (1.0, 4, 0), (7.5, 4, 4), (-2.0, 4, 4), (0.5, 4, 4)]
)
def test_each_condition_costs_a_row_per_image_on_its_own_account(scale, conditional, unconditional) -> None:
    net = predictor(scale)
    net(X, AT)
    want = dict.fromkeys(Use, 0) | {Use.CONDITIONAL: conditional, Use.UNCONDITIONAL: unconditional}
    assert net.cost.rows == want
    net(X, AT)
    assert net.cost.rows == {use: 2 * rows for use, rows in want.items()}


def test_a_use_that_is_named_is_booked_whole() -> None:
    net = predictor(7.5)
    net(X, AT, use=Use.INVERSION)
    assert net.cost.rows == dict.fromkeys(Use, 0) | {Use.INVERSION: 8}


def test_another_scale_replaces_the_sampler_s_for_one_call() -> None:
    net = predictor(7.5, "ugly")
    assert torch.equal(net(X, AT, scale=-3.0).eps, predictor(-3.0, "ugly")(X, AT).eps)
    assert torch.equal(net(X, AT).eps, predictor(7.5, "ugly")(X, AT).eps)
    fresh = predictor(7.5)
    fresh(X, AT, scale=0.0)
    assert fresh.cost.rows[Use.UNCONDITIONAL] == 4 and fresh.cost.rows[Use.CONDITIONAL] == 0


@pytest.mark.parametrize("rows", [[3, 1], [2], [0, 1, 2, 3], [1, 1]])
def test_some_rows_are_answered_as_in_the_whole_batch_and_only_they_cost(rows: list[int]) -> None:
    net, index = predictor(7.5), torch.tensor(rows)
    part = net(X[index], AT, rows=index.tolist())
    cost = net.cost.rows
    whole = predictor(7.5)(X, AT)
    torch.testing.assert_close(part.x0, whole.x0[index], rtol=0, atol=1e-14)
    torch.testing.assert_close(part.eps, whole.eps[index], rtol=0, atol=1e-14)
    assert cost[Use.CONDITIONAL] == cost[Use.UNCONDITIONAL] == len(rows)


def test_predictors_share_a_meter_only_if_given_one() -> None:
    cost = Cost()
    nets = [Predictor(MODEL, SCHEDULE, Guidance(), PROMPTS, cost=cost) for _ in range(2)]
    for net in nets:
        net(X, AT)
    assert cost.rows[Use.CONDITIONAL] == 8
    assert predictor(1.0).cost.rows == dict.fromkeys(Use, 0)


def test_its_level_is_the_schedule_s() -> None:
    at, want = predictor(1.0).level(0.6), AT
    assert (at.a, at.b, at.t) == (want.a, want.b, want.t)
    assert predictor(1.0).level(torch.tensor([0.1, 0.2], dtype=torch.float64)).a.shape == (2,)
