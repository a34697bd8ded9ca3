"""Metric networks and what is measured through them: against other code, known numbers, real images, and planted bugs."""

import io
import pickle
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import slow
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rounding import ROUNDINGS, U32, rounding
from scipy.linalg import sqrtm
from torch.nn import functional

from sdi_bench.data.shipped import HERE, shipped
from sdi_bench.data.world import World
from sdi_bench.features import effnet, frechet, lpips, towers
from sdi_bench.features.build import Arrays
from sdi_bench.features.views import VIEWS, views
from sdi_bench.metrics import Clipped, Context, Diversity, Metric, Rprec, Saturation, Tclip, UndefinedError, View
from sdi_bench.metrics.rprec import val_captions
from sdi_bench.models import Empirical
from sdi_bench.stats import Estimate, jackknife

MEBIBYTE = 2**20
CONF = HERE.parent.parent / "conf" / "metric"
DISTANCES = ("fd_effnet", "fd_effnet_ddim", "kd_effnet", "kd_effnet_ddim")
NAMES = (*DISTANCES, "clipped", "diversity", "rprec", "saturation", "tclip", "view")
METRICS = {name: instantiate(OmegaConf.load(CONF / f"{name}.yaml"), _convert_="all")[name] for name in NAMES}
DIGITS = Empirical.of()
VAL = World.open().where(split="val")


def some(domain: str, n: int, shift: int = 0) -> World:
    """n val pictures of a domain, spread over its models or drawings; others for another shift."""
    world = VAL.where(domain=domain)
    chosen = (np.linspace(0, len(world) - 1, n).astype(int) + shift) % len(world)
    return World(world.images[chosen], world.table.iloc[chosen].reset_index(drop=True))


OBJECTS, EMOJI = some("object", 160), some("emoji", 96)
REAL = np.concatenate([OBJECTS.pixels(), EMOJI.pixels()])
SAID = [*OBJECTS.table["caption"], *EMOJI.table["caption"]]
FAIR = Context(REAL, SAID, DIGITS, REAL, same_law=True)
OTHERS = np.concatenate([some("object", 160, 5).pixels(), some("emoji", 96, 5).pixels()])


def value(metric: Metric, context: Context) -> float:
    return metric.statistic(context)(np.arange(len(context.images)))


def estimate(metric: Metric, context: Context) -> Estimate:
    return jackknife(metric.statistic(context), np.arange(len(context.images)) % 20, confidence=0.99)


def of(images: np.ndarray, prompts: Sequence[str | None] | None = None, truth: np.ndarray | None = None) -> Context:
    prompts = [None] * len(images) if prompts is None else prompts
    return replace(FAIR, images=images, prompts=prompts, truth=truth)


# --------------------------------------------------------------------------------------------------------------- files


def test_weights_fit() -> None:
    sizes = [shipped(f"weights/{path.name}").stat().st_size for path in (HERE / "weights").glob("*.safetensors")]
    assert len(sizes) == 5
    assert max(sizes) <= 15 * MEBIBYTE and sum(sizes) <= 14 * MEBIBYTE


def test_a_pickle_that_calls_anything_is_refused() -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.eval"):
        Arrays(io.BytesIO(pickle.dumps(eval))).load()


# -------------------------------------------------------------------------------------------------------------- effnet


def patterns() -> np.ndarray:
    """Two coloured wave patterns."""
    y, x = np.mgrid[0:64, 0:64] / 64
    return np.stack([np.stack([np.sin(9 * x * k + 5 * y), np.cos(7 * y * k), x - y]) for k in (1, 3)]).astype(np.float32)


CHANNELS = [[71, 1121, 897, 512, 425, 957], [439, 31, 36, 287, 974, 343]]
KNOWN = [[5.5977, 4.4720, 3.9363, 3.5036, 3.4682, 3.1719], [5.8693, 5.6983, 4.3692, 4.2031, 3.7653, 3.7614]]
"""The largest features of the patterns: in float32, by other code, from the published weights as they are."""


def fingerprint() -> None:
    """Weights rounded to float16 move the features by 0.026 at most (measured, against float32)."""
    found = np.take_along_axis(effnet.pooled(patterns()), np.array(CHANNELS), 1)
    assert found == pytest.approx(np.array(KNOWN), abs=0.03)


def test_features_are_those_of_the_published_network() -> None:
    fingerprint()


def centred(self: effnet.Same, x: torch.Tensor) -> torch.Tensor:
    return torch.nn.Conv2d.forward(self, functional.pad(x, [(self.kernel_size[0] - 1) // 2] * 4))


def bilinear(images: torch.Tensor) -> torch.Tensor:
    return (functional.interpolate(images, (128, 128), mode="bilinear") * 127.5 + 0.5) / 128


RIGHT = effnet.preprocessed
PLANTED = {
    "padding": (effnet.Same, "forward", centred),
    "scale": (effnet, "preprocessed", lambda images: RIGHT(images) / 2 + 0.5),
    "order of channels": (effnet, "preprocessed", lambda images: RIGHT(images).flip(1)),
    "resizing": (effnet, "preprocessed", bilinear),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_shows_in_the_features(bug: str, monkeypatch) -> None:
    monkeypatch.setattr(*PLANTED[bug])
    with pytest.raises(AssertionError):
        fingerprint()


@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (8, 5, 2), (5, 5, 1), (6, 1, 1)])
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    """Output i looks at i·stride - before ... + kernel, with before = floor of half of what is missing; h and w differ."""
    layer = effnet.Same(1, 1, kernel, stride).requires_grad_(False).double()
    x = torch.randn(size, size + 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def at(i: int, j: int) -> float:
        total = float(layer.bias[0])
        for p in range(kernel):
            for q in range(kernel):
                place = []
                for k, (base, side) in zip((p, q), ((i, size), (j, size + 1)), strict=True):
                    missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
                    place.append((base * stride - missing // 2 + k, side))
                if all(0 <= at < side for at, side in place):
                    total += float(layer.weight[0, 0, p, q] * x[place[0][0], place[1][0]])
        return total

    want = [[at(i, j) for j in range(-(-(size + 1) // stride))] for i in range(-(-size // stride))]
    assert layer(x[None, None])[0, 0].numpy() == pytest.approx(np.array(want), abs=1e-13)  # 26 terms below 10


def test_a_pictures_features_do_not_depend_on_its_batch() -> None:
    together = effnet.pooled(REAL[:34])
    assert together.shape == (34, effnet.WIDTH) and together.dtype == np.float32
    for i in (0, 33):
        alone = effnet.pooled(REAL[i : i + 1])[0]
        assert np.abs(alone - together[i]).max() < rounding(lambda i=i: effnet.pooled(REAL[i : i + 1]))
    assert (effnet.pooled(REAL[:34]) == together).all()
    assert effnet.pooled(REAL[:0]).shape == (0, effnet.WIDTH)


def test_what_a_screen_would_clip_is_clipped() -> None:
    assert (effnet.pooled(3 * REAL[:2]) == effnet.pooled((3 * REAL[:2]).clip(-1, 1))).all()
    assert (lpips.taps(3 * REAL[:2]) == lpips.taps((3 * REAL[:2]).clip(-1, 1))).all()


def test_features_are_computed_once_for_the_same_images(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(effnet, "KEPT", {})
    monkeypatch.setattr(effnet, "cached", lambda name, images, compute: compute(images))  # nothing on disk
    monkeypatch.setattr(effnet, "KEPT_BYTES", 2 * 4 * 2 * effnet.WIDTH)  # two sets of two pictures

    def counted(images: np.ndarray, device: str) -> np.ndarray:
        asked.append(float(images[0, 0, 0, 0]))
        return np.full((len(images), effnet.WIDTH), images[0, 0, 0, 0], np.float32)

    monkeypatch.setattr(effnet, "pooled", counted)
    a, b, c = (np.full((2, 3, 8, 8), number) for number in (1.0, 2.0, 3.0))
    for images in (a, a.copy(), b, a, c, a, b):  # c drives out b, which was asked for before a
        assert (effnet.features(images) == images[0, 0, 0, 0]).all()
    assert asked == [1, 2, 3, 2]
    with pytest.raises(ValueError, match="read-only"):
        effnet.features(a)[0] = 0


# --------------------------------------------------------------------------------------------------------------- lpips


def textbook(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """LPIPS as the paper's eq. 1 has it, layer by layer, place by place."""
    net = lpips.loaded("cpu")
    layers = []
    for images in (a, b):
        x = (torch.tensor(images) - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor(
            [0.458, 0.448, 0.450]
        )[:, None, None]
        found = []
        for i, (stride, padding) in enumerate(((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))):
            if i in (1, 2):
                x = functional.max_pool2d(x, 3, 2)
            x = functional.conv2d(x, net.layers[i].weight, net.layers[i].bias, stride, padding).relu()
            found.append(x.permute(0, 2, 3, 1).double().numpy())
        layers.append(found)
    total = np.zeros(len(a))
    for f, g, head in zip(*layers, net.heads, strict=True):
        f, g = (x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-10) for x in (f, g))
        total += ((f - g) ** 2 @ head.numpy().astype(np.float64)).mean(axis=(1, 2))
    return total


@pytest.mark.parametrize("size", [64, 32])
def test_lpips_is_the_papers_formula(size: int) -> None:
    pictures = EMOJI.pixels(size)[:16]
    a, b = pictures[:8], pictures[8:]
    found = lpips.distance(a, b)
    assert found == pytest.approx(textbook(a, b), abs=rounding(lambda: lpips.distance(a, b)))
    assert found == pytest.approx(lpips.distance(b, a), rel=1e-12)
    assert (lpips.distance(a, a) == 0).all()
    assert (found > 0.05).all()


def test_lpips_of_noise_is_what_it_is_known_to_be() -> None:
    """Noise of standard deviation .02, .1, .3, 1 on enlarged emoji is about .006, .196, .590, 1.271 away in the original.

    Measured on other drawings, hence the factor.
    """
    pictures = torch.as_tensor(EMOJI.pixels()[::6])
    a = functional.interpolate(pictures, (128, 128), mode="bicubic").clamp(-1, 1).numpy()
    noise = np.random.default_rng(0).standard_normal(a.shape).astype(np.float32)
    net = lpips.loaded("cpu")
    for size, want in ((0.02, 0.006), (0.1, 0.196), (0.3, 0.590), (1.0, 1.271)):
        with torch.no_grad():
            found = float((net(torch.tensor(a)) - net(torch.tensor(a + size * noise))).square().sum(dim=1).mean())
        assert want / 1.7 < found < want * 1.7


@pytest.mark.parametrize("bug", [{"SHIFT": (0.0, 0.0, 0.0)}, {"SCALE": (2.0, 2.0, 2.0)}, {"SCALE": (0.1, 0.1, 0.1)}])
def test_a_planted_bug_shows_in_lpips(bug: dict, monkeypatch) -> None:
    pictures = EMOJI.pixels()[:8]
    for name, wrong in bug.items():
        monkeypatch.setattr(lpips, name, wrong)
    assert lpips.distance(pictures[:4], pictures[4:]) != pytest.approx(textbook(pictures[:4], pictures[4:]), rel=0.01)


def test_diversity_is_the_mean_over_pairs_of_a_prompt() -> None:
    pictures, prompts = REAL[:7], ["a", "b", "a", None, "a", "c", "b"]

    def of_pairs() -> list[float]:
        return [lpips.distance(pictures[[i]], pictures[[j]])[0] for i, j in ((0, 2), (0, 4), (2, 4), (1, 6))]

    gaps, close = of_pairs(), rounding(of_pairs)
    found = Diversity().statistic(of(pictures, prompts))
    assert found(np.arange(7)) == pytest.approx(np.mean(gaps), abs=close)
    assert found(np.array([4, 0, 3, 1])) == pytest.approx(gaps[1], abs=close)
    assert value(Diversity(), of(np.repeat(REAL[:1], 4, axis=0), ["a"] * 4)) == pytest.approx(0, abs=1e-12)


# ------------------------------------------------------------------------------------------------------------- frechet


def test_the_frechet_distance_is_that_of_the_matrix_square_root() -> None:
    rng = np.random.default_rng(0)
    a, b = (frechet.moments(rng.standard_normal((40, 8)) @ rng.standard_normal((8, 8)) + shift) for shift in (0, 0.5))
    want = (
        np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance - 2 * sqrtm(a.covariance @ b.covariance)).real
    )
    assert frechet.frechet(a, b) == pytest.approx(want, rel=1e-10)
    assert frechet.frechet(b, a) == pytest.approx(want, rel=1e-10)
    assert frechet.frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet.frechet(a, a._replace(mean=a.mean + 3)) == pytest.approx(8 * 9, rel=1e-9)
    assert frechet.frechet(a, a._replace(scatter=4 * a.scatter)) == pytest.approx(np.trace(a.covariance), rel=1e-9)


def test_moments_are_numpys() -> None:
    points = np.random.default_rng(1).standard_normal((5, 3))
    found = frechet.moments(points)
    assert found.n == 5
    assert found.covariance == pytest.approx((points - found.mean).T @ (points - found.mean) / 4)


def test_the_basis_is_orthonormal_and_centred_on_train() -> None:
    basis = frechet.weights("fd_effnet")["basis"].numpy()
    assert basis.T @ basis == pytest.approx(np.eye(128), abs=2e-3)  # float16
    for side in (64, 32):
        for split in ("train", "val"):
            found = frechet.reference(split, side)
            assert found.n == len(World.open().where(split=split))
            assert np.linalg.eigvalsh(found.covariance).min() > 0
    train = frechet.reference("train", 64)
    assert np.abs(train.mean).max() < 1e-2
    assert np.abs(train.covariance - np.diag(np.diag(train.covariance))).max() < 1e-2 * train.covariance.max()
    assert (np.diff(np.diag(train.covariance)) < 1e-3).all()  # largest first


@pytest.mark.parametrize("side", [32, slow(64)])
def test_the_reference_is_of_the_shipped_pixels(side: int) -> None:
    """The mean of 288 of the pictures is off by no more than chance allows: on average 1 in units of its standard error."""
    chosen = np.linspace(0, len(VAL) - 1, 288).astype(int)
    points = effnet.projected(effnet.features(VAL.pixels(side)[chosen]))
    known = frechet.reference("val", side)
    share = (points.mean(axis=0) - known.mean) ** 2 / np.diag(known.covariance) * 288
    assert share.mean() < 2
    spread = points.var(axis=0, ddof=1) / np.diag(known.covariance)
    assert 0.8 < spread[:32].mean() < 1.25


def test_too_few_samples_are_refused(monkeypatch) -> None:
    monkeypatch.setattr("sdi_bench.features.effnet.features", lambda images: np.ones((len(images), effnet.WIDTH), np.float32))
    few, enough = (replace(of(np.zeros((n, 3, 32, 32), np.float32)), real=REAL[:, :, ::2, ::2]) for n in (1279, 1280))
    with pytest.raises(UndefinedError, match=r"^n below floor \(1280\)$"):
        METRICS["fd_effnet"].statistic(few)
    assert value(METRICS["fd_effnet"], enough) == pytest.approx(0, abs=1e-9)
    assert METRICS["fd_effnet"].preprocessing != METRICS["kd_effnet"].preprocessing == effnet.PREPROCESSING


# -------------------------------------------------------------------------------------------------------------- towers


def test_words_are_hashed_without_case_order_or_punctuation() -> None:
    assert sorted(towers.buckets("A red Sofa, side view")) == sorted(towers.buckets("side view (sofa) A RED"))
    assert set(towers.buckets("sofa")) & set(towers.buckets("sofas"))
    assert len(towers.buckets("cat")) == 3  # <cat> as a word, <cat and cat>
    assert towers.buckets("été") == towers.buckets("ÉTÉ")
    assert np.isfinite(towers.texts(["", "?!"])).all()


def test_text_vectors_do_not_depend_on_their_neighbours() -> None:
    alone = np.concatenate([towers.texts([caption]) for caption in SAID[:5]])
    assert towers.texts(SAID[:5]) == pytest.approx(alone, abs=rounding(lambda: towers.texts(SAID[:5])))
    assert np.linalg.norm(alone, axis=1) == pytest.approx(1, abs=ROUNDINGS * U32)


def test_distractors_are_the_same_for_a_prompt_and_never_the_prompt() -> None:
    pool = val_captions()
    assert len(pool) == len(set(pool)) >= 1000
    for prompt in (pool[3], "a red sofa, side view", "?"):
        found = towers.distractors(prompt, pool)
        assert (found == towers.distractors(prompt, pool)).all()
        assert len(set(found)) == 99 and prompt not in {pool[i] for i in found}
    assert set(towers.distractors(pool[3], pool)) != set(towers.distractors(pool[4], pool))


def oracle(monkeypatch) -> None:
    """Pictures that say their caption's number in their first pixel, and towers that read it."""
    numbers = {caption: i for i, caption in enumerate(val_captions())}
    monkeypatch.setattr("sdi_bench.metrics.rprec.features", lambda images: images[:, 0, 0, 0].astype(int))
    monkeypatch.setattr(towers, "pictures", lambda features: np.eye(len(numbers))[features])
    monkeypatch.setattr(towers, "texts", lambda captions: np.eye(len(numbers))[[numbers[caption] for caption in captions]])


def test_retrieval_is_perfect_for_an_oracle_and_chance_for_shuffled_prompts(monkeypatch) -> None:
    n = 800
    prompts = list(val_captions()[:n])
    images = np.zeros((n, 3, 32, 32), np.float32)
    images[:, 0, 0, 0], images[:, 1, 0, 0] = np.arange(n), 1  # none of one colour: such a picture is a miss
    with monkeypatch.context() as patched:
        oracle(patched)
        assert value(Rprec(), of(images, prompts)) == 1
        assert value(Rprec(), of(images[::-1], prompts)) == 0
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((n, towers.JOINT)).astype(np.float32)
    hits = towers.retrieved(noise, prompts, val_captions())
    assert 0 < hits.mean() < 0.01 + 4 * np.sqrt(0.01 * 0.99 / n)  # chance is 1 %; four standard errors


def test_a_scorer_that_finds_all_captions_alike_retrieves_nothing(monkeypatch) -> None:
    monkeypatch.setattr(towers, "texts", lambda captions: np.ones((len(captions), towers.JOINT)))
    assert towers.retrieved(np.ones((3, towers.JOINT)), SAID[:3], val_captions()).tolist() == [0, 0, 0]


def test_real_images_find_their_captions_and_shuffled_prompts_do_not() -> None:
    """CARD.md has 0.74 for all of val; half an interval of 256 pictures is 0.06."""
    shuffled = replace(FAIR, prompts=list(np.random.default_rng(0).permutation(SAID)))
    assert value(Rprec(), FAIR) > 0.62
    assert value(Rprec(), shuffled) < 0.05
    assert estimate(Tclip(), FAIR).low > 2 * estimate(Tclip(), shuffled).high


def test_tclip_is_a_hundred_times_the_cosine_and_never_below_zero(monkeypatch) -> None:
    vectors = {"a": [1.0, 0.0], "b": [-1.0, 0.0], "c": [0.6, 0.8]}
    monkeypatch.setattr("sdi_bench.metrics.tclip.features", lambda images: images)
    monkeypatch.setattr(towers, "pictures", lambda features: np.tile([1.0, 0.0], (len(features), 1)))
    monkeypatch.setattr(towers, "texts", lambda captions: np.array([vectors[caption] for caption in captions]))
    found = Tclip().statistic(of(REAL[:3], ["a", "b", "c"]))
    assert [found(np.array([i])) for i in range(3)] == pytest.approx([100, 0, 60])


def test_the_scorer_is_never_differentiable() -> None:
    assert not any(value.requires_grad for value in (*towers.loaded().parameters(), *lpips.loaded("cpu").parameters()))


# --------------------------------------------------------------------------------------------------------------- views


def test_the_view_of_real_objects_is_named() -> None:
    """Far above chance (1/4) and the commonest answer (1/3); CARD.md has it for all of val."""
    right = np.array(VIEWS)[views(effnet.features(OBJECTS.pixels()))] == OBJECTS.table["view"].to_numpy()
    assert right[(OBJECTS.table["view"] != "").to_numpy()].mean() > 0.45


def test_view_counts_only_samples_whose_prompt_asks(monkeypatch) -> None:
    monkeypatch.setattr("sdi_bench.metrics.view.features", lambda images: images)
    monkeypatch.setattr("sdi_bench.metrics.view.views", lambda features: np.array([0, 1, 2, 3, 0, 0]))
    prompts = ["a sofa, front view", "a sofa, back view", "x", "overhead view of a sofa", None, "a preview of a front viewer"]
    found = View().statistic(of(REAL[:6], prompts))
    assert found(np.arange(6)) == pytest.approx(2 / 3)
    assert found(np.array([5, 1])) == 0
    with pytest.raises(UndefinedError, match="no prompt asks for a view"):
        View().statistic(of(REAL[:2], ["a sofa", None]))


# -------------------------------------------------------------------------------------------------------------- colour


def test_saturation_is_the_mean_chroma() -> None:
    red, grey, deep = (
        np.broadcast_to(np.array(c)[:, None, None], (3, 32, 32)) for c in ([1.0, -1, -1], [0.3] * 3, [0.0, -1, -1])
    )
    found = Saturation().statistic(of(np.stack([red, grey, deep]), truth=np.stack([deep, grey])))  # 1, 0, 1/2 over 1/4
    assert found(np.arange(3)) == pytest.approx(np.log(2))
    assert found(np.array([0])) == pytest.approx(np.log(4))
    assert value(Saturation(), of(5 * np.stack([red] * 2), truth=np.stack([red]))) == pytest.approx(0)


def test_clipped_is_the_share_of_values_out_of_range() -> None:
    images = np.zeros((2, 3, 32, 32))
    images[0, 0], images[1, 1, :16], images[1, 2] = 1.01, -7, 1 + 1 / 300
    assert value(Clipped(), of(images)) == pytest.approx((1 / 3 + 1 / 6) / 2)


# ----------------------------------------------------------------------------------------------- what holds for each one


def blurred(images: np.ndarray) -> np.ndarray:
    return sum(np.roll(images, (i, j), (2, 3)) for i in range(5) for j in range(5)) / 25


def noised(images: np.ndarray) -> np.ndarray:
    return images + 0.3 * np.random.default_rng(2).standard_normal(images.shape).astype(np.float32)


def grey(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=1, keepdims=True).repeat(3, axis=1) * 0.9 + images * 0.1


def vivid(images: np.ndarray) -> np.ndarray:
    return images + 2 * (images - images.mean(axis=1, keepdims=True))


def one(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[:1], len(images), axis=0)


SAME_PROMPT = replace(FAIR, prompts=["a"] * len(REAL))
HURT = {
    **{name: [(blurred, +1), (noised, +1), (one, +1)] for name in DISTANCES},
    "rprec": [(noised, -1), (one, -1)],
    "tclip": [(noised, -1), (one, -1)],
    "view": [(one, -1)],
    "saturation": [(grey, -1), (vivid, +1)],
    "clipped": [(lambda images: 1.5 * images, +1)],
    "diversity": [
        (lambda images: images[np.arange(len(images)) % 10], -1),
        (lambda images: images[:, :, :, ::-1] * np.where(np.arange(len(images)) % 2, -1, 1)[:, None, None, None], +1),
    ],
}


def fair(name: str) -> tuple[Metric, Context]:
    metric, context = METRICS[name], SAME_PROMPT if name == "diversity" else FAIR
    if name in DISTANCES:
        context = replace(FAIR, real=None, samples=OTHERS) if name.endswith("_ddim") else replace(FAIR, real=OTHERS)
    return replace(metric, force=True) if name.startswith("fd_") else metric, context


@pytest.mark.parametrize(("name", "harm", "side"), [(name, *harm) for name in HURT for harm in HURT[name]])
def test_harm_moves_the_metric(name: str, harm, side: int) -> None:
    metric, context = fair(name)
    well, hurt = estimate(metric, context), estimate(metric, replace(context, images=harm(context.images)))
    assert hurt.low > well.high if side > 0 else hurt.high < well.low


@pytest.mark.parametrize("name", METRICS)
def test_order_does_not_matter_and_a_subset_stands_alone(name: str) -> None:
    metric, context = fair(name)
    assert isinstance(metric, Metric) and metric.unit
    statistic, n = metric.statistic(context), len(REAL)
    order = np.random.default_rng(3).permutation(n)
    assert statistic(order) == pytest.approx(statistic(np.arange(n)), rel=1e-9)
    alone = replace(context, images=REAL[order[:40]], prompts=[context.prompts[i] for i in order[:40]])
    assert statistic(order[:40]) == pytest.approx(value(metric, alone), rel=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_only_colour_pictures_are_measured(name: str) -> None:
    sizes = () if name in (*DISTANCES, "saturation", "clipped") else ((3, 16, 16),)  # these take any size
    for shape in ((1, 8, 8), (1, 64, 64), (2,), *sizes):
        images = np.zeros((4, *shape))
        with pytest.raises(UndefinedError, match="pictures"):
            METRICS[name].statistic(Context(images, ["a sofa, front view"] * 4, DIGITS, images, same_law=True))


@pytest.mark.parametrize(
    ("name", "context", "why"),
    [
        ("rprec", of(REAL[:2]), "without a prompt"),
        ("tclip", of(REAL[:2], ["a", None]), "without a prompt"),
        ("diversity", of(REAL[:2], ["a", "b"]), "no prompt has two samples"),
        ("saturation", of(REAL[:2]), "cannot be drawn"),
    ],
)
def test_a_metric_says_why_it_is_not_defined(name: str, context: Context, why: str) -> None:
    with pytest.raises(UndefinedError, match=why):
        METRICS[name].statistic(context)
