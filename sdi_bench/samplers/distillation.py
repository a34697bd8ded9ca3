"""Score distillation: the one loop around eq. 10 of arXiv 2405.15891. SDS, SDI, ISM and DDIM are settings of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from .. import require
from ..coordinates import noisy
from ..directions import At, Direction, PredictedMinusAdded
from ..draws import Draws, Purpose
from ..grids import Grid, steps_of
from ..guidance import Guidance
from ..levels import Level, Step, expand
from ..models.base import Denoiser, check_askable
from ..noise import Fresh, Kappa
from ..predictor import Predictor
from ..scenes import Image, Scene
from ..schedules import Schedule
from ..update import FullStep, Update
from .base import State, start


class Eval(NamedTuple):
    """One evaluation of eq. 10: the noise added, the guided prediction there, and where x0 is sent."""

    kappa: Tensor
    eps: Tensor
    target: Tensor


def evaluate(x0: Tensor, step: Step, last: Tensor, noise: Kappa, direction: Direction, net: Predictor, draws: Draws) -> Eval:
    """x0(next) = x0 - sigma_next·[ eps(a_next·x0 + b_next·kappa) - kappa ]   (eq. 10; written here only).

    It is the prediction at the noisy image; where the model's rules move that, the target moves along.
    """
    proposal = noise.propose(x0, step, last, net, draws)
    x = noisy(x0, proposal.kappa, step.dst)
    guided = net(x, step.dst)
    away = direction(At(x0, x, step, proposal, guided, net, draws))
    target = guided.shifted(x0 - expand(step.dst.sigma, x0) * away)
    return Eval(proposal.kappa, guided.eps, target)


@runtime_checkable
class Timeline(Protocol):
    """Which levels are visited, and the image to start from."""

    @property
    def n_states(self) -> int:
        """The start and every step."""

    def first(self, net: Predictor) -> Level:
        """The level of the start."""

    def start(self, net: Predictor, draws: Draws) -> State:
        """The first x0, with the prediction that made it."""

    def steps(self, net: Predictor, draws: Draws) -> Iterator[Step]:
        """The steps after the start, in order."""

    def noisiest(self, schedule: Schedule) -> Level:
        """The highest level a step comes from. Raises ValueError if the schedule has no such levels."""


@dataclass(frozen=True)
class Annealed:
    """t falls along a grid; starts from the one-step denoised x_T, as DDIM does. n levels cost n predictions."""

    grid: Grid

    @property
    def n_states(self) -> int:
        return self.grid.n_levels

    def noisiest(self, schedule: Schedule) -> Level:
        return self.grid.levels(schedule)[0]

    def first(self, net: Predictor) -> Level:
        return net.placed(self.grid.levels(net.schedule)[:1])[0]

    def start(self, net: Predictor, draws: Draws) -> State:
        level = self.first(net)
        _, guided = start(net, draws, level)
        return State(0, level, guided.x0, guided.eps)

    def steps(self, net: Predictor, draws: Draws) -> Iterator[Step]:
        yield from steps_of(net.placed(self.grid.levels(net.schedule)))


@dataclass(frozen=True)
class RandomT:
    """t ~ U(t_min, t_max) at each step and for each row, src = dst; starts from pure noise (DreamFusion, arXiv 2209.14988).

    whole: t is one of the table's entries from t_min to t_max, all as likely (threestudio/models/guidance/
    stable_diffusion_guidance.py, compute_grad_sds).
    n_steps >= 1; 0 <= t_min < t_max <= 1. Raises ValueError, naming the field, otherwise.
    """

    n_steps: int = 1000
    t_min: float = 0.02
    t_max: float = 0.98
    whole: bool = False

    def __post_init__(self) -> None:
        require.count("sampler.timeline.n_steps", self.n_steps)
        require.number("sampler.timeline.t_max", self.t_max, above=0, at_most=1)
        require.number("sampler.timeline.t_min", self.t_min, at_least=0, below=self.t_max)

    @property
    def n_states(self) -> int:
        return self.n_steps + 1

    def noisiest(self, schedule: Schedule) -> Level:
        level = schedule.level(self.t_max)
        if not bool((level.a > 0).all()):
            raise ValueError(f"sampler.timeline.t_max={self.t_max!r}: sigma is infinite there")
        return level

    def first(self, net: Predictor) -> Level:
        return net.level(self.t_max)

    def start(self, net: Predictor, draws: Draws) -> State:
        noise = draws.normal(Purpose.INIT, 0, net.model.shape)
        return State(0, self.first(net), noise, noise)

    def steps(self, net: Predictor, draws: Draws) -> Iterator[Step]:
        for index in range(1, self.n_steps + 1):
            share = draws.uniform(Purpose.TIME, index)
            t = self.t_min + (self.t_max - self.t_min) * share
            if self.whole:
                n_train = net.schedule.n_train
                least, most = int(n_train * self.t_min), int(n_train * self.t_max)
                t = (least + (share * (most + 1 - least)).floor()) / n_train
            level = net.level(t)
            yield Step(level, level, index)


@dataclass(frozen=True)
class Distillation:
    """Score distillation (arXiv 2405.15891, algorithms 1 and 2).

    timeline: the levels. noise: kappa. direction: which way x0 moves. update: how the parameters move to the target.
    scene: what they are, and how it is seen: the image itself, or a field behind a camera (3D).
    """

    timeline: Timeline
    noise: Kappa = Fresh()
    guidance: Guidance = Guidance()
    direction: Direction = PredictedMinusAdded()
    update: Update = FullStep()
    scene: Scene = Image()

    @property
    def n_states(self) -> int:
        return self.timeline.n_states

    def check(self, model: Denoiser, schedule: Schedule) -> None:
        noisiest = self.timeline.noisiest(schedule)
        if self.scene.is_x0:  # which starts from a prediction there
            check_askable(model, noisiest)
        self.noise.check(model, self.guidance, noisiest)
        self.direction.check(model, self.guidance, self.noise)
        self.scene.check(model)
        self.update.check(self.scene)
        if self.noise.needs_path and not self.scene.is_x0:
            raise ValueError(
                f"noise={type(self.noise).__name__}: takes the last step's noise, inferred for another picture than the "
                f"{type(self.scene).__name__} shows now (arXiv 2405.15891, sec. 4); use fresh, fixed or inversion"
            )

    def sample(self, net: Predictor, draws: Draws) -> Iterator[State]:
        state = self.begin(net, draws)
        yield state
        yield from self.resume(net, draws, state)

    def begin(self, net: Predictor, draws: Draws) -> State:
        """Before the first step: an image is the first prediction, as in DDIM; other scenes start as they are made."""
        if self.scene.is_x0:
            net = replace(net, prompts=self.scene.prompts(net.prompts, None))
            state = self.timeline.start(net, draws)
            return replace(state, params=state.x0, memory=self.update.init(state.x0))
        noise = draws.normal(Purpose.INIT, 0, net.model.shape)
        params = self.scene.init(net.model, draws, len(noise)).to(net.device)
        x0 = self.scene.see(params, self.scene.view(draws, 1), net.model).x0
        return State(0, self.timeline.first(net), x0, noise, None, params, self.update.init(params))

    def resume(self, net: Predictor, draws: Draws, state: State) -> Iterator[State]:
        """The states after one of this sampler's on the same items."""
        model, scene, last, params, memory = net.model, self.scene, state.eps, state.params, state.memory
        assert params is not None
        view = scene.view(draws, state.index + 1)
        seen = scene.see(params, view, model)
        if view is None:
            net = replace(net, prompts=scene.prompts(net.prompts, None))
        for step in self.timeline.steps(net, draws):
            if step.index <= state.index:
                continue
            asked = net
            if view is not None:
                prompts, others = scene.prompts(net.prompts, view), scene.others(net.prompts, view)
                asked = replace(net, prompts=prompts, guidance=net.guidance.against(others))
            x0 = scene.projected(seen.x0, model, draws, step.index) if isinstance(scene, Image) else seen.x0
            found = evaluate(x0, step, last, self.noise, self.direction, asked, draws)
            see = partial(scene.see, view=view, model=model)
            params, memory = self.update.apply(params, memory, seen, see, found.target, step.dst)
            last = found.eps
            view = scene.view(draws, step.index + 1)
            seen = scene.see(params, view, model)
            yield State(step.index, step.dst, seen.x0, found.eps, found.kappa, params, memory)
