"""The released SDI, derived anew from its code: integer timesteps, alphas_cumprod, a loop of its own, torch.optim.Adam."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import tiny_pipelines
import torch
from torch import Tensor

from sdi_bench.directions import PredictedMinusAdded
from sdi_bench.draws import PhiloxDraws, Purpose, items_of
from sdi_bench.guidance import Guidance, PerpNeg, Sides
from sdi_bench.levels import Step
from sdi_bench.models import DiffusersFolder, Gaussian
from sdi_bench.noise import Fresh, Inversion, Last, Previous, ReleasedInversion
from sdi_bench.predictor import Predictor
from sdi_bench.samplers import Annealed, Distillation, RandomT, ReleasedTimeline
from sdi_bench.samplers.distillation import evaluate
from sdi_bench.scenes import Image
from sdi_bench.schedules import scaled_linear
from sdi_bench.update import Adam, OneMinusAlphaBar, gradient

PROMPT, N = "an orange cat", 1000
TOLERANCE = {"float64": 1e-11, "float32": 1e-5}
"""Relative to the largest number, by the network's precision; x0, levels and noises are float64 on both sides, as this package
has them. float64: 1e5·u, u = 1e-16; eps times sigma = 13 and 2·gamma = 17, summed over a dozen steps; then Adam divides by
gradients that end small. Shown: 9e-13. float32: where both sides ask the network for the same numbers they get the same bits
(shown: 1e-15); one number that is rounded to its neighbour instead, 6e-8, is amplified some hundredfold."""
ULPS = 4
"""The released code is float32 all through. It differs from ours by no more than so many times what one unit in the last place
of its start makes of its own result: it rounds in every step, and that is one step's rounding, carried through all of them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sd")
    tiny_pipelines.sd(set_alpha_to_one=False).save_pretrained(path)
    return path


@pytest.fixture(scope="module", params=["float64", pytest.param("float32", marks=pytest.mark.slow)])
def model(folder, request) -> DiffusersFolder:
    return DiffusersFolder.of(folder, dtype=request.param)


@dataclass(frozen=True)
class Notebook:
    """2dplayground_SDI_version.ipynb and stable_diffusion_sdi_guidance.py, one item, by what they do.

    Each switch is a deviation from the paper; its other value is the paper's. dtype: of all but the network and the codec;
    None: theirs. ulps: how far, with signs at random, the start is moved.
    """

    pipe: Any
    draws: PhiloxDraws
    dtype: torch.dtype | None = torch.float64
    ulps: int = 0
    threestudio: bool = True
    leading: bool = True
    rolled: bool = True
    unscaled: bool = True
    each_step: bool = True
    as_found: bool = True
    project: bool = True
    posterior: str = "sample"
    words: str = ", front view"
    truncated: bool = True
    one_last: bool = True
    cached: bool = False
    n_iters: int = 25
    scale: float = 7.5
    n: int = 10
    eta: float = 0.3

    def here(self, x: Tensor) -> Tensor:
        """In the precision of all but the network."""
        return x.to(self.dtype or self.pipe.unet.dtype)

    @cached_property
    def table(self) -> np.ndarray:
        return self.pipe.scheduler.alphas_cumprod.double().numpy()

    def ab(self, t: float) -> Tensor:
        """alphas_cumprod; between its entries log-SNR is linear; below its first it is the first."""
        entries, t = np.log(self.table / (1 - self.table)), max(t, 0)
        between = 1 / (1 + np.exp(-np.interp(t, np.arange(N), entries)))
        return self.here(torch.tensor(self.table[int(t)] if t == int(t) else between))

    @cached_property
    def text(self) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.pipe.encode_prompt(words, "cpu", 1, False)[0] for words in (PROMPT + self.words, "")])

    def eps(self, x: Tensor, t: float, s: float) -> Tensor:
        with torch.no_grad():
            told = torch.full((2,), t, dtype=torch.float32)
            both = torch.cat([x, x]).to(self.pipe.unet.dtype)
            cond, uncond = self.here(self.pipe.unet(both, told, encoder_hidden_states=self.text).sample).chunk(2)
        return (cond if self.threestudio else uncond) + s * (cond - uncond)

    def draw(self, purpose: Purpose, step: int, shape: tuple[int, ...] = (4, 8, 8)) -> Tensor:
        return self.here(self.draws.normal(purpose, step, shape))

    def timesteps(self, t: float, index: int) -> list[float]:
        u = float(self.draws.uniform(Purpose.TAU, index))
        if self.leading:
            grid = [1 + k * (N // self.n) for k in range(self.n)]
            first = 1 - N // self.n if self.rolled else 0
            return [first, *(s for s in grid if s < t), min(t + int(u * N // self.n), N - 1)]
        end = min(t + N * u / 30, N - 1)
        steps = [float(s) for s in np.linspace(0, end, max(1, int(self.n * end / N)) + 1)]
        return [1 - N // self.n if self.rolled else 0, *steps[1:]]

    def invert(self, z: Tensor, t: float, index: int) -> tuple[Tensor, float]:
        x, path = z if self.unscaled else self.ab(0).sqrt() * z, self.timesteps(t, index)
        xi = self.draw(Purpose.ENTROPY, index, (self.n + 1, 4, 8, 8))
        for k, (s, u) in enumerate(zip(path, path[1:], strict=False)):
            ab_s, ab_u, e = self.ab(s), self.ab(u), self.eps(x, s, -self.scale)
            x0 = (x - (1 - ab_s).sqrt() * e) / ab_s.sqrt()
            x = ab_u.sqrt() * x0 + (1 - ab_u).sqrt() * e
            if self.each_step:
                x = x + self.eta * ((1 - ab_s) / (1 - ab_u) * (1 - ab_u / ab_s)).sqrt() * xi[:, k]
        if not self.each_step:
            x = x + self.eta * (1 - self.ab(path[-1])).sqrt() * xi[:, 0]
        return x, path[-1]

    def through_codec(self, z: Tensor, index: int) -> Tensor:
        vae = self.pipe.vae
        with torch.no_grad():
            picture = self.here(vae.decode((z / vae.config.scaling_factor).to(vae.dtype)).sample)
            law = vae.encode(((picture / 2 + 0.5).clamp(0, 1) * 2 - 1).to(vae.dtype)).latent_dist
        found = self.here(law.mean)
        if self.posterior == "sample":
            found = found + self.here(law.std) * self.draw(Purpose.VAE, index)
        return found * vae.config.scaling_factor

    def target(self, z: Tensor, t: float, index: int, k: Tensor) -> tuple[Tensor, Tensor]:
        """(where z is sent, the guided prediction there)."""
        if self.cached:
            x = self.ab(t).sqrt() * z + (1 - self.ab(t)).sqrt() * k
        else:
            z = self.through_codec(z, index) if self.project else z
            x, u = self.invert(z, t, index)
            if not self.as_found:
                kappa = (x - self.ab(u).sqrt() * z) / (1 - self.ab(u)).sqrt()
                x = self.ab(t).sqrt() * z + (1 - self.ab(t)).sqrt() * kappa
        e = self.eps(x, t, self.scale)
        return (x - (1 - self.ab(t)).sqrt() * e) / self.ab(t).sqrt(), e

    def run(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(z at each refresh's end, the prediction it was made from)."""
        x = self.draw(Purpose.INIT, 0)
        signs = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        x = x * (1 + self.ulps * torch.finfo(x.dtype).eps * signs)
        k = self.eps(x, N - 1, self.scale)
        z = ((x - (1 - self.ab(N - 1)).sqrt() * k) / self.ab(N - 1).sqrt()).requires_grad_()
        optimizer = torch.optim.Adam([z], lr=0.1)
        last = self.n_iters if self.one_last else self.n_iters + 24
        for i in range(last + 1):
            if i % 25 == 0:
                share = (0.98 - 0.02) * (1 - i / self.n_iters) + 0.02
                target, k = self.target(z.detach(), int(N * share) if self.truncated else N * share, i // 25 + 1, k)
            loss = 0.5 * torch.nn.functional.mse_loss(z, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if i % 25 == 24 or i == last:
                yield z.detach().clone(), k


def ours(theirs: Notebook) -> Distillation:
    """The same in this package's settings."""
    return Distillation(
        ReleasedTimeline(n_targets=theirs.n_iters // 25 + 1, n_spans=theirs.n_iters // 25, truncated=theirs.truncated),
        Previous()
        if theirs.cached
        else ReleasedInversion(
            -theirs.scale,
            theirs.n,
            levels="leading" if theirs.leading else "uniform",
            **{name: getattr(theirs, name) for name in ("rolled", "unscaled", "each_step", "as_found")},
        ),
        Guidance(theirs.scale, convention="threestudio" if theirs.threestudio else "paper"),
        update=Adam(n_steps=theirs.n_iters + 1 if theirs.one_last else None, mean=True),
        scene=Image(theirs.project and not theirs.cached, theirs.posterior, theirs.words),
    )


def gap(got: Tensor, want: Tensor) -> float:
    """The largest difference, relative to the largest number; nan where either is not finite."""
    size = want.abs().max().double()
    return float(((got.double() - want.double()).abs().max() / size).nan_to_num(nan=np.inf))


Refreshes = list[tuple[Tensor, Tensor]]


def apart(got: Refreshes, wanted: Refreshes) -> float:
    """The largest gap over all refreshes, of the latent and of the prediction."""
    return max(max(gap(x, z), gap(eps, k)) for (x, eps), (z, k) in zip(got, wanted, strict=True))


def both(model: DiffusersFolder, **fields: Any) -> tuple[Refreshes, Notebook]:
    """What our settings give, and whose they are."""
    draws = PhiloxDraws(tuple(items_of([PROMPT], [3])))
    theirs = Notebook(model.pipe, draws, **fields)
    sampler = ours(theirs)
    sampler.check(model, model.schedule)
    net = Predictor(model, model.schedule, sampler.guidance, (PROMPT,))
    with torch.no_grad():
        _, *states = sampler.sample(net, draws)
    assert len(states) == fields.get("n_iters", 25) // 25 + 1
    return [(state.params, state.eps) for state in states], theirs


def compare(model: DiffusersFolder, **fields: Any) -> float:
    """How far the two are apart."""
    got, theirs = both(model, **fields)
    return apart(got, list(theirs.run()))


SWITCHES: dict[str, dict[str, Any]] = {
    "as released": {},
    "convention": {"threestudio": False},
    "levels": {"leading": False},
    "rolled": {"rolled": False},
    "unscaled": {"unscaled": False},
    "each_step": {"each_step": False},
    "as_found": {"as_found": False},
    "project": {"project": False},
    "posterior": {"posterior": "mean"},
    "words": {"words": ""},
    "truncated": {"truncated": False},
    "one_last": {"one_last": False},
    "cached": {"cached": True},
}


IN_EVERY_RUN = (next(iter(SWITCHES)),)
"""As released; the others with -m slow."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in IN_EVERY_RUN else pytest.mark.slow) for name in SWITCHES]
)
def test_two_targets_of_the_notebook_with_each_deviation_taken_back_alone(name: str, model) -> None:
    assert compare(model, n=4, **SWITCHES[name]) <= TOLERANCE[str(model.dtype).split(".")[1]]


@pytest.mark.slow
def test_the_whole_notebook(model) -> None:
    """41 targets, 1,001 steps."""
    assert compare(model, n=10, n_iters=1000) <= TOLERANCE[str(model.dtype).split(".")[1]]
    assert compare(model, n_iters=1000, cached=True) <= TOLERANCE[str(model.dtype).split(".")[1]]


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 4},
        pytest.param({"n_iters": 1000}, marks=pytest.mark.slow),
        pytest.param({"n_iters": 250, "cached": True}, marks=pytest.mark.slow),
    ],
    ids=["two targets", "whole", "cached"],
)
def test_all_in_single_precision_it_differs_by_its_own_rounding(fields: dict[str, Any], folder) -> None:
    """Shown, ours from the released and the released from itself: 2.4e-5 of 3.3e-5, 1.5e-4 of 3.0e-4, 7e-6 of 1.0e-5."""
    got, theirs = both(DiffusersFolder.of(folder, dtype="float32"), **fields)
    released, moved = (list(replace(theirs, dtype=None, ulps=ulps).run()) for ulps in (0, 1))
    assert 1e-7 < apart(got, released) <= ULPS * apart(moved, released)


def test_the_notebook_s_levels() -> None:
    wanted = [int(1000 * ((0.98 - 0.02) * (1 - i / 1000) + 0.02)) for i in range(0, 1001, 25)]
    times = [float(t) * 1000 for t in ReleasedTimeline().times(1000)]
    assert times == pytest.approx(wanted, abs=1e-9)
    assert (wanted[0], wanted[-1], len(times)) == (980, 20, 41)
    real = [float(t) * 1000 for t in ReleasedTimeline(truncated=False).times(1000)]
    assert sum(round(t) > int(w) for t, w in zip(real, wanted, strict=True)) == 8


def perpendicular(stack: Tensor, scale: float) -> Tensor:
    """threestudio's perp_neg branch: uncond + s·(e - sum of what of each negative is perpendicular to e), e = cond - uncond."""
    uncond, cond, *negatives = stack
    e = cond - uncond
    total = e
    for negative in negatives:
        n = negative - uncond
        total = total - (n - (n * e).sum() / (e * e).sum() * e)
    return uncond + scale * total


def test_the_released_3d_guidance_on_a_given_latent(model) -> None:
    """kappa, target and gradient: Perp-Neg, where gamma = s in threestudio too; weights 1; the mean of the squares."""
    sides = ("a cat, front view", "a cat, side view", "a cat, back view")
    draws = PhiloxDraws(tuple(items_of(["a cat"], [5])))

    class Notebook3d(Notebook):
        @cached_property
        def text(self) -> Tensor:
            with torch.no_grad():
                return torch.cat([self.pipe.encode_prompt(words, "cpu", 1, False)[0] for words in ("", *sides)])

        def eps(self, x: Tensor, t: float, s: float) -> Tensor:
            with torch.no_grad():
                told = torch.full((4,), t, dtype=torch.float32)
                four = x.repeat(4, 1, 1, 1).to(self.pipe.unet.dtype)
                return perpendicular(self.here(self.pipe.unet(four, told, encoder_hidden_states=self.text).sample)[:, None], s)

    theirs = Notebook3d(model.pipe, draws, project=False)
    guidance = PerpNeg(7.5, convention="threestudio").against(Sides(*((side,) for side in sides), ("front",), (0.0,)))
    net = Predictor(model, model.schedule, guidance, (sides[0],))
    z = draws.normal(Purpose.SCENE, 0, (4, 8, 8))
    for t in (980, 500, 250):
        level = net.level(t / 1000)
        step = Step(level, level, 7)
        with torch.no_grad():
            found = evaluate(z, step, Last(z), ReleasedInversion(), PredictedMinusAdded(), net, draws)
        leaf = z.clone().requires_grad_()
        target, eps = theirs.target(leaf.detach(), t, 7, leaf)
        (0.5 * torch.nn.functional.mse_loss(leaf, target)).backward()
        x, _ = theirs.invert(leaf.detach(), t, 7)
        kappa = (x - theirs.ab(t).sqrt() * leaf.detach()) / (1 - theirs.ab(t)).sqrt()
        slope = gradient(Image().see(z, None, model), found.target, level, Adam().weight, mean=True)
        tolerance = TOLERANCE[str(model.dtype).split(".")[1]]
        pairs = ((found.kappa, kappa), (found.target, target), (found.eps, eps), (slope, leaf.grad))
        assert max(gap(got, want) for got, want in pairs) <= tolerance


def test_threestudio_s_gradient_of_sds(model) -> None:
    """(1 - ab)·(eps - noise), the sum of squares, CFG 100 in its convention: gamma = 101. t is whole, from 20 to 980."""
    draws = PhiloxDraws(tuple(items_of([PROMPT], [1])))
    net = Predictor(model, model.schedule, Guidance(100.0, convention="threestudio"), (PROMPT,))
    theirs = Notebook(model.pipe, draws, words="")
    z = draws.normal(Purpose.SCENE, 0, (4, 8, 8))
    for step in list(RandomT(3, whole=True).steps(net, draws)):
        t = 20 + int(961 * float(draws.uniform(Purpose.TIME, step.index)))
        with torch.no_grad():
            found = evaluate(z, step, Last(z), Fresh(), PredictedMinusAdded(), net, draws)
        slope = gradient(Image().see(z, None, model), found.target, step.dst, OneMinusAlphaBar())
        noise = theirs.draw(Purpose.KAPPA, step.index)
        leaf = z.clone().requires_grad_()
        x = theirs.ab(t).sqrt() * leaf.detach() + (1 - theirs.ab(t)).sqrt() * noise
        target = (leaf - (1 - theirs.ab(t)) * (theirs.eps(x, t, 100.0) - noise)).detach()
        (0.5 * torch.nn.functional.mse_loss(leaf, target, reduction="sum")).backward()
        assert gap(slope, leaf.grad) <= TOLERANCE[str(model.dtype).split(".")[1]]


BOX = Gaussian.of({"c": ([1.0, -0.5], [0.25, 0.1])}, ([0.0, 0.0], [1.0, 0.5]))


def test_with_all_taken_back_it_is_the_paper_s_inversion() -> None:
    """But where the noise goes: to kappa itself here as there. Rows that take unequal numbers of steps are among them."""
    draws = PhiloxDraws(tuple(items_of(["c"], range(5))))
    net = Predictor(BOX, scaled_linear(), Guidance(7.5), ("c",) * 5)
    level = net.level(torch.tensor([0.98, 0.55, 0.31, 0.2, 0.04]))
    x0, step = draws.normal(Purpose.SCENE, 0, (2,)), Step(level, level, 3)
    taken_back = ReleasedInversion(eta=0.0, levels="uniform", rolled=False, unscaled=False, each_step=False, as_found=False)
    ours, paper = (noise.propose(x0, step, Last(x0), net, draws).kappa for noise in (taken_back, Inversion(entropy=0.0)))
    assert gap(ours, paper) <= 1e-13


def test_rows_of_unequal_levels_are_batches_of_one() -> None:
    items = tuple(items_of(["c"], range(4)))
    times = torch.tensor([0.98, 0.001, 0.2, 0.5005])

    def found(rows: list[int]) -> Tensor:
        draws = PhiloxDraws(tuple(items[i] for i in rows))
        net = Predictor(BOX, scaled_linear(), Guidance(2.0, convention="threestudio"), ("c",) * len(rows))
        level = net.level(times[rows])
        x0 = draws.normal(Purpose.SCENE, 0, (2,))
        return ReleasedInversion().propose(x0, Step(level, level, 2), Last(x0), net, draws).kappa

    assert torch.equal(found([0, 1, 2, 3]), torch.cat([found([i]) for i in range(4)]))


def test_the_prediction_at_an_index_below_the_table_is_asked_there(model) -> None:
    """-99 reaches the network, once an inversion."""
    told: list[float] = []
    handle = model.pipe.unet.register_forward_pre_hook(lambda module, args: told.append(float(args[1][0])))
    draws = PhiloxDraws(tuple(items_of([PROMPT], [0])))
    net = Predictor(model, model.schedule, Guidance(7.5), (PROMPT,))
    level = net.level(0.25)
    x0 = draws.normal(Purpose.SCENE, 0, (4, 8, 8))
    with torch.no_grad():
        ReleasedInversion().propose(x0, Step(level, level, 1), Last(x0), net, draws)
        replace(ReleasedInversion(), rolled=False).propose(x0, Step(level, level, 1), Last(x0), net, draws)
    handle.remove()
    assert told == [-99, 1, 101, 201, 0, 1, 101, 201]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ReleasedInversion(levels="trailing"), "noise.levels='trailing': must be leading or uniform"),
        (lambda: ReleasedInversion(eta=-1.0), "noise.eta=-1"),
        (lambda: ReleasedTimeline(n_targets=42), "sampler.timeline.n_targets=42: must be a whole number <= 41"),
        (lambda: Guidance(7.5, convention="ours"), "guidance.convention='ours': must be paper or threestudio"),
        (lambda: Image(posterior="mode"), "scene.posterior='mode': must be sample or mean"),
    ],
)
def test_what_cannot_be_is_a_line(make, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        make()


def test_the_codec_s_posterior_needs_a_random_encoder() -> None:
    class Sure:
        shape, image_shape, prompts, fingerprint = (4, 8, 8), (3, 16, 16), (), ""

        def predict(self, x, level, conds):
            raise NotImplementedError

        def check_prompt(self, prompt):
            raise NotImplementedError

        def decode(self, latents: Tensor) -> Tensor:
            return latents

        def encode(self, images: Tensor) -> Tensor:
            return images

    with pytest.raises(
        ValueError, match=r"scene.posterior=sample: the encoder of Sure is not random; use scene.posterior=mean"
    ):
        Image(project=True).check(Sure())
    Image(project=True, posterior="mean").check(Sure())


def test_adam_stops_at_its_last_step() -> None:
    x0 = torch.ones(1, 2, dtype=torch.float64)
    update, level = Adam(n_inner=25, n_steps=26), scaled_linear().level(0.5)
    see = lambda params: Image().see(params, None, BOX)  # noqa: E731
    params, memory = update.apply(x0, update.init(x0), see(x0), see, 0 * x0, level)
    params, memory = update.apply(params, memory, see(params), see, 0 * x0, level)
    assert memory is not None
    assert memory.n == 26


def test_words_go_to_the_network_from_the_start_and_not_to_the_draws() -> None:
    asked: list[str | None] = []

    class Listening:
        shape, prompts, fingerprint = (2,), ("c",), ""

        def predict(self, x, level, conds):
            asked.extend(conds[0])
            return BOX.predict(x, level, [["c"] * len(x)])

        def check_prompt(self, prompt):
            BOX.check_prompt(prompt)

    from sdi_bench.grids import UniformT

    sampler = Distillation(Annealed(UniformT(3)), Fresh(), scene=Image(words=", front view"))
    draws = PhiloxDraws(tuple(items_of(["c"], [0])))
    *_, last = sampler.sample(Predictor(Listening(), scaled_linear(), Guidance(), ("c",)), draws)
    plain = Distillation(Annealed(UniformT(3)), Fresh())
    *_, same = plain.sample(Predictor(BOX, scaled_linear(), Guidance(), ("c",)), draws)
    assert asked == ["c, front view"] * 3
    assert torch.equal(last.x0, same.x0)
