"""The prior that takes guidance against brute force: blocks drawn from pictures, patches from mixtures, and how they join."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from cases import crossed, slow
from scipy.stats import multivariate_normal
from torch import Tensor

from sdi_bench.command_line import conf_dir
from sdi_bench.guidance import Guidance
from sdi_bench.levels import Level
from sdi_bench.models import builtin, mosaic
from sdi_bench.models.mosaic import Mosaic
from sdi_bench.models.patch_mixture import COARSE, PatchMixture, PatchPyramid, ramp, shipped_pyramid
from sdi_bench.models.words import Words
from sdi_bench.predictor import Predictor
from sdi_bench.schedules import cosine

N = 30
CAPTIONS = [f"{('red', 'green', 'old blue')[i % 3]} {('cat', 'dog', 'chair', 'lamp', 'cup')[i % 5]}" for i in range(N)]
WORDS = Words({"concept": CAPTIONS}, {"concept": 1.0}, temperature=0.2, n_most=9, n_null=N)
PROMPTS = ["red cat", "an old lamp", None]
WINDOWS = ((0.0, 0), (0.5, 1), (2.0, 3), (6.0, 8))
LEVELS = [(1.0, 0.3), (0.8, 0.6), (0.5, 2.0), (0.1, 3.0)]
"""a and b: one in each of the windows."""


def prior(size: int, **more) -> Mosaic:
    images = np.random.default_rng(size).integers(0, 256, (N, 3, size, size)).astype(np.uint8)
    return Mosaic(images, WORDS, width=0.3, dtype=torch.float64, windows=WINDOWS, **more)


def mixture(side: int = 3, seed: int = 0) -> PatchMixture:
    draws = np.random.default_rng(seed)
    d, k = 3 * side**2, 4
    roots = draws.standard_normal((k, d, d)) / 3
    covariances = roots @ roots.transpose(0, 2, 1) + 0.01 * np.eye(d)
    return PatchMixture(draws.dirichlet(np.ones(k)), draws.standard_normal((k, d)) / 2, covariances)


def at(a: float, b: float) -> Level:
    return Level(*(torch.tensor([v], dtype=torch.float64) for v in (a, b, b / (a + b))))


def noisy(size: int, n: int = 3, seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 3, size, size)))


def hats(size: int) -> np.ndarray:
    """[8, size]: how much a block's weights count at a pixel: linear from the middle of one block to that of the next."""
    middles = (np.arange(8) + 0.5) * size / 8
    return np.stack([np.interp(np.arange(size) + 0.5, middles, np.eye(8)[q]) for q in range(8)])


def brute(model: Mosaic, x: np.ndarray, a: float, b: float, prompt: str | None, few: bool = False) -> np.ndarray:
    """The posterior mean by loops over blocks and pictures, from the definition, in float64.

    few: detail only of the heaviest among pictures 0, k, 2k, ..., among 1, k + 1, ..., k = n_detail.
    """
    index, log_weights = model.words.weigh(prompt)
    images, size = model.images[index] / 127.5 - 1.0, model.images.shape[-1]
    cells = min(16, size)
    per, pixels = cells // 8, size // cells

    def eye(picture: np.ndarray) -> np.ndarray:
        return picture.reshape(3, cells, pixels, cells, pixels).mean((2, 4))

    def up(small: np.ndarray) -> np.ndarray:
        middles = (np.arange(cells) + 0.5) * pixels
        to = np.stack([np.interp(np.arange(size) + 0.5, middles, np.eye(cells)[c]) for c in range(cells)])
        return np.einsum("cyx,yh,xw->chw", small, to, to)

    radius = next(r for start, r in reversed(WINDOWS) if start <= b / a)
    v, seen = b * b + (a * model.width) ** 2, eye(x)
    coarse, detail, side = np.zeros((3, cells, cells)), np.zeros((3, size, size)), hats(size)
    for q in range(8):
        for r in range(8):
            rows = np.s_[max(0, q - radius) * per : (q + radius + 1) * per]
            columns = np.s_[max(0, r - radius) * per : (r + radius + 1) * per]
            window = np.s_[:, rows, columns]
            logits = [
                w - pixels**2 * ((seen[window] - a * eye(image)[window]) ** 2).sum() / (2 * v)
                for w, image in zip(log_weights, images, strict=True)
            ]
            weights = np.exp(logits - np.max(logits))
            weights /= weights.sum()
            own = np.s_[:, q * per : (q + 1) * per, r * per : (r + 1) * per]
            for i, (weight, image) in enumerate(zip(weights, images, strict=True)):
                coarse[own] += weight * eye(image)[own]
                if not few or weight == weights[i % model.n_detail :: model.n_detail].max():
                    detail += weight * np.outer(side[q], side[r]) * (image - up(eye(image)))
    mean = up(coarse) + detail
    return mean + a * model.width**2 / v * (x - a * mean)


@pytest.mark.parametrize(("level", "size"), crossed(LEVELS, [8, 16, 32]))
def test_it_is_the_posterior_by_brute_force(size: int, level: tuple[float, float]) -> None:
    (a, b), model, x = level, prior(size), noisy(size)
    found = model.predict(x, at(a, b), [PROMPTS])
    # the exponents are differences of sums of up to 3e3, which float64 keeps to 4e-13 a rounding
    for row, prompt in enumerate(PROMPTS):
        want = brute(model, x[row].numpy(), a, b, prompt)
        assert np.abs(found.x0[0, row].numpy() - want).max() < 1e-10
        assert np.abs(found.eps[0, row].numpy() - (x[row].numpy() - a * want) / b).max() < 1e-9


@pytest.mark.parametrize(
    ("level", "n_detail", "size"),
    [*crossed(LEVELS, [1, 4, N], [8, 16, 32]), *(slow((level, n_detail, 64)) for level in LEVELS for n_detail in (1, 4, N))],
)
def test_more_pictures_than_are_kept_go_by_parts(monkeypatch, size: int, level: tuple[float, float], n_detail: int) -> None:
    """Coarse as by brute force; detail of the heaviest in each part. Of 64 pixels the images stay bytes."""
    monkeypatch.setattr(mosaic, "KEPT", 0)
    (a, b), model, x = level, replace(prior(size), n_detail=n_detail), noisy(size)
    found = model.predict(x, at(a, b), [PROMPTS]).x0[0]
    for row, prompt in enumerate(PROMPTS):
        assert np.abs(found[row].numpy() - brute(model, x[row].numpy(), a, b, prompt, few=True)).max() < 1e-10


@pytest.mark.parametrize(
    ("level", "kept", "size"),
    [*crossed(LEVELS, [0, 64], [8, 16, 32]), *(slow((level, kept, 64)) for level in LEVELS for kept in (0, 64))],
)
def test_what_is_compiled_for_float32_is_the_posterior_by_brute_force(
    monkeypatch, size: int, level: tuple[float, float], kept: int
) -> None:
    """Of prompts that mean few pictures and, by parts, many. At 64 pixels they stay bytes; radius 0 to all."""
    monkeypatch.setattr(mosaic, "KEPT", kept)
    (a, b), model, x = level, replace(prior(size), dtype=torch.float32), noisy(size)
    found = model.predict(x, at(a, b), [PROMPTS]).x0[0]
    # exponents are sums of up to 3e3, of terms as large, which float32 keeps to 2e-4 a rounding
    for row, prompt in enumerate(PROMPTS):
        want = brute(model, x[row].numpy(), a, b, prompt, few=kept == 0)
        assert np.abs(found[row].numpy() - want).max() < 1e-3
        assert np.sqrt(np.square(found[row].numpy() - want).mean()) < 1e-4


@pytest.mark.parametrize("size", [8, 16, slow(32), slow(64)])
def test_what_is_compiled_agrees_with_products_of_matrices_in_float64(size: int) -> None:
    """The built-in prior, of whose 11,000 pictures there are many groups; in all of its windows, with and without a prompt."""
    model = builtin.mosaic(size=size)
    exact, prompts = replace(model, dtype=torch.float64), ["owl, twemoji emoji", "a chair"]
    clean = torch.stack([model.seen(model.images[k : k + 1])[0] for k in (7, 7000)])
    for sigma in (0.2, 0.7, 2.3, 5.0, 12.0):
        x = clean + sigma * noisy(size, 2)
        found, want = (of.predict(x, at(1.0, sigma), [prompts, [None] * 2]).x0 for of in (model, exact))
        # exponents of 1e3 and their roundings of 1e-4; where two pictures weigh alike, detail is of one or the other
        assert (found - want).abs().max() < 5e-3 and (found - want).square().mean().sqrt() < 1e-4


def test_a_gradient_is_never_lost_to_what_is_compiled() -> None:
    model = replace(prior(16), dtype=torch.float32)
    asked = noisy(16).requires_grad_()
    (slope,) = torch.autograd.grad(model.predict(asked, at(0.8, 0.6), [PROMPTS]).x0.square().sum(), asked)
    exact = noisy(16).requires_grad_()
    (want,) = torch.autograd.grad(prior(16).predict(exact, at(0.8, 0.6), [PROMPTS]).x0.square().sum(), exact)
    assert (slope - want).abs().max() < 1e-3 * want.abs().max()


def test_a_guided_picture_is_cut_off_and_its_noise_found_anew() -> None:
    model, x, level = prior(8), noisy(8), at(0.8, 0.6)
    guided = {
        clip: Predictor(replace(model, clip=clip), cosine(), Guidance(7.5), ("red cat",) * 3)(x, level)
        for clip in (True, False)
    }
    assert guided[False].x0.abs().max() > 1.5 and torch.equal(guided[True].x0, guided[False].x0.clamp(-1, 1))
    assert (0.8 * guided[True].x0 + 0.6 * guided[True].eps - x).abs().max() < 1e-12


def test_levels_of_all_kinds_in_one_batch() -> None:
    """Pure noise, what pictures denoise, what patches do, both, and no noise: each row is what it is alone."""
    model, x, prompts = prior(8, patches=PatchPyramid({8: mixture()})), noisy(8, 5), [*PROMPTS, "green dog", None]
    a, b = torch.tensor([[0.0, 1.0, 0.9, 1.0, 0.8], [1.0, 0.0, 0.4, 0.03, 0.06]], dtype=torch.float64)
    together = model.predict(x, Level(a, b, b / (a + b)), [prompts])
    for row in range(5):
        alone = model.predict(x[row : row + 1], at(float(a[row]), float(b[row])), [[prompts[row]]])
        assert torch.equal(together.x0[:, row], alone.x0[:, 0]) and torch.equal(together.eps[:, row], alone.eps[:, 0])
        assert together.x0.isfinite().all()


def test_no_prompt_is_all_pictures_and_a_prompt_that_means_all_is_none() -> None:
    model, x = prior(16), noisy(16)
    everything = replace(model, words=replace(WORDS, n_most=N, temperature=1e12))
    found = everything.predict(x, at(0.8, 0.6), [["red cat"] * 3, [None] * 3]).x0
    assert (found[0] - found[1]).abs().max() < 1e-10
    assert [some.images[some.log_weights.isfinite()].tolist() for some in model._parts(None, torch.device("cpu"))] == [
        list(range(N))
    ]


@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize(("a", "b"), [(1.0, 0.02), (0.9, 0.3), (0.5, 1.0)])
def test_the_middle_of_a_patch_has_its_posterior_mean(side: int, a: float, b: float) -> None:
    """By scipy's densities and the textbook formula of each component, patch by patch, in images of 6 x 6 pixels."""
    law, x, half = mixture(side), noisy(6, 1)[0].numpy(), side // 2
    found = law.eps(torch.from_numpy(x), a, b).numpy()
    # exponents reach |patch|²/0.01 = 1e4, kept to 1e-12 a rounding; the quotient of eps divides that by b
    padded = np.pad(x, ((0, 0), (half, half), (half, half)), mode="edge")
    for i in range(6):
        for j in range(6):
            patch = padded[:, i : i + side, j : j + side].ravel()
            noise = b * b * np.eye(patch.size)
            logs, means = [], []
            for weight, mean, covariance in zip(law.weights, law.means, law.covariances, strict=True):
                total = a * a * covariance + noise
                logs.append(np.log(weight) + multivariate_normal(a * mean, total).logpdf(patch))
                means.append(mean + a * covariance @ np.linalg.solve(total, patch - a * mean))
            shares = np.exp(logs - np.max(logs))
            x0 = (shares / shares.sum() @ np.array(means)).reshape(3, side, side)[:, half, half]
            assert np.abs(found[:, i, j] - (x[:, i, j] - a * x0) / b).max() < 1e-9 / b


def test_patches_are_denoised_alike_everywhere_and_no_prompt_has_a_say() -> None:
    x = noisy(64, 1)[0].float()
    moved = torch.roll(x, (2, 6), (1, 2))
    law = shipped_pyramid().scales[64]
    here, there = law.eps(x, 1.0, 0.1), law.eps(moved, 1.0, 0.1)
    assert torch.equal(here[:, 8:48, 8:48], there[:, 10:50, 14:54])
    model = builtin.mosaic(size=32)
    found = model.predict(noisy(32), at(1.0, 0.05), [["owl, twemoji emoji"] * 3, [None] * 3])
    assert torch.equal(found.x0[0], found.x0[1])


def jump(of, sigma: float, step: float = 1e-7) -> float:
    """How far `of` moves from just below sigma to just above."""
    below, above = (of(sigma * (1 + sign * step)) for sign in (-1, 1))
    return float((below - above).abs().max())


@pytest.mark.parametrize("sigma", [*Mosaic.join, math.sqrt(Mosaic.join[0] * Mosaic.join[1])])
def test_there_is_no_jump_where_patches_give_way_to_pictures(sigma: float) -> None:
    model, x = prior(32, patches=PatchPyramid({32: mixture()})), noisy(32, 1)
    # a slope of 500 in log sigma at most; patches and pictures are 0.5 and more apart
    assert 0 < jump(lambda s: model.predict(x, at(1.0, s), [[None]]).x0, sigma) < 1e-4
    low, high = (model.predict(x, at(1.0, s), [[None]]).x0 for s in (0.04, 0.13))
    assert (low - high).abs().max() > 0.5


@pytest.mark.parametrize("sigma", [factor * end for factor in (2, 4) for end in (*COARSE, math.sqrt(COARSE[0] * COARSE[1]))])
def test_there_is_no_jump_where_a_coarser_scale_comes_in(sigma: float) -> None:
    pyramid, x = PatchPyramid({size: mixture(seed=size) for size in (32, 16, 8)}), noisy(32, 1)[0]
    assert 0 < jump(lambda s: x - s * pyramid.eps(x, 1.0, s), sigma) < 1e-4
    alone = PatchPyramid({32: pyramid.scales[32]})
    assert (pyramid.eps(x, 1.0, 1.0) - alone.eps(x, 1.0, 1.0)).abs().max() > 0.1


def test_a_share_grows_from_0_to_1_in_log_sigma() -> None:
    assert [ramp(sigma, (0.3, 0.6)) for sigma in (0.1, 0.3, 0.6, 2.0)] == [0, 0, 1, 1]
    assert ramp(math.sqrt(0.18), (0.3, 0.6)) == pytest.approx(0.5)


def test_a_coarse_scale_sees_the_mean_with_half_the_noise() -> None:
    """Two scales of one Gaussian law: the pyramid's mean over squares is the coarse scale's own answer."""
    laws = {size: mixture(1, seed=size) for size in (8, 4)}
    x, a, b = noisy(8, 1)[0], 0.9, 0.6
    eps = PatchPyramid(laws).eps(x, a, b)
    fine, seen = laws[8].eps(x, a, b), torch.nn.functional.avg_pool2d(x, 2)
    coarse = (seen - b / 2 * laws[4].eps(seen, a, b / 2)) / a
    x0 = (x - b * fine) / a
    off = coarse - torch.nn.functional.avg_pool2d(x0, 2)
    want = x0 + torch.nn.functional.interpolate(off[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    assert ((x - b * eps) / a - want).abs().max() < 1e-12


@pytest.mark.parametrize("size", [32, slow(64)])
def test_a_row_has_the_same_bits_in_any_batch_and_with_any_threads(size: int) -> None:
    """Of a prompt, of another, and of none, of which there are more than go together."""
    model, n = builtin.mosaic(size=size), mosaic.FEW + 3
    x, prompts = noisy(size, n), ["owl, twemoji emoji", "a chair", *[None] * (n - 2)]
    threads = torch.get_num_threads()
    try:
        for b in (0.03, 0.08, 1.0, 5.0, 12.0):
            torch.set_num_threads(1)
            together = model.predict(x, at(1.0, b), [prompts, [None] * n])
            torch.set_num_threads(2)
            for i in (0, 1, 2, n - 1):
                one = model.predict(x[i : i + 1], at(1.0, b), [[prompts[i]], [None]])
                assert torch.equal(together.x0[:, i], one.x0[:, 0]) and torch.equal(together.eps[:, i], one.eps[:, 0])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("kept", [0, 64])
@pytest.mark.parametrize("b", [0.03, 0.07, 0.3, 3.0, 8.0])
def test_gradients_are_those_of_finite_differences(monkeypatch, b: float, kept: int) -> None:
    """Of patches, of both, of pictures in windows and whole; their details kept or looked up."""
    monkeypatch.setattr(mosaic, "KEPT", kept)
    model = prior(32, patches=PatchPyramid({32: mixture(), 16: mixture(seed=1)}))
    x, way = noisy(32, 1), noisy(32, 1, seed=5)
    asked = x.clone().requires_grad_()
    (model.predict(asked, at(1.0, b), [["red cat"]]).x0 * noisy(32, 1, seed=9)).sum().backward()
    assert asked.grad is not None

    def value(step: float) -> float:
        with torch.no_grad():
            return float((model.predict(x + step * way, at(1.0, b), [["red cat"]]).x0 * noisy(32, 1, seed=9)).sum())

    slope = (value(1e-5) - value(-1e-5)) / 2e-5  # off by the square of the step, 1e-10, and roundings over it, 1e-11
    assert float((asked.grad * way).sum()) == pytest.approx(slope, rel=1e-6)


@pytest.mark.slow
def test_what_is_left_out_of_the_detail_is_small_beside_what_guidance_amplifies() -> None:
    model = builtin.mosaic(size=32)
    whole = replace(model, n_detail=len(model.images))
    prompts = ["owl, twemoji emoji", "a brown sofa, side view"]
    clean = torch.stack([model.seen(model.held[prompt][:1])[0] for prompt in prompts])
    for sigma in (0.7, 2.3, 5.0):
        x = clean + sigma * noisy(32, 2)
        kept, all_of_it = (m.predict(x, at(1.0, sigma), [prompts, [None] * 2]).x0 for m in (model, whole))
        signal = (all_of_it[0] - all_of_it[1]).square().mean().sqrt()
        assert (kept[1] - all_of_it[1]).square().mean().sqrt() < 0.15 * signal


def test_what_the_yaml_says_is_the_default() -> None:
    said = yaml.safe_load((conf_dir() / "model" / "builtin.yaml").read_text())["model"]
    assert said.pop("_target_") == "sdi_bench.models.builtin.mosaic"
    configured, default = builtin.mosaic(**said), builtin.mosaic()
    for name in ("words", "windows", "join", "n_detail", "clip", "width", "shrink"):
        assert getattr(configured, name) == getattr(default, name)


def test_other_patches_are_another_model() -> None:
    bare, one, other = prior(8), *(prior(8, patches=PatchPyramid({8: mixture(seed=seed)})) for seed in (0, 1))
    assert len({model.fingerprint for model in (bare, one, other)}) == 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: prior(12), "model.size"),
        (lambda: prior(24), "model.size"),
        (lambda: replace(prior(8), windows=((float("nan"), 1),)), "model.windows: sigma=nan"),
        (lambda: replace(prior(8), windows=((-3.0, 1),)), "model.windows: sigma=-3.0"),
        (lambda: replace(prior(8), windows=()), "model.windows"),
        (lambda: replace(prior(8), join=(0.1, float("inf"))), "model.join=inf"),
        (lambda: replace(prior(8), windows=((1.0, 3), (0.5, 2))), "model.windows"),
        (lambda: replace(prior(8), join=(0.6, 0.3)), "model.join"),
        (lambda: replace(prior(8), n_detail=0), "model.n_detail"),
        (lambda: builtin.mosaic(join=[0.3]), r"model.join=\[0.3\]: must be two sigmas"),
        (lambda: builtin.mosaic(windows=[[3]]), r"model.windows: \[3\] must be a pair"),
        (lambda: builtin.mosaic(size=20), "model.size=20"),
    ],
)
def test_bad_settings_are_named(make, said) -> None:
    with pytest.raises(ValueError, match=said):
        make()
