"""A noise that is held: for each camera of an object and each item on its own, found anew for the rows whose turn it is."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import sdi_bench as sb
from sdi_bench import jobs, sweeps
from sdi_bench.draws import Item, PhiloxDraws, Purpose
from sdi_bench.levels import Level
from sdi_bench.models.base import Conds, Prediction
from sdi_bench.noise import FixedPoint, Held, Inversion, Kappa, Surface
from sdi_bench.predictor import Cost, Use
from sdi_bench.probes import Spread
from sdi_bench.samplers import Annealed, Distillation, RandomT, State
from sdi_bench.sampling import Job
from sdi_bench.scenes import Around, Pixels, View, Voxel, Wording
from sdi_bench.schedules import scaled_linear
from sdi_bench.trace import Trace
from sdi_bench.update import GradientStep

SIZE = 4
SHAPE = (3, SIZE, SIZE)
ITEMS = (Item("a", 0), Item("b", 1), Item("a", 2), Item("b", 3))
GAMMA, UP, N_STEPS, TAU, ENTROPY = 2.0, -1.0, 4, 0.01, 0.3
SCENE = Voxel(
    resolutions=[3], n_samples=4, smooth=0.0, spread=0.5, n_views=2, dtype=torch.float64, wording=Wording("{prompt} {azimuth}")
)
SCHEDULE = scaled_linear()
INVERSION = Inversion(UP, n_steps=N_STEPS, tau=TAU, entropy=ENTROPY)


def law(prompt: str | None) -> tuple[np.ndarray, float]:
    """Mean and variance of the pictures of a prompt."""
    rng = np.random.default_rng(list((prompt or "").encode()))
    return rng.uniform(-0.8, 0.8, SHAPE), float(rng.uniform(0.05, 0.3))


class Pictures:
    """Exact: pictures of a prompt are Gaussian."""

    shape = SHAPE
    prompts: tuple[str, ...] = ()
    fingerprint = ""

    def check_prompt(self, prompt: str | None) -> None:
        """Anything goes."""

    def predict(self, x: Tensor, level: Level, conds: Conds) -> Prediction:
        a, b = (value.reshape(-1, 1, 1, 1) for value in (level.a, level.b))
        x0s = []
        for prompts in conds:
            means, variances = zip(*(law(prompt) for prompt in prompts), strict=True)
            mean, v = torch.from_numpy(np.stack(means)), torch.tensor(variances, dtype=torch.float64).reshape(-1, 1, 1, 1)
            x0s.append(mean + a * v / (a**2 * v + b**2) * (x - a * mean))
        x0 = torch.stack(x0s)
        return Prediction(x0, (x - a * x0) / b)


def sampler(noise: Kappa, n_levels: int = 61, **more: Any) -> Distillation:
    settings = {"guidance": sb.Guidance(GAMMA), "scene": SCENE, "update": GradientStep(0.3)} | more
    return Distillation(Annealed(sb.UniformT(n_levels, t_max=0.97, t_min=0.1)), noise, **settings)


def walk(made: Distillation, items: tuple[Item, ...] = ITEMS, since: State | None = None) -> tuple[list[State], Cost]:
    job, cost = Job(Pictures(), made, SCHEDULE), Cost()
    job.check(items)
    return list(job.states(items, cost, since)), cost


class Walked(NamedTuple):
    """params and kappa after every step, the steps in which it was sought, and the network's rows."""

    params: np.ndarray
    kappa: np.ndarray
    sought: list[int]
    steps: int
    inversions: int


def by_hand(item: Item, every: int, n_levels: int = 61) -> Walked:
    """Eq. 10 and 11 of one item, without a batch, in numpy; the picture and its gradient are the scene's own and autograd's."""
    draws = PhiloxDraws((item,))
    t = np.linspace(0.97, 0.1, n_levels)

    def factors(time: float) -> tuple[float, float]:
        level = SCHEDULE.level(torch.tensor([time], dtype=torch.float64))
        return float(level.a), float(level.b)

    def guided(x: np.ndarray, time: float, prompt: str, gamma: float) -> np.ndarray:
        a, b = factors(time)
        found = []
        for each in (None, prompt):
            mean, v = law(each)
            found.append(b * (x - a * mean) / (a * a * v + b * b))  # -b times the score of N(a·mean, a²·v + b²)
        return found[0] + gamma * (found[1] - found[0])

    lowest = float(SCHEDULE.lowest.t)
    params = SCENE.init(Pictures(), draws, 1)
    noises: dict[int, np.ndarray] = {}
    seen: dict[int, int] = {}
    all_params, all_kappa, sought, inversions = [], [], [], 0
    for k in range(1, n_levels):
        camera = int(float(draws.uniform(Purpose.CAMERA, 2 * k)) * 8)
        prompt = f"{item.prompt} {45 * camera}"
        leaf = params.clone().requires_grad_()
        view = View(torch.tensor([45.0 * camera], dtype=torch.float64), torch.tensor([20.0], dtype=torch.float64))
        with torch.enable_grad():
            picture = SCENE.look(leaf, view, SIZE, SIZE).image[0]
        x0 = picture.detach().numpy()
        if every == 1 or camera not in seen or (k - 1) // (8 * every) > (seen[camera] - 1) // (8 * every):
            until = float(t[k]) + TAU * float(draws.uniform(Purpose.TAU, k))
            n = max(1, math.floor(N_STEPS * until + 1e-9))
            times = [lowest + (until - lowest) * j / n for j in range(n + 1)]
            x_bar = x0.copy()
            for low, high in zip(times, times[1:], strict=False):
                (a, b), (a_up, b_up) = factors(low), factors(high)
                x_bar = x_bar + (b_up / a_up - b / a) * guided(a * x_bar, low, prompt, UP)
            a, b = factors(until)
            noises[camera] = (x_bar - x0) / (b / a) + ENTROPY * draws.normal(Purpose.ENTROPY, k, SHAPE)[0].numpy()
            sought.append(k)
            inversions += 2 * n
        seen[camera] = k
        kappa, (a, b) = noises[camera], factors(float(t[k]))
        target = x0 - b / a * (guided(a * x0 + b * kappa, float(t[k]), prompt, GAMMA) - kappa)
        half = (picture - torch.from_numpy(target)).square().sum() / 2
        params = params - 0.3 * torch.autograd.grad(half, leaf)[0]
        all_params.append(params[0].numpy())
        all_kappa.append(kappa)
    return Walked(np.stack(all_params), np.stack(all_kappa), sought, 2 * (n_levels - 1), inversions)


def same(state: State, other: State, names: tuple[str, ...] = ("x0", "eps", "kappa", "params")) -> bool:
    return all(torch.equal(getattr(state, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("every", [1, 2, 5])
def test_it_is_kept_for_each_camera_and_item_as_a_walk_by_hand_does(every: int) -> None:
    """And costs the rows of those inversions alone; 60 steps from eight cameras, of which an item has each some 7 times."""
    states, cost = walk(sampler(Held(INVERSION, every)))
    hands = [by_hand(item, every) for item in ITEMS]
    assert every == 1 or len({tuple(hand.sought) for hand in hands}) == len(ITEMS)  # a row each at other steps
    for row, hand in enumerate(hands):
        for name, want in (("params", hand.params), ("kappa", hand.kappa)):
            found = np.stack([getattr(state, name)[row].numpy() for state in states[1:]])
            np.testing.assert_allclose(found, want, rtol=0, atol=1e-9)
    assert cost.rows[Use.INVERSION] == sum(hand.inversions for hand in hands)
    assert cost.rows[Use.CONDITIONAL] + cost.rows[Use.UNCONDITIONAL] == sum(hand.steps for hand in hands)


def test_found_in_every_step_it_is_the_noise_itself_to_the_bit() -> None:
    (held, one), (plain, other) = walk(sampler(Held(INVERSION, 1))), walk(sampler(INVERSION))
    assert one == other and all(same(a, b) for a, b in zip(held[1:], plain[1:], strict=True))


@pytest.mark.parametrize("timeline", [None, RandomT(40)], ids=["annealed", "a level for each row"])
def test_an_item_does_not_know_who_else_is_in_its_batch(timeline: RandomT | None) -> None:
    made = sampler(Held(INVERSION, 3), 41)
    made = made if timeline is None else replace(made, timeline=timeline)
    together, cost = walk(made)
    rows = 0
    for row, item in enumerate(ITEMS):
        alone, own = walk(made, (item,))
        rows += own.rows[Use.INVERSION]
        for one, all_ in zip(alone[1:], together[1:], strict=True):
            for name in ("params", "x0", "kappa"):
                # a sum over samples of a ray is taken in another order
                torch.testing.assert_close(getattr(one, name)[0], getattr(all_, name)[row], rtol=0, atol=1e-11)
    assert rows == cost.rows[Use.INVERSION]


def test_it_goes_on_from_any_state_with_the_same_bits() -> None:
    made = sampler(Held(INVERSION, 3), 21)
    states, _ = walk(made)
    for state in states:
        again, _ = walk(made, since=state)
        assert len(again) == 20 - state.index
        assert all(same(a, b) for a, b in zip(again, states[state.index + 1 :], strict=True))


@pytest.mark.parametrize("solid", [True, False], ids=["object", "picture"])
def test_what_is_kept_of_an_unfinished_batch_goes_on_with_the_same_bits(solid: bool, tmp_path: Path) -> None:
    words = ["model=digits", "sampler=sdi_fast", "grid.n_levels=14", "reference=null", "metric=[]", f"results={tmp_path}"]
    ((plan,),) = sweeps.preflight([*words, "prompt=[3,8]", "seeds=0..2"])
    batch = ITEMS if solid else plan.items
    plan = replace(plan, job=Job(Pictures(), sampler(Held(INVERSION, 3), 21), SCHEDULE)) if solid else plan
    states = list(plan.job.states(batch, Cost()))
    for state in states[8:12]:
        jobs.save(plan, batch, state, Cost(), 0.0, [], Trace(len(states)))
        since, *_ = jobs.load(plan, batch)
        assert since is not None
        again = list(plan.job.states(batch, Cost(), since))
        assert all(same(a, b) for a, b in zip(again, states[state.index + 1 :], strict=True))


def test_a_scene_without_a_camera_is_one_picture() -> None:
    """The first, and every third step of all rows, as an image is."""
    states, _ = walk(sampler(Held(INVERSION, 3), 11, scene=Pixels()))
    kept = [torch.equal(one.kappa, two.kappa) for one, two in zip(states[1:], states[2:], strict=False)]  # type: ignore[arg-type]
    assert kept == [k % 3 != 0 for k in range(1, 10)]


def test_what_cannot_be_held_is_said_before_anything_is_computed() -> None:
    moving = replace(SCENE, cameras=Around())
    for noise in (Held(INVERSION), FixedPoint(init=Held(INVERSION)), Held(Held(INVERSION), 1)):
        made = sampler(noise, scene=moving)
        with pytest.raises(ValueError, match=r"scene.cameras=Around: noise=\w+ keeps .*Rendered, or noise@sampler"):
            made.check(Pictures(), SCHEDULE)
    sampler(Held(INVERSION, 1), scene=moving).check(Pictures(), SCHEDULE)
    with pytest.raises(ValueError, match=r"noise=Held: would hold .* noise@sampler.noise=surface"):
        sampler(Held(Surface(resolution=8))).check(Pictures(), SCHEDULE)
    with pytest.raises(ValueError, match=r"probe=spread: noise=Held is kept for each camera"):
        Spread().check(Job(Pictures(), sampler(Held(INVERSION)), SCHEDULE))
    Spread().check(Job(Pictures(), sampler(Held(INVERSION), scene=Pixels()), SCHEDULE))
    with pytest.raises(ValueError, match=r"sec\. 4"):
        sampler(Held(sb.Previous(), 1)).check(Pictures(), SCHEDULE)
