"""The settings the suite is run on: models, schedules, guidance scales; and the measured amplification of rounding."""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from ..coordinates import noisy
from ..draws import PhiloxDraws, items_of
from ..guidance import Guidance, Prompt
from ..levels import Level, expand
from ..models import Empirical, Gaussian, Mixture, Network
from ..models.base import Denoiser
from ..predictor import Predictor
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
    """The whole product of the axes, or a small set in which every value of every axis, and most pairs, occur."""
    if full:
        return list(product(*axes))
    longest = max(len(axis) for axis in axes)
    strides = (1, 1, 1, 2, 3, 5)
    return [
        tuple(axis[(k * strides[i] + shift * i) % len(axis)] for i, axis in enumerate(axes))
        for shift in range(2)
        for k in range(longest)
    ]


def scale_of(states_x0: Sequence[Tensor]) -> Tensor:
    """S, the trajectory's scale: the largest |x0| over levels and pixels, per row; never one level's |x0|."""
    return torch.stack([x0.flatten(1).abs().amax(1) for x0 in states_x0]).amax(0)


def shadow(net: Predictor, levels: Sequence[Level], x_start: Tensor, h: float = 2.0**-36) -> list[Tensor]:
    """How far DDIM is led astray by errors of relative size h in every denoising, over h: E_k / h per level and row.

    DDIM is run twice over `levels`; in the second run each denoised image is moved by
    ±h·(max|x0| + sigma·|gamma|·|eps_c| + sigma·|1 - gamma|·|eps_u|), random signs, eps_c and eps_u at the noisy image just
    denoised. The running maximum of the deviation per row, over h, times the unit roundoff is what rounding explains.
    """
    gamma = net.guidance.scale
    signs = torch.Generator().manual_seed(0)
    worst = torch.zeros(len(x_start), dtype=torch.float64)
    out: list[Tensor] = []
    pairs: list[tuple[Tensor, Tensor]] = []
    for kick in (0.0, h):
        x = x_start
        for i, level in enumerate(levels):
            guided = net(x, level)
            x0, eps = guided.x0, guided.eps
            raw = guided.raw.eps if len(guided.raw.eps) == 2 else guided.raw.eps.repeat(2, *[1] * x.ndim)
            finite = torch.where(level.sigma.isfinite(), level.sigma, 0 * level.sigma)
            size = expand(x0.flatten(1).abs().amax(1), x0)
            size = size + expand(finite, x) * (abs(gamma) * raw[1].abs() + abs(1 - gamma) * raw[0].abs())
            sign = torch.randint(0, 2, x.shape, generator=signs, dtype=torch.float64) * 2 - 1
            x0 = x0 + kick * sign * size
            if kick:
                clean0, clean_eps = pairs[i]
                gap = (x0 - clean0).abs() + expand(finite, x) * (eps - clean_eps).abs()
                worst = torch.maximum(worst, gap.flatten(1).amax(1))
                out.append(worst.clone() / h)
            else:
                pairs.append((x0, eps))
            if i + 1 < len(levels):
                x = noisy(x0, eps, levels[i + 1])
    return out
