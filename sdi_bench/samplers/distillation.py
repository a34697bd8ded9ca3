"""Score distillation: the one loop around eq. 10 of arXiv 2405.15891. SDS, SDI, ISM and DDIM are settings of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from .. import require
from ..coordinates import noisy
from ..directions import At, Direction, Edited, PredictedMinusAdded
from ..draws import Draws, Purpose
from ..grids import Grid, steps_of
from ..guidance import Guidance
from ..levels import Level, Step, expand
from ..models.base import Denoiser, check_askable
from ..noise import Fresh, Kappa, Last, Noises
from ..predictor import Predictor
from ..scenes import Image, Scene, Solid
from ..schedules import Schedule
from ..sources import Source
from ..students import Learnt
from ..update import FullStep, Update
from .base import State, start


class Eval(NamedTuple):
    """One evaluation of eq. 10: the noise added, the guided prediction there, where x0 is sent, what was learnt."""

    kappa: Tensor
    eps: Tensor
    target: Tensor
    learnt: Learnt | None = None


def evaluate(
    x0: Tensor,
    step: Step,
    last: Last,
    noise: Kappa,
    direction: Direction,
    net: Predictor,
    draws: Draws,
    learnt: Learnt | None = None,
    source: Edited | None = None,
) -> Eval:
    """x0(next) = x0 - sigma_next·[ eps(a_next·x0 + b_next·kappa) - kappa ]   (eq. 10; written here only).

    It is the prediction at the noisy image; where the model's rules move that, the target moves along.
    """
    proposal = noise.propose(x0, step, last, net, draws)
    x = noisy(x0, proposal.kappa, step.dst)
    guided = net(x, step.dst)
    at = At(x0, x, step, proposal, guided, net, draws, learnt, source)
    target = guided.shifted(x0 - expand(step.dst.sigma, x0) * direction(at))
    return Eval(proposal.kappa, guided.eps, target, direction.learn(at))


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
        return self.levels(net)[0]

    def levels(self, net: Predictor) -> list[Level]:
        """All of them, as the batch needs them; worked out once for a batch."""
        if self not in net.once:
            net.once[self] = net.placed(self.grid.levels(net.schedule))
        return net.once[self]

    def start(self, net: Predictor, draws: Draws) -> State:
        level = self.first(net)
        _, guided = start(net, draws, level)
        return State(0, level, guided.x0, guided.eps)

    def steps(self, net: Predictor, draws: Draws) -> Iterator[Step]:
        yield from steps_of(self.levels(net))


@dataclass(frozen=True)
class RandomT:
    """t ~ U(t_min, t_max) at each step and for each row, src = dst; starts from pure noise (DreamFusion, arXiv 2209.14988).

    warm_up: steps in which the upper end falls from t_warm to t_max (LucidDreamer's code, arXiv 2311.11284).
    whole: t is one of the table's entries from t_min to t_max, all as likely (threestudio/models/guidance/
    stable_diffusion_guidance.py, compute_grad_sds).
    n_steps >= 1; warm_up >= 0; 0 <= t_min < t_max, t_warm <= 1. Raises ValueError, naming the field, otherwise.
    """

    n_steps: int = 1000
    t_min: float = 0.02
    t_max: float = 0.98
    t_warm: float = 0.98
    warm_up: int = 0
    whole: bool = False

    def __post_init__(self) -> None:
        require.count("sampler.timeline.n_steps", self.n_steps)
        require.number("sampler.timeline.t_max", self.t_max, above=0, at_most=1)
        require.number("sampler.timeline.t_min", self.t_min, at_least=0, below=self.t_max)
        require.number("sampler.timeline.t_warm", self.t_warm, above=self.t_min, at_most=1)
        require.count("sampler.timeline.warm_up", self.warm_up, least=0)

    @property
    def n_states(self) -> int:
        return self.n_steps + 1

    def upper(self, index: int) -> float:
        """The latest time that this step may have."""
        warmth = max(0.0, 1 - index / self.warm_up) if self.warm_up else 0.0
        return self.t_max + (self.t_warm - self.t_max) * warmth

    def noisiest(self, schedule: Schedule) -> Level:
        name = "t_warm" if self.upper(0) > self.t_max else "t_max"
        level = schedule.level(getattr(self, name))
        if not bool((level.a > 0).all()):
            raise ValueError(f"sampler.timeline.{name}={getattr(self, name)!r}: sigma is infinite there")
        return level

    def first(self, net: Predictor) -> Level:
        return net.level(self.upper(0))

    def start(self, net: Predictor, draws: Draws) -> State:
        noise = draws.normal(Purpose.INIT, 0, net.model.shape)
        return State(0, self.first(net), noise, noise)

    def steps(self, net: Predictor, draws: Draws) -> Iterator[Step]:
        for index in range(1, self.n_steps + 1):
            share, upper = draws.uniform(Purpose.TIME, index), self.upper(index)
            t = self.t_min + (upper - self.t_min) * share
            if self.whole:
                n_train = net.schedule.n_train
                least, most = int(n_train * self.t_min), int(n_train * upper)
                t = (least + (share * (most + 1 - least)).floor()) / n_train
            level = net.level(t)
            yield Step(level, level, index)


@dataclass(frozen=True)
class Distillation:
    """Score distillation (arXiv 2405.15891, algorithms 1 and 2).

    timeline: the levels. noise: kappa. direction: which way x0 moves. update: how the parameters move to the target.
    scene: what they are, and how it is seen: the image itself, or a field behind a camera (3D).
    source: the pictures to start from, of an edit; None: it starts from noise.
    """

    timeline: Timeline
    noise: Kappa = Fresh()
    guidance: Guidance = Guidance()
    direction: Direction = PredictedMinusAdded()
    update: Update = FullStep()
    scene: Scene = Image()
    source: Source | None = None

    @property
    def n_states(self) -> int:
        return self.timeline.n_states

    def check(self, model: Denoiser, schedule: Schedule) -> None:
        noisiest = self.timeline.noisiest(schedule)
        if self.source is not None:
            self.source.check(model)
        elif self.direction.needs_source:
            raise ValueError(
                f"direction={type(self.direction).__name__}: an edit needs a picture to start from, which sampler.source says; "
                "use sampler=dds or pds"
            )
        elif self.scene.is_x0:  # which starts from a prediction there
            check_askable(model, noisiest)
        self.noise.check(model, self.guidance, noisiest)
        self.direction.check(model, schedule, self.guidance, self.noise)
        self.scene.check(model)
        self.update.check(self.scene)
        if self.source is not None and not self.scene.is_x0:
            raise ValueError(
                f"scene={type(self.scene).__name__}: an edit starts from a picture and moves that (arXiv 2304.07464, sec. 3); "
                "use scene=image"
            )
        if self.noise.needs_path and not self.scene.is_x0:
            raise ValueError(
                f"noise={type(self.noise).__name__}: takes the last step's noise, inferred for another picture than the "
                f"{type(self.scene).__name__} shows now (arXiv 2405.15891, sec. 4); use fresh, fixed or inversion"
            )
        if self.noise.needs_plane and isinstance(self.scene, Solid):
            raise ValueError(
                f"noise={type(self.noise).__name__}: would look the same from all sides, and CFD's lies on the object "
                "(arXiv 2501.05445, sec. 3); use noise@sampler.noise=surface, or fixed"
            )
        if self.noise.holds and self.noise.looks and isinstance(self.scene, Solid):
            raise ValueError(
                f"noise={type(self.noise).__name__}: would hold a noise that lies on the object, and costs no network row to "
                "find; use noise@sampler.noise=surface"
            )
        if self.noise.holds and self.scene.n_cameras is None:
            raise ValueError(
                f"scene.cameras={type(getattr(self.scene, 'cameras', None)).__name__}: noise={type(self.noise).__name__} keeps "
                "what was found for a view until that comes again, and of these none does; use "
                "scene.cameras._target_=sdi_bench.scenes.Rendered, or noise@sampler.noise=inversion"
            )
        kind = type(self.direction).__name__.lower()
        if self.direction.needs_views and len(self.scene.asked("")) == 1:
            raise ValueError(
                f"direction={kind}: raises the entropy over views (arXiv 2401.00909); {type(self.scene).__name__} has one, or "
                "the prompt does not tell them apart, and there it is VSD; use scene=voxel, or sampler=vsd"
            )
        linear = isinstance(self.timeline, Annealed) and isinstance(self.update, FullStep) and self.scene.is_x0
        if self.direction.needs_linear and not linear:
            raise ValueError(
                f"direction={kind}: student=exact knows what full steps on an image make of the particles' law as t falls; "
                "use update=full, scene=image and sampler=vsd, or student=lora"
            )

    def sample(self, net: Predictor, draws: Draws) -> Iterator[State]:
        state = self.begin(net, draws)
        yield state
        yield from self.resume(net, draws, state)

    def begin(self, net: Predictor, draws: Draws) -> State:
        """Before the first step: an image is the source, or else the first prediction, as in DDIM; other scenes start as they
        are made.
        """
        if self.scene.is_x0 and self.source is None:
            net = replace(net, prompts=self.scene.prompts(net.prompts, None))
            state = self.timeline.start(net, draws)
            learnt = self.direction.begin(net, draws, state.level)
            return replace(state, params=state.x0, memory=self.update.init(state.x0), learnt=learnt)
        noise = draws.normal(Purpose.INIT, 0, net.model.shape)
        made = self.scene.init(net.model, draws, len(noise)) if self.source is None else self.source.x0(net, draws)
        params = made.to(net.device)
        x0 = self.scene.see(params, self.scene.view(draws, 1), net.model).x0
        first = self.timeline.first(net)
        learnt, n = self.direction.begin(net, draws, first), self.scene.n_cameras
        noises = Noises.none(n, noise) if self.noise.holds and n else None
        return State(0, first, x0, noise, None, params, self.update.init(params), learnt, noises=noises)

    def resume(self, net: Predictor, draws: Draws, state: State) -> Iterator[State]:
        """The states after one of this sampler's on the same items."""
        model, scene, params, memory = net.model, self.scene, state.params, state.memory
        last, learnt, noises = Last(state.eps, state.kappa), state.learnt, state.noises
        assert params is not None
        source = None if self.source is None else Edited(self.source.x0(net, draws), self.source.prompt)
        view = scene.view(draws, state.index + 1)
        seen = scene.see(params, view, model)
        if view is None:
            net = replace(net, prompts=scene.prompts(net.prompts, None))
        for step in self.timeline.steps(net, draws):
            if step.index <= state.index:
                continue
            asked = net
            if view is not None:
                guidance = net.guidance.against(scene.sides(net.prompts, view))
                asked = replace(net, prompts=scene.prompts(net.prompts, view), guidance=guidance, plain=net.prompts)
            x0 = scene.projected(seen.x0, model, draws, step.index) if isinstance(scene, Image) else seen.x0
            camera = None if view is None else view.which
            if noises is not None and camera is not None:
                last = noises.last(camera, last.eps)
            noise = self.noise.over(seen.ends)
            found = evaluate(x0, step, last, noise, self.direction, asked, draws, learnt, source)
            see = partial(scene.see, view=view, model=model)
            params, memory = self.update.apply(params, memory, seen, see, found.target, step.dst)
            last, learnt = Last(found.eps, found.kappa), found.learnt
            if noises is not None and camera is not None:
                noises = noises.after(camera, found.kappa, step.index)
            view = scene.view(draws, step.index + 1)
            seen = scene.see(params, view, model)
            gradient = x0 - found.target
            yield State(step.index, step.dst, seen.x0, found.eps, found.kappa, params, memory, learnt, gradient, noises)
