"""The settings the suite is run on: models, schedules, guidance scales; and the measured amplification of rounding."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple

import torch
from torch import Tensor

from ..coordinates import noisy, x0_from_eps
from ..draws import PhiloxDraws, items_of
from ..guidance import Guidance, Prompt
from ..levels import Level, expand
from ..models import Empirical, Gaussian, Mixture, Network, Reparametrised
from ..models.base import Denoiser
from ..predictor import Predictor
from ..samplers.base import State
from ..schedules import Karras, RectifiedFlow, Schedule, cosine, linear, scaled_linear, sigmoid

SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "cosine": cosine,
    "sigmoid": sigmoid,
    "edm": Karras,
    "flow": RectifiedFlow,
}
GAMMAS = (0.0, 1.0, 7.5, 30.0)


def gaussian() -> Gaussian:
    """Three correlated dimensions; class "narrow" is narrower than the marginal, "wide" wider."""
    spread = [[0.5, 0.2, 0.0], [0.2, 0.4, -0.1], [0.0, -0.1, 0.3]]
    return Gaussian.of(
        {
            "narrow": ([1.0, -0.5, 0.2], [[0.25, 0.05, 0.0], [0.05, 0.2, 0.0], [0.0, 0.0, 0.1]]),
            "wide": ([-1.0, 0.0, 0.5], [[1.5, 0.0, 0.3], [0.0, 1.0, 0.0], [0.3, 0.0, 0.8]]),
        },
        ([0.0, 0.0, 0.0], spread),
    )


def mixture(width: float = 0.2) -> Mixture:
    """Eight modes on an ellipse in two dimensions, alternately of class "a" and "b"."""
    angle = torch.arange(8, dtype=torch.float64) * torch.pi / 4
    centres = torch.stack([1.5 * angle.cos(), angle.sin()], dim=1)
    return Mixture(centres, tuple("ab" * 4), torch.full((8,), width, dtype=torch.float64))


def digits(width: float = 0.15) -> Empirical:
    """The shipped digits."""
    return Empirical.of(width=width)


def random_network(dim: int = 64, seed: int = 0) -> Network:
    """A float32 MLP with random weights on [dim], conditioned on t and on "a" / "b" / nothing by a shift."""
    generator = torch.Generator().manual_seed(seed)
    hidden = 128
    first, second, shift = (
        torch.randn(*size, generator=generator) / size[0] ** 0.5 for size in ((dim + 1, hidden), (hidden, dim), (3, dim))
    )

    def forward(x: Tensor, t: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        which = torch.tensor([{"a": 0, "b": 1}.get(prompt or "", 2) for prompt in prompts])
        return torch.tanh(torch.cat([x, t[:, None]], dim=1) @ first) @ second + shift[which] / 4

    return Network(forward, (dim,))


def prompts_of(model: Denoiser) -> list[str]:
    """Two prompts the model knows."""
    if isinstance(model, Reparametrised):
        return prompts_of(model.model)
    if isinstance(model, Gaussian):
        return ["narrow", "wide"]
    if isinstance(model, Empirical):
        return ["3", "8"]
    return ["a", "b"]


def bind(model: Denoiser, schedule: Schedule, gamma: float, n_seeds: int = 4) -> tuple[Predictor, PhiloxDraws]:
    """A predictor and draws for two prompts times n_seeds."""
    items = tuple(items_of(prompts_of(model), range(n_seeds)))
    return Predictor(model, schedule, Guidance(gamma), tuple(i.prompt for i in items)), PhiloxDraws(items)


def covering(full: bool, *axes: Sequence) -> list[tuple]:
    """The whole product of the axes, or a small set of it in which any two values of any two axes meet (found greedily)."""
    every = list(product(*axes))
    if full:
        return every
    places = list(product(*(range(len(axis)) for axis in axes)))
    pairs = [set(combinations(enumerate(place), min(2, len(axes)))) for place in places]
    missing = set().union(*pairs)
    chosen = []
    while missing:
        best = max(range(len(every)), key=lambda k: len(pairs[k] & missing))
        chosen.append(every[best])
        missing -= pairs[best]
    return chosen


def scale_of(states_x0: Sequence[Tensor]) -> Tensor:
    """S, the trajectory's scale: the largest |x0| over levels and pixels, per row; never one level's |x0|."""
    return torch.stack([x0.flatten(1).abs().amax(1) for x0 in states_x0]).amax(0)


Onward = Callable[[int, Tensor, Tensor], Tensor]
"""How a reference sampler goes on: (k, x0, eps) at level k -> the noisy image at level k + 1."""


def ddim_onward(levels: Sequence[Level]) -> Onward:
    """DDIM goes on with the predicted pair."""
    return lambda k, x0, eps: noisy(x0, eps, levels[k + 1])


def coordinates_of(state: State) -> list[Tensor]:
    """What is compared at a level: x0, sigma·eps and x_bar; x0 alone where sigma is infinite."""
    if not bool(state.level.sigma.isfinite().all()):
        return [state.x0]
    added = expand(state.level.sigma, state.x0) * state.eps
    return [state.x0, added, state.x0 + added]


def clean_of(x: Tensor, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
    """The denoised image by (x - b·eps) / a; the predicted one where a = 0."""
    return torch.where(expand(level.a > 0, x), x0_from_eps(x, eps, level), x0)


def largest(x: Tensor) -> Tensor:
    """The largest absolute value of each row, shaped to divide the batch."""
    return expand(x.flatten(1).abs().amax(1), x)


def walk(
    net: Predictor, levels: Sequence[Level], x: Tensor, onward: Onward, h: float = 0.0, turn: Tensor | float = 1.0
) -> Iterator[State]:
    """The states of a reference sampler from its first noisy image x, each denoised image moved by

    ±h·(max|x0| + sigma·|gamma|·max|eps_c| + sigma·|1 - gamma|·max|eps_u|)

    with random signs, times `turn`; eps_c and eps_u at the noisy image just denoised.
    """
    gamma = net.guidance.scale
    generator = torch.Generator().manual_seed(0)
    for k, level in enumerate(levels):
        guided = net(x, level)
        eps_u, eps_c = guided.raw.eps[0], guided.raw.eps[-1]
        x0 = clean_of(guided.shifted(x, level.a), guided.x0, guided.eps, level)
        sigma = expand(level.sigma.nan_to_num(posinf=0.0), x)  # infinite: x0 comes from no difference
        size = largest(x0) + sigma * (abs(gamma) * largest(eps_c) + abs(1 - gamma) * largest(eps_u))
        sign = torch.randint(0, 2, x.shape, generator=generator, dtype=torch.float64) * 2 - 1
        x0 = x0 + h * turn * sign * size
        yield State(k, level, x0, guided.eps)
        if k + 1 < len(levels):
            x = onward(k, x0, guided.eps)


class Shadow(NamedTuple):
    """A reference sampler's states, and how far errors of relative size h lead it astray, over h, per state and row."""

    states: list[State]
    bounds: list[Tensor]


def shadow(net: Predictor, levels: Sequence[Level], x: Tensor, onward: Onward, h: float = 2.0**-42) -> Shadow:
    """Run a reference sampler, and again with an error of size h in every denoising: E_k / h per level and row.

    E_k is the largest deviation up to level k; rounding explains about E_k / h times the unit roundoff. Moving the start
    alone would not do: errors made late are not damped. Two disturbed runs, the second with every other pixel's sign
    turned: in few dimensions one may miss the direction that grows. The undisturbed run is the reference's own: measured
    against the path under test, its bugs would count as amplification. h is a compromise: E_k / h cannot exceed the data's
    size over h, and gamma = 30 with fresh noise amplifies by 1e14; but h / u is all that is left of a bug in code that the
    reference shares, if it rounds more coarsely than h.
    """
    every_other = 1.0 - 2 * (torch.arange(x[0].numel()) % 2).reshape(x[0].shape)
    states = list(walk(net, levels, x, onward))
    worst, bounds = torch.full_like(largest(x), 1e-200), []  # not 0: nothing over nothing is NaN
    for state, *moved in zip(states, *(walk(net, levels, x, onward, h, turn) for turn in (1.0, every_other)), strict=True):
        for one in moved:
            for ours, theirs in zip(coordinates_of(one), coordinates_of(state), strict=True):
                worst = torch.maximum(worst, largest(ours - theirs))
        bounds.append(worst / h)
    return Shadow(states, bounds)
