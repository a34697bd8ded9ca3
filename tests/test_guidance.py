"""The guidance convention: 0 is unconditional, 1 is conditional; one row where one is enough."""

import math

import numpy as np
import pytest
import tiny_pipelines
import torch

from sdi_bench.guidance import Blend, Guidance, PerpNeg, Sides, between, from_threestudio, to_threestudio
from sdi_bench.models import Gaussian, Network
from sdi_bench.models.checkpoints import DiffusersFolder
from sdi_bench.predictor import Predictor
from sdi_bench.schedules import scaled_linear


def stack(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


@pytest.mark.parametrize(
    ("guidance", "conds"),
    [
        (Guidance(), (("cat", None, "dog"),)),
        (Guidance(1.0, "ugly"), (("cat", None, "dog"),)),
        (Guidance(0.0), ((None, None, None),)),
        (Guidance(0.0, "ugly"), (("ugly", "ugly", "ugly"),)),
        (Guidance(7.5), ((None, None, None), ("cat", None, "dog"))),
        (Guidance(-7.5, "ugly"), (("ugly", "ugly", "ugly"), ("cat", None, "dog"))),
    ],
)
def test_one_condition_is_asked_for_at_scales_0_and_1_and_two_elsewhere(guidance, conds) -> None:
    assert guidance.conds(["cat", None, "dog"]) == conds


@pytest.mark.parametrize(("scale", "guided"), [(7.5, 16), (-1, -1), (0.5, 2), (2, 5)])
def test_two_predictions_combine_as_the_convention_says(scale: float, guided: float) -> None:
    assert Guidance(scale).combine(stack(1, 3)).tolist() == [[guided]]  # 1 + scale·(3 - 1)


@pytest.mark.parametrize(("scale", "limit"), [(0, 1), (1, 3)])
def test_the_scales_that_cost_one_row_are_the_limits_of_those_that_cost_two(scale: float, limit: float) -> None:
    near = Guidance(scale + 1e-12)
    assert len(near.conds(["cat"])) == 2
    assert float(near.combine(stack(1, 3))) == pytest.approx(limit, abs=1e-11)
    prompt = Guidance(scale).conds(["cat"])[0][0]
    assert float(Guidance(scale).combine(stack({None: 1, "cat": 3}[prompt]))) == limit


@pytest.mark.parametrize("scale", [-2.0, 0.5, 7.5])
def test_on_gaussians_of_one_covariance_guidance_moves_the_mean(scale: float) -> None:
    """p(x)^(1-gamma)·p(x|c)^gamma of two Gaussians of covariance C is one of covariance C again, at all noise levels."""
    cov, base, cat = [[1.0, 0.3], [0.3, 0.5]], torch.tensor([0.5, -1.0]).double(), torch.tensor([-0.2, 0.4]).double()
    model = Gaussian.of({"cat": (cat, cov)}, (base, cov))
    moved = Gaussian.of({}, (base + scale * (cat - base), cov))
    x, at = torch.tensor([[0.3, 2.0], [-1.0, 0.1]], dtype=torch.float64), scaled_linear().level(torch.tensor([0.3, 0.9]))
    guidance = Guidance(scale)
    raw, want = model.predict(x, at, guidance.conds(["cat", "cat"])), moved.predict(x, at, [[None, None]])
    # ulps of terms up to 8.5·10
    torch.testing.assert_close(guidance.combine(raw.x0), want.x0[0], rtol=0, atol=1e-13)
    torch.testing.assert_close(guidance.combine(raw.eps), want.eps[0], rtol=0, atol=1e-13)


def test_threestudio_s_scale_is_ours_less_one() -> None:
    s, uncond, cond = 99.0, 1.0, 3.0
    theirs = cond + s * (cond - uncond)  # threestudio's plain branch; also (1 + w)·cond - w·uncond of Ho and Salimans
    assert float(Guidance(from_threestudio(s)).combine(stack(uncond, cond))) == theirs
    assert to_threestudio(from_threestudio(s)) == s and to_threestudio(7.5) == 6.5


def test_another_scale_keeps_the_negative_prompt() -> None:
    assert Guidance(7.5, "ugly").at(-2.0) == Guidance(-2.0, "ugly")


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Guidance(math.inf), "guidance.scale=inf"),
        (lambda: Guidance(math.nan), "guidance.scale=nan"),
        (lambda: Guidance(1.0).at(-math.inf), "guidance.scale=-inf"),
    ],
)
def test_a_scale_that_is_not_finite_is_refused_by_field(make, field) -> None:
    with pytest.raises(ValueError, match=f"^{field}"):
        make()


def test_perpendicular_negatives_keep_what_they_share_with_the_prompt() -> None:
    """By hand in the plane: uncond (0, 0), prompt (2, 0), negative (1, 3): across the prompt it is (0, 3)."""
    stack = torch.tensor([[[0.0, 0.0]], [[2.0, 0.0]], [[1.0, 3.0]]], dtype=torch.float64)
    assert PerpNeg(2.0, weight=0.5).combine(stack)[0].tolist() == [4.0, -3.0]
    assert PerpNeg(2.0, weight=0.0).combine(stack)[0].tolist() == Guidance(2.0).combine(stack[:2])[0].tolist()
    parallel = torch.tensor([[[1.0, 1.0]], [[2.0, 0.0]], [[3.0, -1.0]]], dtype=torch.float64)
    assert PerpNeg(3.0).combine(parallel)[0].tolist() == Guidance(3.0).combine(parallel[:2])[0].tolist()
    same = torch.ones(3, 1, 2, dtype=torch.float64)
    assert PerpNeg(3.0).combine(same)[0].tolist() == [1.0, 1.0]  # no direction: nothing to be perpendicular to


def test_perpendicular_negatives_combine_x0_as_they_combine_eps() -> None:
    """x0 = (x - b·eps) / a is affine with one factor per image, so guiding either is guiding both."""
    generator = torch.Generator().manual_seed(0)
    eps = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    x, a, b = torch.randn(3, 5, generator=generator, dtype=torch.float64), 0.6, 0.8
    guidance = PerpNeg(-7.5, weight=1.3)
    torch.testing.assert_close(guidance.combine((x - b * eps) / a), (x - b * guidance.combine(eps)) / a, rtol=0, atol=1e-12)


def test_perpendicular_negatives_are_other_sides_and_the_negative_prompt() -> None:
    guidance = PerpNeg(2.0, "blurry").against(sides_of(["a", "b"], ["front", "side"], [0.0, 90.0]))
    assert guidance.conds(["a", "b"]) == (
        (None, None),
        ("a", "b"),
        ("a side", "b front"),
        ("a back", "b back"),
        ("blurry",) * 2,
    )
    assert guidance.at(0).conds(["a", "b"]) == ((None, None),)
    assert guidance.at(-2.0).rows([1]).conds(["b"]) == ((None,), ("b",), ("b front",), ("b back",), ("blurry",))
    assert guidance.at(1).conds(["a", "b"])[1] == ("a", "b")  # at gamma 1 the negatives still count
    with pytest.raises(ValueError, match=r"guidance.weight=-1"):
        PerpNeg(weight=-1)
    with pytest.raises(ValueError, match=r"guidance.weights='linear': must be constant or azimuth"):
        PerpNeg(weights="linear")


def sides_of(prompts: list[str], views: list[str], azimuths: list[float]) -> Sides:
    named = (tuple(f"{prompt} {side}" for prompt in prompts) for side in ("front", "side", "back"))
    return Sides(*named, tuple(views), tuple(azimuths))


F_SB, F_FSB, F_FS, F_SF = (1, 0.5, -0.606), (1, 0.5, +0.967), (4, 0.5, -2.426), (4, 0.5, -2.426)
"""threestudio's perp_neg_f_*: weight = a·exp(-b·r) + c."""


def published(stack: np.ndarray, azimuth: float, gamma: float) -> np.ndarray:
    """By hand, from threestudio's conditions: stack holds what is predicted of no prompt, front, side and back, in this order.

    Models here are affine in the prompt, so that to blend predictions is to blend embeddings.
    """
    none, front, side, back = stack
    azimuth = (azimuth + 180.0) % 360.0 - 180.0

    def f(numbers: tuple[float, float, float], r: float) -> float:
        a, b, c = numbers
        return abs(a * np.exp(-b * r) + c)

    if abs(azimuth) < 90:
        r = 1 - abs(azimuth) / 90
        positive, negatives = r * front + (1 - r) * side, ((front, f(F_FS, r)), (side, f(F_SF, 1 - r)))
    else:
        r = 2 - abs(azimuth) / 90
        positive, negatives = r * side + (1 - r) * back, ((side, f(F_SB, r)), (front, f(F_FSB, r)))
    e = positive - none
    away = sum(w * ((n - none) - ((n - none) @ e) / (e @ e) * e) for n, w in negatives)
    return none + gamma * (e - away)


@pytest.mark.parametrize("azimuth", [0.0, 30.0, 45.0, 59.0, 89.9, 90.0, 120.0, 180.0, 200.0, 315.0, -45.0])
def test_weights_by_azimuth_are_threestudio_s(azimuth: float) -> None:
    """As published, in a batch with other azimuths, rows picked and reordered: to float64."""
    rng = np.random.default_rng(0)
    table = {None: rng.standard_normal(5)} | {
        f"{p} {s}": rng.standard_normal(5) for p in "ab" for s in ("front", "side", "back")
    }

    def forward(x: torch.Tensor, t: torch.Tensor, prompts: tuple[str | None, ...]) -> torch.Tensor:
        return torch.from_numpy(np.stack([table[prompt] for prompt in prompts]))

    guidance = PerpNeg(7.5, weights="azimuth").against(sides_of(["a", "b"], ["side", "front"], [140.0, azimuth])).rows([1, 0])
    net = Predictor(Network(forward, (5,), dtype=torch.float64), scaled_linear(), guidance, ("b", "a"))
    found = net(torch.zeros(2, 5, dtype=torch.float64), net.level(0.5)).eps.numpy()
    for row, (prompt, angle) in enumerate((("b", azimuth), ("a", 140.0))):
        stack = np.stack([table[None], *(table[f"{prompt} {side}"] for side in ("front", "side", "back"))])
        np.testing.assert_allclose(found[row], published(stack, angle, 7.5), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("azimuth", "weights"), [(0, (0.0, 1.57)), (45, (0.69, 0.69)), (59, (0.94, 0.46)), (180, (0.39, 1.97)), (-59, (0.94, 0.46))]
)
def test_the_weights_are_those_measured_beside_the_released_code(azimuth: float, weights: tuple[float, float]) -> None:
    found = between("f", "s", "b", "side", azimuth, None)[2]
    assert found == pytest.approx(weights, abs=0.006)


def test_from_overhead_no_side_counts_and_a_blend_at_its_end_is_a_prompt() -> None:
    told = PerpNeg(7.5, "ugly", weights="azimuth").against(sides_of(["a", "b"], ["overhead", "front"], [10.0, 360.0]))
    assert told.conds(["a above", "b front"]) == (
        ("ugly", "ugly"),
        ("a above", "b front"),
        ("ugly", "b front"),
        ("ugly", "b side"),
    )
    assert [weights[0] for weights in told.factors] == [0.0, 0.0]
    assert Blend.of("x", "y", 0.25) == Blend.of("x", "y", 0.25) != Blend.of("y", "x", 0.25)


def test_a_network_of_text_is_asked_for_the_blended_embedding(tmp_path) -> None:
    model = DiffusersFolder.of(tiny_pipelines.save("sd", tmp_path), "float32", "cpu")
    one, other = model.embedded("a cat"), model.embedded("a dog")
    (mixed,) = model.rows_of([Blend.of("a cat", "a dog", 0.25)])
    torch.testing.assert_close(mixed, 0.25 * one[0] + 0.75 * other[0])
