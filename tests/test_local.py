"""Closed-form text-to-image priors against brute force: prompts as weights, whole images, windows."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from sdi_bench.command_line import conf_dir
from sdi_bench.grids import UniformT
from sdi_bench.guidance import Guidance
from sdi_bench.levels import Level
from sdi_bench.models import builtin, local
from sdi_bench.models.local import Local, Support, WeightedImages
from sdi_bench.models.words import Words
from sdi_bench.noise import Fresh, Previous
from sdi_bench.samplers import Annealed, Ddim, Distillation
from sdi_bench.sampling import sample

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (40, 3, 8, 8)).astype(np.uint8)
CAPTIONS = [f"{('red', 'green', 'old blue', 'grey')[i % 4]} {('cat', 'dog', 'chair', 'lamp', 'cup')[i % 5]}" for i in range(40)]
VIEWS = [("front", "side")[i % 2] for i in range(40)]
WORDS = Words({"concept": CAPTIONS, "view": VIEWS}, {"concept": 1.0, "view": 2.0}, temperature=0.1, n_most=12, n_null=10)
EXACT = WeightedImages(IMAGES, WORDS, width=0.3, dtype=torch.float64)
WINDOWS = Local(IMAGES, WORDS, width=0.3, dtype=torch.float64, windows=((0.0, 1), (1.0, 2), (5.0, 7)))
PROMPTS = ["red cat", "a lamp, side view", None]


def at(*pairs: tuple[float, float]) -> Level:
    a, b = torch.tensor(pairs, dtype=torch.float64).T
    return Level(a, b, b / (a + b))


LEVELS = [at((0.6, 0.8)), at((1.0, 0.3)), at((1.0, 20.0)), at((0.0, 1.0)), at((0.9, 0.4), (0.5, 0.5), (0.1, 0.9))]


def noisy_images(seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((3, 3, 8, 8)))


def brute(model: Local | WeightedImages, x: Tensor, level: Level, prompt: str | None, row: int, half_width: int) -> np.ndarray:
    """The posterior mean by loops over pixels and images, in float64, from the definition."""
    a, b = (float(v[min(row, len(v) - 1)]) for v in (level.a, level.b))
    index, log_weights = model.words.weigh(prompt)
    images = model.images[index] / 127.5 - 1.0
    v, out = b * b + (a * model.width) ** 2, np.zeros(x.shape)
    for i in range(8):
        for j in range(8):
            window = np.s_[:, max(0, i - half_width) : i + half_width + 1, max(0, j - half_width) : j + half_width + 1]
            logits = [
                w - ((x.numpy()[window] - a * image[window]) ** 2).sum() / (2 * v)
                for w, image in zip(log_weights, images, strict=True)
            ]
            weights = np.exp(logits - np.max(logits))
            mean = (weights[:, None] / weights.sum() * images[:, :, i, j]).sum(0)
            out[:, i, j] = mean + a * model.width**2 / v * (x.numpy()[:, i, j] - a * mean)
    return out


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: f"{level.a.tolist()}")
@pytest.mark.parametrize("model", [EXACT, WINDOWS], ids=["empirical", "local"])
def test_it_is_the_posterior_mean_by_brute_force(model, level) -> None:
    """1e-10: sums of some hundred squares in float64, divided by v >= 0.1."""
    x = noisy_images()
    x0, eps = model.predict(x, level, [PROMPTS])
    for row, prompt in enumerate(PROMPTS):
        at_row = level.rows(torch.tensor([row]))
        half_width = 7 if model is EXACT else model.half_width(float(at_row.sigma))
        want = brute(model, x[row], level, prompt, row, half_width)
        np.testing.assert_allclose(x0[0, row], want, atol=1e-10)
    torch.testing.assert_close(level.a[:, None, None, None] * x0[0] + level.b[:, None, None, None] * eps[0], x)


def unsure(model: Local, x: Tensor, a: float, b: float, support: Support, n: int, dtype: torch.dtype = torch.float32) -> float:
    """How far the mean goes astray if every sum of squares is off by n roundings of dtype, and the mean by n of its own.

    In float64, by errors of relative size h with random signs, the larger of two draws.
    """
    x, support, h = x.double(), Support(*(part.double() for part in support)), 2.0**-35
    off = h * (x - a * support.images).square().flatten(1).sum(1) / (2 * (b * b + (a * model.width) ** 2))
    signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], (2, len(off))))
    mean, *moved = (
        model.whole(x, a, b, support._replace(log_weights=support.log_weights + by)) for by in (0 * off, *(signs * off))
    )
    return n * torch.finfo(dtype).eps / 2 * (max(float((one - mean).abs().max()) for one in moved) / h + 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_windows_that_cover_the_image_are_the_whole_image(dtype) -> None:
    """By the window code itself, not by its short cut; its sums are of 3, 8 and 8 terms."""
    model = replace(WINDOWS, dtype=dtype)
    for a, b in ((0.6, 0.8), (1.0, 2.0), (0.0, 1.0)):
        support, x = model.support("red cat"), noisy_images()[0].to(dtype)
        whole, windows = model.whole(x, a, b, support), model.windowed(x, a, b, support, 7)
        assert (whole - windows).abs().max() <= unsure(model, x, a, b, support, 2 * 19, dtype)
    assert (model.windowed(x, 1.0, 1.0, support, 3) - model.whole(x, 1.0, 1.0, support)).abs().max() > 0.01


def test_on_the_shipped_pictures_the_full_window_is_the_optimal_denoiser() -> None:
    """In float64, and as shipped, in float32: by sums of squares in float64, and over windows by sums of 3, 64 and 64 terms."""
    model = builtin.local()
    support = model.support("an armchair, front view")
    exact = Support(*(part.to(torch.float64) for part in support))
    for sigma in (0.3, 3.0, 15.0):
        x = exact.images[0] + sigma * torch.from_numpy(rng.standard_normal((3, 64, 64)))
        truth = model.whole(x, 1.0, sigma, exact)
        full = replace(model, dtype=torch.float64).windowed(x, 1.0, sigma, exact, 63)
        assert (full - truth).abs().max() <= 1e-9
        assert (model.whole(x.float(), 1.0, sigma, support) - truth).abs().max() <= unsure(model, x, 1.0, sigma, support, 20)
        assert (model.windowed(x.float(), 1.0, sigma, support, 63) - truth).abs().max() <= unsure(
            model, x, 1.0, sigma, support, 2 * 131
        )


@pytest.mark.parametrize("model", [EXACT, WINDOWS], ids=["empirical", "local"])
def test_gradients_are_finite_differences(model) -> None:
    """Along a random direction; a central difference of step 1e-5 is good to some 1e-9 of values of order 1."""
    level, way = at((0.6, 0.8)), noisy_images(2)
    probe = noisy_images(3)

    def value(x: Tensor) -> Tensor:
        return (model.predict(x, level, [PROMPTS]).x0 * probe).sum()

    x = noisy_images().requires_grad_()
    (slope,) = torch.autograd.grad(value(x), x)
    step = 1e-5
    with torch.no_grad():
        difference = (value(x + step * way) - value(x - step * way)) / (2 * step)
    assert float((slope * way).sum()) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 3.0])
@pytest.mark.parametrize("model", [EXACT, WINDOWS], ids=["empirical", "local"])
def test_carried_noise_is_ddim_on_these_too(model, gamma) -> None:
    """V1 needs no score: any eps will do. 1e-9: rounding, amplified where windows change their mind; fresh noise is far off."""
    grid, guidance = UniformT(12), Guidance(gamma)
    ddim = sample(model, Ddim(grid, guidance), PROMPTS[:2], (0, 1))
    carried, fresh = (
        sample(model, Distillation(Annealed(grid), noise, guidance), PROMPTS[:2], (0, 1)) for noise in (Previous(), Fresh())
    )
    assert (carried - ddim).abs().max() <= 1e-9
    assert (fresh - ddim).abs().max() > 0.1


def test_the_window_denoiser_is_not_the_score_of_a_density() -> None:
    """A posterior mean has a symmetric Jacobian; windows of different pixels weigh images differently."""
    level = at((0.6, 0.8))

    def asymmetry(model: Local | WeightedImages) -> float:
        jacobian = torch.autograd.functional.jacobian(
            lambda x: model.predict(x[None], level, [["red cat"]]).x0[0, 0], noisy_images()[0]
        ).reshape(192, 192)
        return float((jacobian - jacobian.T).norm() / jacobian.norm())

    assert asymmetry(EXACT) < 1e-12 < 1e-2 < asymmetry(WINDOWS)


@pytest.mark.parametrize("model", [EXACT, WINDOWS], ids=["empirical", "local"])
def test_chunks_change_nothing(model, monkeypatch) -> None:
    """Only the order of the sum over images."""
    x, level = noisy_images(), at((0.6, 0.8))
    before = model.predict(x, level, [PROMPTS])
    monkeypatch.setattr(local, "CHUNK", 3)
    torch.testing.assert_close(model.predict(x, level, [PROMPTS]).x0, before.x0, rtol=0, atol=1e-14)


def test_threads_change_nothing() -> None:
    """A row's sums are one thread's, however many work."""
    images = np.random.default_rng(3).integers(0, 256, (40, 3, 64, 64)).astype(np.uint8)
    model, level = Local(images, WORDS, windows=((0.0, 4), (5.0, 63))), at((0.6, 0.8))
    x, n = torch.from_numpy(rng.standard_normal((3, 3, 64, 64))), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = model.predict(x, level, [PROMPTS]).x0
        torch.set_num_threads(2)
        assert torch.equal(model.predict(x, level, [PROMPTS]).x0, alone)
        for row in range(3):
            assert torch.equal(model.predict(x[row : row + 1], level, [[PROMPTS[row]]]).x0, alone[:, row : row + 1])
    finally:
        torch.set_num_threads(n)


def a_pixel_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Local, "half_width", lambda self, sigma: 1)


def no_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Words, "weigh", lambda self, prompt, weigh=Words.weigh: weigh(self, None))


def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Local, "__getattribute__", lambda self, name: 0.2 if name == "width" else object.__getattribute__(self, name)
    )


@pytest.mark.parametrize("plant", [a_pixel_less, no_prompt, no_kernel])
def test_planted_bugs_are_seen_by_brute_force(plant, monkeypatch) -> None:
    x, level = noisy_images(), at((0.6, 0.8))
    right = brute(WINDOWS, x[0], level, "red cat", 0, 2)
    assert np.abs(WINDOWS.predict(x, level, [["red cat"] * 3]).x0[0, 0].numpy() - right).max() < 1e-10
    plant(monkeypatch)
    fresh = replace(WINDOWS, defaults=("no cache",))
    assert np.abs(fresh.predict(x, level, [["red cat"] * 3]).x0[0, 0].numpy() - right).max() > 1e-3


def test_half_widths_and_sizes() -> None:
    assert [WINDOWS.half_width(sigma) for sigma in (0.1, 0.99, 1.0, 4.9, 5.0, math.inf)] == [1, 1, 2, 2, 7, 7]
    small = replace(EXACT, shrink=2)
    assert small.shape == (3, 4, 4)
    means = (IMAGES[:1] / 127.5 - 1).reshape(1, 3, 4, 2, 4, 2).mean((3, 5))
    np.testing.assert_allclose(small.seen(IMAGES[:1]), means, atol=1e-14)


def test_weights_of_a_prompt() -> None:
    index, log_weights = WORDS.weigh("a red cat, front view")
    assert len(index) == 12
    assert np.exp(log_weights).sum() == pytest.approx(1)
    assert np.all(np.diff(log_weights) <= 0)
    assert CAPTIONS[index[0]] == "red cat"
    both = [i for i in range(40) if CAPTIONS[i] == "red cat"]
    assert set(index[: len(both)]) == set(both)
    side = WORDS.weigh("cat, side view")[0][:4]
    assert {(VIEWS[i], CAPTIONS[i].split()[-1]) for i in side} == {("side", "cat")}
    nothing, uniform = WORDS.weigh(None)
    assert len(nothing) == 10
    assert np.allclose(uniform, -math.log(10))
    assert np.array_equal(WORDS.weigh("CAT red")[0], WORDS.weigh("the red cat emoji")[0])


def test_words_never_seen() -> None:
    with pytest.warns(UserWarning, match=r"never seen: 'kat' \(did you mean 'cat'\?\)"):
        WORDS.check("red kat")
    with pytest.raises(ValueError, match="prompt='zebra': none of its words is known"):
        WORDS.check("zebra")
    WORDS.check(None)


def test_what_the_yaml_says_is_the_default() -> None:
    for name, make in (("windows", builtin.local), ("empirical", builtin.weighted_images)):
        said = yaml.safe_load((conf_dir() / "model" / f"{name}.yaml").read_text())
        assert said.pop("_target_") == f"sdi_bench.models.builtin.{make.__name__}"
        prompts = said.pop("prompts")
        configured, default = make(prompts=prompts, **said), make(prompts=prompts)
        assert configured.words == default.words
        assert vars(configured).get("windows") == vars(default).get("windows")
        assert (configured.width, configured.shrink) == (default.width, default.shrink)
        assert all(prompt in default.held for prompt in prompts)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: replace(WORDS, temperature=0), "model.temperature"),
        (lambda: replace(WORDS, n_most=0), "model.n_most"),
        (lambda: replace(WORDS, boosts={"colour": 1.0}), "model.boosts.colour: no such field"),
        (lambda: replace(EXACT, width=0.0), "model.width"),
        (lambda: replace(WINDOWS, windows=((1.0, 3), (0.5, 2))), "model.windows"),
        (lambda: replace(WINDOWS, windows=()), "model.windows"),
        (lambda: replace(WINDOWS, windows=((0.0, -1),)), "model.windows"),
        (lambda: WeightedImages(IMAGES[:3], WORDS), "40 rows for 3 images"),
        (lambda: replace(EXACT, shrink=3), "model.shrink"),
        (lambda: replace(WORDS, boosts={}), "model.boosts: names no field"),
        (lambda: builtin.local(size=20), "model.size=20: must be 64, 32, 16 or 8"),
        (lambda: builtin.local(prompts="a cat"), "model.prompts='a cat': must be a list"),
    ],
)
def test_bad_settings_are_named(make, said) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_data_are_held_images_where_there_are_any() -> None:
    model = replace(EXACT, held={"red cat": IMAGES[7:8]})
    data = model.data(["red cat", "green dog"], np.random.default_rng(0))
    np.testing.assert_allclose(data[0], IMAGES[7] / 127.5 - 1)
    own = IMAGES[WORDS.weigh("green dog")[0]] / 127.5 - 1
    assert np.abs(own - data[1].numpy()).max(axis=(1, 2, 3)).min() < 1e-12


def test_draws_follow_the_weights() -> None:
    """Counts of 2,000 picks against their weights: within four standard errors."""
    index, log_weights = WORDS.weigh("red cat")
    picks = EXACT.pick(["red cat"] * 2000, np.random.default_rng(0)).numpy()
    counts = np.array([(np.abs(picks - (IMAGES[i] / 127.5 - 1)).max((1, 2, 3)) < 1e-9).sum() for i in index])
    p = np.exp(log_weights)
    assert np.all(np.abs(counts - 2000 * p) <= 4 * np.sqrt(2000 * p * (1 - p)) + 1)


def test_a_support_is_what_the_prompt_weighs() -> None:
    support = EXACT.support("red cat")
    assert isinstance(support, Support)
    assert support.images.shape == (12, 3, 8, 8)
    assert float(support.log_weights.exp().sum()) == pytest.approx(1)
