"""Exact models against densities written another way and integrals done by brute force; files, prompts, networks, roots."""

import io
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy import stats
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

import sdi_bench.run  # registers the resolvers of conf/
from sdi_bench.coordinates import Epsilon, FlowVelocity, Preconditioned, Sample, Score, Velocity, noisy
from sdi_bench.guidance import Guidance
from sdi_bench.levels import Level
from sdi_bench.models import Empirical, ExactModel, Gaussian, HasExactRoot, Mixture, Network, Reparametrised
from sdi_bench.models.local import Prior
from sdi_bench.models.mixture import DIGITS
from sdi_bench.schedules import RectifiedFlow, linear, scaled_linear

CONF = sdi_bench.command_line.conf_dir()
CONFIGURED = {
    path.stem: instantiate(OmegaConf.select(node := OmegaConf.load(path), "model", default=node), _convert_="all")
    for path in sorted((CONF / "model").glob("*.yaml"))
    if path.stem not in ("diffusers", "trained", "builtin_3d")  # networks are tested elsewhere; the last is builtin again
}


def level(*rows: tuple[float, float]) -> Level:
    a, b = torch.tensor(rows, dtype=torch.float64).T
    return Level(a, b, b / (a + b))


LEVELS = {
    "variance preserving": level((0.6, 0.8)),
    "nearly clean": level((1, 0.05)),
    "variance exploding": level((1, 30)),
    "flow": level((0.1, 0.9)),
    "pure noise": level((0, 1)),
    "a row each": level((0.6, 0.8), (1, 0.05), (1, 30), (0.1, 0.9)),
}
each_level = pytest.mark.parametrize("at", LEVELS.values(), ids=LEVELS)

LAWS = {
    "a": ([1.0, -0.5, 0.2], [[0.6, 0.3, -0.1], [0.3, 0.5, 0.05], [-0.1, 0.05, 0.2]]),
    "b": ([-1.0, 0.0, 0.4], [[1.5, 0.2, 0.4], [0.2, 0.1, 0.0], [0.4, 0.0, 0.9]]),
    None: ([0.0, 0.1, 0.0], [1.0, 0.01, 0.25]),
}
CENTRES = [[1.0, 0.2, -0.3], [-0.4, 0.9, 0.5], [0.1, -1.0, 0.0], [0.3, 0.2, 1.0], [-0.9, -0.2, 0.4]]
LABELS, WIDTHS, WIDTH = ["a", "b", "a", "b", "b"], [0.1, 0.4, 0.25, 0.05, 0.7], 0.3
MODELS = {
    "gaussian": Gaussian.of({name: LAWS[name] for name in ("a", "b")}, LAWS[None]),
    "mixture": Mixture.of(CENTRES, LABELS, WIDTHS),
    "empirical": Empirical(torch.tensor(CENTRES, dtype=torch.float64), tuple(LABELS), WIDTH),
}
each_model = pytest.mark.parametrize("name", MODELS)


def log_density(name: str, x: Tensor, prompt: str | None, a: Tensor, b: Tensor) -> Tensor:
    """log p(x) of a·x0 + b·eps, from torch's own distributions."""
    if name == "gaussian":
        mean, cov = (torch.tensor(part, dtype=torch.float64) for part in LAWS[prompt])
        cov = cov.diag() if cov.ndim == 1 else cov
        return MultivariateNormal(a * mean, a**2 * cov + b**2 * torch.eye(3).double()).log_prob(x)
    inside = [i for i, label in enumerate(LABELS) if prompt in (None, label)]
    centres = torch.tensor(CENTRES, dtype=torch.float64)[inside]
    widths = torch.tensor(WIDTHS if name == "mixture" else [WIDTH] * 5, dtype=torch.float64)[inside]
    spread = (a**2 * widths**2 + b**2).sqrt()[:, None].expand_as(centres)
    return MixtureSameFamily(
        Categorical(torch.ones(len(inside), dtype=torch.float64)), Independent(Normal(a * centres, spread), 1)
    ).log_prob(x)


def points(*shape: int, seed: int = 0) -> Tensor:
    return 1.5 * torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@each_model
@pytest.mark.parametrize("prompt", [None, "a", "b"])
@each_level
def test_the_prediction_is_the_gradient_of_the_log_density(name: str, prompt: str | None, at: Level) -> None:
    x = points(4, 3).requires_grad_()
    rows = [(at.rows(torch.tensor([i])).a[0], at.rows(torch.tensor([i])).b[0]) for i in range(4)]
    sum(log_density(name, x[i], prompt, a, b) for i, (a, b) in enumerate(rows)).backward()
    a, b = (torch.stack(column)[:, None] for column in zip(*rows, strict=True))
    found = MODELS[name].predict(x.detach(), at, [[prompt] * 4])
    # torch's densities lose up to 1e-16·|x|²/b² ~ 1e-13 in the weights of the components, which x / b = 60 magnifies.
    torch.testing.assert_close(found.eps[0], -b * x.grad, rtol=1e-11, atol=1e-11)
    # Tweedie, where there is a signal: x0 = (x + b²·score) / a; rounding of x/a and b²/a, at most 900·1e-16.
    x0 = (x.detach() + b**2 * x.grad) / a
    assert at is LEVELS["pure noise"] or torch.allclose(found.x0[0], x0, rtol=1e-11, atol=1e-11)


ONE_D = {
    "gaussian": (Gaussian.of({}, ([0.3], [0.49])), [0.3], [0.7]),
    "mixture": (Mixture.of([[-1.0], [0.2], [0.9]], ["", "", ""], [0.1, 0.3, 0.6]), [-1.0, 0.2, 0.9], [0.1, 0.3, 0.6]),
    "empirical": (Empirical(torch.tensor([[-1.0], [0.5]]).double(), ("", ""), 0.2), [-1.0, 0.5], [0.2, 0.2]),
}


@pytest.mark.parametrize("name", ONE_D)
@pytest.mark.parametrize("at", [at for at in LEVELS.values() if len(at.a) == 1], ids=[k for k in LEVELS if k != "a row each"])
def test_the_prediction_is_the_posterior_mean_by_brute_force(name: str, at: Level) -> None:
    model, centres, widths = ONE_D[name]
    a, b = float(at.a), float(at.b)
    x = np.array([-2.0, -0.4, 0.0, 0.7, 1.9])
    x0 = np.linspace(-8, 8, 64001)  # 200 points in the narrowest bump: the sum of a smooth bump converges exponentially
    prior = sum(stats.norm.pdf(x0, centre, width) for centre, width in zip(centres, widths, strict=True))
    weight = prior * stats.norm.pdf(x[:, None], a * x0, b)
    mean = (weight * x0).sum(1) / weight.sum(1)
    found = model.predict(torch.from_numpy(x)[:, None], at, [[None] * 5])
    np.testing.assert_allclose(found.x0[0, :, 0], mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.eps[0, :, 0], (x - a * mean) / b, rtol=0, atol=3e-11)  # the line above, over b = .05


@pytest.mark.parametrize("name", [*MODELS, "points"])
@pytest.mark.parametrize("sigma", [1e-3, 0.1, 1.0, 100.0, 1e4])
@pytest.mark.parametrize("preserving", [True, False])
def test_far_tails_stay_finite_and_go_to_the_nearest_component(name: str, sigma: float, preserving: bool) -> None:
    model = MODELS.get(name) or Empirical(torch.tensor(CENTRES, dtype=torch.float64), tuple(LABELS), 0.0)
    a = (1 + sigma**2) ** -0.5 if preserving else 1.0
    x = points(6, 3) * torch.tensor([0.0, 1.0, 1e2, 1e3, 1e4, 1e6])[:, None].double()
    found = model.predict(x, level((a, a * sigma)), [[None] * 6, ["b"] * 6])
    assert found.x0.isfinite().all() and found.eps.isfinite().all()
    if name == "points" and sigma <= 0.1:
        distance = torch.cdist(x / a, model.centres)
        first, second = distance.topk(2, dim=1, largest=False).values.T
        clear = second**2 - first**2 > 2 * 40 * sigma**2  # the second one's weight is below e^-40
        assert clear.sum() >= 4
        torch.testing.assert_close(found.x0[0, clear], model.centres[distance.argmin(1)][clear], rtol=0, atol=1e-14)


@each_model
def test_much_noise_predicts_the_mean_and_little_noise_the_image(name: str) -> None:
    model, x = MODELS[name], points(4, 3)
    mean = torch.tensor(LAWS["a"][0] if name == "gaussian" else np.mean(np.array(CENTRES)[[0, 2]], axis=0).tolist())
    far = model.predict(x, level((0, 1)), [["a"] * 4])
    torch.testing.assert_close(far.x0[0], mean.double().expand(4, 3), rtol=0, atol=1e-7)
    torch.testing.assert_close(far.eps[0], x, rtol=0, atol=1e-14)
    near = model.predict(x, level((1, 1e-9)), [["a"] * 4])
    torch.testing.assert_close(near.x0[0], x, rtol=0, atol=1e-8)  # eps·b, and |eps| < |x|·b/width² ~ 1e-6


# --------------------------------------------------------------------------------------------- the contract of a model


def inputs(model: ExactModel, n: int = 5) -> tuple[Tensor, Level, list[list[str | None]]]:
    at = scaled_linear().level(torch.linspace(0.1, 1, n, dtype=torch.float64))
    return points(n, *model.shape), at, [[None] * n, [model.prompts[i % len(model.prompts)] for i in range(n)]]


EVERY = MODELS | {f"conf/model/{name}": model for name, model in CONFIGURED.items()}
every_model = pytest.mark.parametrize("model", EVERY.values(), ids=EVERY)
LABELLED = {name: model for name, model in EVERY.items() if not isinstance(model, Prior)}  # any text is a prompt of a Prior
every_labelled_model = pytest.mark.parametrize("model", LABELLED.values(), ids=LABELLED)


@every_model
def test_predictions_are_float64_of_the_right_shape_and_repeat_to_the_bit(model: ExactModel) -> None:
    x, at, conds = inputs(model)
    first, again = model.predict(x, at, conds), model.predict(x, at, conds)
    for half, same in zip(first, again, strict=True):
        assert half.shape == (2, *x.shape) and half.dtype == torch.float64 and torch.equal(half, same)
    assert all(half.dtype == torch.float64 for half in model.predict(x.float(), at, conds))
    # the two halves belong to one x
    for x0, eps in zip(*first, strict=True):
        torch.testing.assert_close(noisy(x0, eps, at), x, rtol=1e-13, atol=1e-13)


@every_model
def test_conditions_together_are_conditions_one_by_one(model: ExactModel) -> None:
    x, at, conds = inputs(model)
    together = model.predict(x, at, [*conds, conds[1][::-1]])
    for i, prompts in enumerate([*conds, conds[1][::-1]]):
        alone = model.predict(x, at, [prompts])
        for half, one in zip(together, alone, strict=True):
            torch.testing.assert_close(half[i], one[0], rtol=0, atol=1e-13)


@every_model
def test_a_row_of_a_batch_is_a_batch_of_one(model: ExactModel) -> None:
    x, at, conds = inputs(model)
    whole = model.predict(x, at, conds)
    for i in range(len(x)):
        row = torch.tensor([i])
        alone = model.predict(x[row], at.rows(row), [[prompts[i]] for prompts in conds])
        for half, one in zip(whole, alone, strict=True):
            torch.testing.assert_close(half[:, row], one, rtol=0, atol=1e-12)  # matrix products may sum in another order


@every_labelled_model
def test_a_prompt_that_is_not_known_is_refused_with_a_near_match(model: ExactModel) -> None:
    known = model.prompts
    assert known == tuple(sorted(set(known))) and known
    for prompt in (None, *known):
        model.check_prompt(prompt)
    with pytest.raises(ValueError, match=f"^prompt='{known[-1]}x': did you mean|^prompt='{known[-1]}x': this model knows"):
        model.check_prompt(known[-1] + "x")


def test_the_near_match_is_named() -> None:
    model = Mixture.of([[0.0], [1.0]], ["a photograph of a cat", "a bear"], [0.1, 0.1])
    with pytest.raises(ValueError, match=r"^prompt='a bera': did you mean 'a bear'\? this model knows a bear, a photograph"):
        model.check_prompt("a bera")
    with pytest.raises(ValueError, match=r"^prompt='zzz': this model knows"):
        model.check_prompt("zzz")


@each_model
@pytest.mark.parametrize("prompt", [None, "a", "b"])
def test_samples_have_the_law_s_mean_and_covariance(name: str, prompt: str | None) -> None:
    n, model = 20_000, MODELS[name]
    inside = [i for i, label in enumerate(LABELS) if prompt in (None, label)]
    if name == "gaussian":
        mean, cov = (np.array(part) for part in LAWS[prompt])
        cov = np.diag(cov) if cov.ndim == 1 else cov
    else:
        centres, widths = np.array(CENTRES)[inside], np.array(WIDTHS if name == "mixture" else [WIDTH] * 5)[inside]
        mean, cov = centres.mean(0), np.cov(centres.T, bias=True) + np.mean(widths**2) * np.eye(3)
    gap = model.sample([prompt] * n, np.random.default_rng(0)).numpy() - mean
    squares = gap[:, :, None] * gap[:, None, :]
    for values, want in ((gap, 0), (squares, cov)):
        assert (np.abs(values.mean(0) - want) < 4.5 * values.std(0) / math.sqrt(n)).all()  # 9 tests of 12: p = 7e-4


@every_labelled_model
def test_samples_follow_the_prompts_row_by_row_and_repeat_with_the_seed(model: ExactModel) -> None:
    first, last = model.prompts[0], model.prompts[-1]
    prompts = [first, last] * 500
    images = model.sample(prompts, np.random.default_rng(3))
    assert images.shape == (1000, *model.shape) and images.dtype == torch.float64
    assert torch.equal(images, model.sample(prompts, np.random.default_rng(3)))
    for rows, prompt in ((images[::2], first), (images[1::2], last)):
        alone = model.sample([prompt] * 500, np.random.default_rng(4))
        error = ((rows.var(0) + alone.var(0)) / 500).sqrt()
        assert ((rows.mean(0) - alone.mean(0)).abs() <= 5 * error).all()  # at most 64 pixels of 7 models: p = 5e-4


# ------------------------------------------------------------------------------------------------- what is not a model


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_singular_covariance_is_a_covariance(rank: int) -> None:
    for seed in range(20):
        factor = np.random.default_rng(seed).standard_normal((4, rank))
        model = Gaussian.of({}, ([0.0] * 4, (factor @ factor.T).tolist()))
        flat = model.sample([None] * 3, np.random.default_rng(0)).numpy()
        assert np.isfinite(flat).all()  # no root of a negative number
        inside = factor @ np.linalg.lstsq(factor, flat.T, rcond=None)[0]
        # Samples stay in the span of the factor up to the root of the rounding of a vanishing eigenvalue: sqrt(1e-15).
        np.testing.assert_allclose(flat.T, inside, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian.of({}, ([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]])), "cov: must be a symmetric 2 x 2"),
        (lambda: Gaussian.of({}, ([0.0, 0.0], [1.0, 1.0, 1.0])), "cov: must be a symmetric 2 x 2"),
        (lambda: Gaussian.of({}, ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]])), "cov: has a negative eigenvalue, -1"),
        (lambda: Gaussian.of({}, ([0.0, 0.0], [1.0, -0.5])), "cov: has a negative eigenvalue, -0.5"),
        (lambda: Gaussian.of({"a": ([0.0], [1.0])}, ([0.0, 0.0], [1.0, 1.0])), "classes.a: has 1 dimension"),
        (lambda: Mixture.of([[0.0], [1.0]], ["a"], [0.1, 0.1]), "mixture: 2 centres, 1 labels, 2 widths"),
        (lambda: Mixture.of([[0.0], [1.0]], ["a", "b"], [0.1, -0.1]), "widths="),
        (lambda: Empirical(torch.zeros(2, 1, 2, 2), ("a",)), "empirical: 2 images but 1 labels"),
        (lambda: Empirical.of(width=-0.1), "model.width=-0.1: "),
        (lambda: Empirical.of(width=math.nan), "model.width=nan: "),
    ],
)
def test_bad_models_are_refused_by_field(make, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def archive(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def array(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 1, 2, 2), dtype=np.uint8)
GOOD = DIGITS.read_bytes()
FILES = {
    "empty": b"",
    "a text": b"images, labels\n1, 2\n",
    "an array": array(PIXELS),
    "a pickle": archive(images=PIXELS, labels=np.array([{}, 1, None], dtype=object)),
    "cut in the middle": GOOD[: len(GOOD) // 2],
    "cut at the end": GOOD[:-30],
    "a wrong byte early": flipped(GOOD, 60),
    "a wrong byte in the pixels": flipped(GOOD, len(GOOD) // 3),
    "no labels": archive(images=PIXELS),
    "floats": archive(images=PIXELS / 255.0, labels=np.arange(3)),
    "no channels": archive(images=PIXELS[:, 0], labels=np.arange(3)),
    "a label too few": archive(images=PIXELS, labels=np.arange(2)),
    "labels in rows": archive(images=PIXELS, labels=np.zeros((3, 1))),
    "no images": archive(images=PIXELS[:0], labels=np.arange(0)),
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_a_file_that_is_no_image_set_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"set\.npz': ") as refusal:
        Empirical.of(path)
    assert str(refusal.value).startswith("model.path='") and "None" not in str(refusal.value)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.npz", tmp_path):
        with pytest.raises(ValueError, match=f"^model.path='{path}': "):
            Empirical.of(path)


def test_pixels_become_numbers_from_minus_one_to_one(tmp_path: Path) -> None:
    images = np.array([0, 255, 51], dtype=np.uint8).reshape(3, 1, 1, 1)
    (tmp_path / "set.npz").write_bytes(archive(images=images, labels=np.array([7, 8, 7])))
    model = Empirical.of(tmp_path / "set.npz", width=0)
    assert model.centres.flatten().tolist() == pytest.approx([-1, 1, -0.6]) and model.labels == ("7", "8", "7")


def test_the_digits_are_the_uci_test_set() -> None:
    model = Empirical.of()
    assert model.shape == (1, 8, 8) and model.width == 0.2
    # optdigits.names lists how many of each digit the test set has; scikit-learn's pages print the first image's top rows
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert Counter(model.labels) == {str(digit): count for digit, count in enumerate(counts)}
    grey = ((model.centres + 1) * 127.5 * 16 / 255).round()
    assert grey[0, 0, :2].tolist() == [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]] and model.labels[0] == "0"
    assert grey.min() == 0 and grey.max() == 16 and grey.sum() == 561718
    assert ((model.centres + 1) * 127.5 - 255 * grey / 16).abs().max() <= 0.5 + 1e-12  # stored as whole numbers
    # The runs' names hold this hash: other data, other runs.
    assert model.fingerprint == "32269ea9d886961c266ae04b3b2fe1493b50e7ba492845332071a384827d00e2"


def test_the_fingerprint_tells_data_apart() -> None:
    base = MODELS["empirical"]
    moved = Empirical(base.centres + 1e-15, base.labels, WIDTH)
    renamed = Empirical(base.centres, ("b", *base.labels[1:]), WIDTH)
    assert len({base.fingerprint, moved.fingerprint, renamed.fingerprint}) == 3
    assert Empirical(base.centres.clone(), base.labels, 0.9).fingerprint == base.fingerprint  # the width is spelled out


# ------------------------------------------------------------------------------------------------------------ networks

PARAMETRISATIONS = [Epsilon(), Sample(), Velocity(), Preconditioned(), FlowVelocity(), Score()]
each_parametrisation = pytest.mark.parametrize("how", PARAMETRISATIONS, ids=lambda how: type(how).__name__)


@each_parametrisation
def test_a_network_that_computes_an_exact_model_is_that_model(how) -> None:
    model, schedule = MODELS["mixture"], RectifiedFlow()

    def forward(x: Tensor, t: Tensor, prompts) -> Tensor:
        at = schedule.level(t)
        exact = model.predict(x, at, [prompts])
        return how.encode(exact.x0[0], exact.eps[0], at)

    network = Network(forward, (3,), how, torch.float64, ("a", "b"))
    x, at = points(4, 3), schedule.level(torch.tensor([0.1, 0.4, 0.8, 0.95], dtype=torch.float64))
    conds = [[None, None, "a", "b"], ["a", "b", "b", None]]
    for found, want in zip(network.predict(x, at, conds), model.predict(x, at, conds), strict=True):
        torch.testing.assert_close(found, want, rtol=0, atol=1e-13)  # ulps, times b/a = 19


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_network_computes_in_its_own_precision_and_the_state_stays_float64(dtype: torch.dtype) -> None:
    calls = []

    def forward(x: Tensor, t: Tensor, prompts) -> Tensor:
        calls.append((x, t, list(prompts)))
        return torch.zeros_like(x)

    network = Network(forward, (1, 2, 2), dtype=dtype)
    x, at = points(3, 1, 2, 2), linear().level(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))
    found = network.predict(x, at, [[None] * 3, ["p", "q", "r"]])
    ((rows, t, prompts),) = calls  # all conditions in one call
    assert rows.dtype == dtype and t.dtype == torch.promote_types(dtype, torch.float32)  # time is never rounded
    assert torch.equal(rows, torch.cat([x, x]).to(dtype)) and torch.equal(t, torch.cat([at.t, at.t]).to(t.dtype))
    assert prompts == [None, None, None, "p", "q", "r"]
    assert found.x0.dtype == found.eps.dtype == torch.float64
    for x0 in found.x0:  # no noise predicted: x0 = x / a, of the float64 x
        torch.testing.assert_close(x0, x / at.a[:, None, None, None], rtol=1e-15, atol=0)


def test_one_level_for_all_rows_is_spread_over_the_rows() -> None:
    seen = []
    network = Network(lambda x, t, prompts: seen.append(t) or x, (2,), dtype=torch.float64)
    network.predict(points(3, 2), linear().level(0.25), [[None] * 3] * 2)
    assert seen[0].tolist() == [0.25] * 6


class Theirs:
    """A parametrisation of somebody else's, which takes the outputs of one condition: out = eps / 2."""

    needs_signal = True

    def fits(self, level: Level) -> bool:
        return True

    def encode(self, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
        return eps / 2

    def decode(self, out: Tensor, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        assert out.shape == x.shape
        return (x - 2 * level.b[:, None, None, None] * out) / level.a[:, None, None, None], 2 * out


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("how", [Epsilon(), Sample(), Velocity(), Score(), Theirs()], ids=lambda how: type(how).__name__)
def test_outputs_of_all_conditions_are_read_row_by_row(how, n: int) -> None:
    """Two levels in a batch of two, so that one put along the conditions would show; by the algebra of x = a·x0 + b·eps."""

    def forward(x: Tensor, t: Tensor, prompts) -> Tensor:
        return x * t[:, None, None, None] + torch.tensor([float(p) for p in prompts], dtype=x.dtype)[:, None, None, None]

    at, x = scaled_linear().level(torch.tensor([0.3, 0.8], dtype=torch.float64)), points(2, 3, 2, 2)
    conds = [["1", "2"], ["3", "4"]][:n]
    found = Network(forward, (3, 2, 2), how, torch.float64).predict(x, at, conds)
    assert found.x0.shape == found.eps.shape == (n, *x.shape)
    for k, row in ((k, row) for k in range(n) for row in range(2)):
        a, b, t = (float(each[row]) for each in (at.a, at.b, at.t))
        out = t * x[row] + float(conds[k][row])
        eps = {
            Epsilon: out,
            Sample: (x[row] - a * out) / b,
            Velocity: b * x[row] + a * out,
            Score: -b * out,
            Theirs: 2 * out,
        }[type(how)]
        torch.testing.assert_close(found.eps[k, row], eps, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.x0[k, row], (x[row] - b * eps) / a, rtol=1e-9, atol=1e-12)


def test_a_network_of_eps_has_its_x0_worked_out_once_and_only_if_it_is_asked_for(monkeypatch) -> None:
    """An inversion goes by eps alone."""
    decode, seen = Epsilon.decode, []
    monkeypatch.setattr(Epsilon, "decode", lambda self, *given: seen.append(1) or decode(self, *given))
    found = Network(lambda x, t, prompts: 0 * x, (2,)).predict(points(3, 2), linear().level(0.25), [[None] * 3])
    assert not found.eps.any() and not seen
    assert found.x0 is found.x0 and seen == [1]


def test_a_network_checks_prompts_only_if_it_lists_them() -> None:
    Network(torch.add, (2,)).check_prompt("anything goes")
    with pytest.raises(ValueError, match="did you mean 'cat'"):
        Network(torch.add, (2,), prompts=("cat", "dog")).check_prompt("cta")


@each_parametrisation
@each_model
@each_level
def test_a_model_seen_in_another_parametrisation_is_that_model(how, name: str, at: Level) -> None:
    if at is LEVELS["pure noise"] and isinstance(how, Epsilon | Score):
        return  # no x0 there: tests/test_coordinates.py
    model = MODELS[name]
    seen = Reparametrised(model, how)
    x, conds = points(4, 3), [[None, "a", "b", "a"], ["a"] * 4]
    assert (seen.shape, seen.prompts, seen.fingerprint) == (model.shape, model.prompts, model.fingerprint)
    for found, want in zip(seen.predict(x, at, conds), model.predict(x, at, conds), strict=True):
        torch.testing.assert_close(found, want, rtol=0, atol=1e-12)  # ulps of |eps| < 20, times b/a = 30 or a/b = 20


# --------------------------------------------------------------------------------------------------- the root of eq. 8

SIGMAS = [0.01, 0.3, 2.0, 15.0, 150.0]


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("guidance", [Guidance(0.0), Guidance(1.0), Guidance(0.4), Guidance(0.7, "b"), Guidance(0.0, "a")])
@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_the_exact_root_satisfies_eq_8(name: str, guidance: Guidance, sigma: float) -> None:
    model, prompts = MODELS[name], ["a", "b", None, "a"]
    assert isinstance(model, HasExactRoot)
    model.check_root(guidance)
    x0, at = 0.3 * points(4, 3), linear().at_sigma(sigma)
    kappa = model.exact_root(x0, at, prompts, guidance)
    raw = model.predict(noisy(x0, kappa, at), at, guidance.conds(prompts))
    # kappa is large (sigma·(x0 - mu)/s², s² down to .01) and was found from x0: relative to each row's own size.
    size = kappa.norm(dim=1, keepdim=True) + 1
    assert ((guidance.combine(raw.eps) - kappa).abs() / size).max() < 1e-11
    assert ((guidance.combine(raw.x0) - x0).abs() / (1 + sigma * size)).max() < 1e-11


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_root_on_gaussian_data_is_the_closed_form(sigma: float) -> None:
    x0, prompts = points(3, 3), ["a", "b", None]
    kappa = MODELS["gaussian"].exact_root(x0, linear().at_sigma(sigma), prompts, Guidance(1.0))
    for i, prompt in enumerate(prompts):
        mean, cov = (np.array(part) for part in LAWS[prompt])
        cov = np.diag(cov) if cov.ndim == 1 else cov
        np.testing.assert_allclose(kappa[i], sigma * np.linalg.solve(cov, x0[i].numpy() - mean), rtol=1e-10)


@pytest.mark.parametrize("scale", [-2.0, 3.0, 7.5])
def test_the_root_on_gaussian_data_exists_at_other_scales_too(scale: float) -> None:
    model, prompts, guidance, at = MODELS["gaussian"], ["a", "b"], Guidance(scale), linear().level(0.5)
    x0 = points(2, 3)
    kappa = model.exact_root(x0, at, prompts, guidance)
    raw = model.predict(noisy(x0, kappa, at), at, guidance.conds(prompts))
    torch.testing.assert_close(guidance.combine(raw.eps), kappa, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("model", "guidance", "message"),
    [
        (MODELS["mixture"], Guidance(7.5), "guidance.scale=7.5: "),
        (MODELS["mixture"], Guidance(-0.1), "guidance.scale=-0.1: "),
        (Mixture.of([[0.0], [1.0]], ["a", "b"], [0.1, 0.0]), Guidance(1.0), "widths: "),
    ],
)
def test_a_mixture_says_where_its_root_is_not_defined(model: Mixture, guidance: Guidance, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        model.check_root(guidance)
    with pytest.raises(ValueError, match=f"^{message}"):
        model.exact_root(torch.zeros(1, *model.shape), level((0.6, 0.8)), ["a"], guidance)
