"""DDIM in its own variables (arXiv 2010.02502), not through eq. 10: the equivalence suite compares the two."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..draws import Draws
from ..grids import Grid
from ..guidance import Guidance
from ..levels import Level, expand
from ..models.base import Denoiser, check_askable
from ..predictor import Guided, Predictor, Use
from ..schedules import Schedule
from .base import State, start


def step(x: Tensor, eps: Tensor, src: Level, dst: Level) -> Tensor:
    """x(dst) = (a'/a)·x + (b' - b·a'/a)·eps (arXiv 2010.02502, eq. 13; 2405.15891, eq. 2). Forwards or inverse; a > 0."""
    ratio = dst.a / src.a
    return expand(ratio, x) * x + expand(dst.b - src.b * ratio, x) * eps


@dataclass(frozen=True)
class Ddim:
    """Deterministic DDIM (eta = 0): n levels, n network calls, the last one denoises to sigma = 0."""

    grid: Grid
    guidance: Guidance = Guidance()

    @property
    def n_states(self) -> int:
        return self.grid.n_levels

    def check(self, model: Denoiser, schedule: Schedule) -> None:
        check_askable(model, self.grid.levels(schedule)[0])

    def sample(self, net: Predictor, draws: Draws) -> Iterator[State]:
        levels = net.placed(self.grid.levels(net.schedule))
        x, guided = start(net, draws, levels[0])
        yield from walk(net, x, guided, levels)


def walk(net: Predictor, x: Tensor, guided: Guided, levels: Sequence[Level]) -> Iterator[State]:
    """DDIM along the levels from x at levels[0], where the prediction is `guided`; one network call per further level."""
    for i, level in enumerate(levels):
        if i:
            src = levels[i - 1]  # a = 0 can be at the start only
            x = guided.shifted(x, src.a)
            x = after(x, guided.x0, guided.eps, src, level) if i == 1 else step(x, guided.eps, src, level)
            guided = net(x, level)
        yield State(i, level, guided.x0, guided.eps)


def invert(net: Predictor, x0: Tensor, levels: Sequence[Level], scale: float) -> Tensor:
    """DDIM run backwards from x_bar = x0 at the last (least noisy) level to x at levels[0]; eps is asked at each source.

    n levels, n - 1 network calls at guidance `scale` (arXiv 2405.15891, sec. 3: eq. 1 integrated upwards in t).
    """
    rising = list(reversed(levels))
    x = expand(rising[0].a, x0) * x0
    for src, dst in zip(rising, rising[1:], strict=False):
        found = net(x, src, scale=scale, use=Use.INVERSION)
        x = step(found.shifted(x, src.a), found.eps, src, dst)
    return x


class RoundTrip(NamedTuple):
    """Images [n, *shape], the noise eps found for each (x at the noisiest level over b), and the images made from it."""

    source: Tensor
    noise: Tensor
    back: Tensor


@torch.no_grad()
def round_trip(net: Predictor, x0: Tensor, levels: Sequence[Level], inversion_scale: float) -> RoundTrip:
    """Invert x0 [n, *shape] along the levels, given noisiest first, at `inversion_scale`; sample from there at the net's."""
    x = invert(net, x0, levels, inversion_scale)
    *_, last = walk(net, x, net(x, levels[0]), levels)
    return RoundTrip(x0, x / float(levels[0].b), last.x0)


def after(x: Tensor, x0: Tensor, eps: Tensor, src: Level, dst: Level) -> Tensor:
    """One step; from a = 0, where x says nothing of x0, by the predicted pair."""
    if bool((src.host.a > 0).all()):
        return step(x, eps, src, dst)
    return expand(dst.a, x) * x0 + expand(dst.b, x) * eps
