"""V9: whose guidance scale is whose, and that guidance may be applied to any parametrisation (arXiv 2405.15891, eq. 3).

Predictions are formed from given (u, c): a round trip of scales alone does not see a wrong offset. These are identities
of formulas. diffusers' pipelines apply theirs for scales above 1 only and return c below.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..coordinates import Epsilon, FlowVelocity, Parametrisation, Sample, Score, Velocity
from ..draws import Purpose
from ..guidance import Guidance, Prompt, from_threestudio, to_threestudio
from ..levels import expand
from ..models import Network, Reparametrised
from ..models.base import Denoiser
from ..predictor import Predictor
from ..schedules import RectifiedFlow
from .cases import SCHEDULES, bind, covering, gaussian, largest, mixture
from .rows import Row, U, Worst

Images = Float[Tensor, "batch dim"]

PARAMETRISATIONS: tuple[Parametrisation, ...] = (Epsilon(), Sample(), Velocity(), FlowVelocity(), Score())
SCALES = (-8.5, -7.5, -1.0, -0.5, 0.0, 0.1, 0.5, 1.0, 1.5, 6.5, 7.5, 30.0, 99.9)


class Convention(NamedTuple):
    """How somebody forms the guided prediction, and what their scale and our gamma are to each other."""

    form: Callable[[Images, Images, float], Images]
    gamma: Callable[[float], float]
    scale: Callable[[float], float]


CONVENTIONS = {
    "diffusers, k-diffusion, threestudio's Perp-Neg": Convention(lambda u, c, s: u + s * (c - u), float, float),
    "threestudio's plain branch": Convention(lambda u, c, s: c + s * (c - u), from_threestudio, to_threestudio),
    "Ho and Salimans": Convention(lambda u, c, w: (1 + w) * c - w * u, from_threestudio, to_threestudio),
}


def guided(u: Images, c: Images, scale: float, convention: str = "paper") -> Images:
    """Our prediction from these two, asked for by prompt as in any sampler (at gamma 0 and 1 only one is asked for)."""

    def forward(x: Tensor, t: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        conditional = torch.tensor([prompt is not None for prompt in prompts])
        return torch.where(conditional[:, None], c.repeat(len(x) // len(c), 1), u.repeat(len(x) // len(u), 1))

    model = Network(forward, tuple(u.shape[1:]), Epsilon(), torch.float64)
    net = Predictor(model, RectifiedFlow(), Guidance(scale, convention=convention), ("a prompt",) * len(u))
    return net(torch.zeros_like(u), net.level(0.5)).eps


def conversions(worst: Worst) -> None:
    """Every convention at every scale; in u·max(1, |gamma|)·(|u| + |c|), round trips in u·max(1, |gamma|)."""
    u, c = torch.randn(2, 16, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for name, theirs in CONVENTIONS.items():
        for scale in SCALES:
            case, gamma = f"{name}, {scale}", theirs.gamma(scale)
            unit = U * max(1.0, abs(gamma))
            worst.compare(case, guided(u, c, gamma), theirs.form(u, c, scale), unit * (u.abs() + c.abs()))
            if "plain" in name:  # asked for in that convention
                worst.compare(case, guided(u, c, scale, "threestudio"), theirs.form(u, c, scale), unit * (u.abs() + c.abs()))
            worst.add(case, (theirs.scale(gamma) - scale) / unit)
            worst.add(case, (theirs.gamma(theirs.scale(scale)) - scale) / (U * max(1.0, abs(scale))))


def commuting(full: bool, worst: Worst) -> None:
    """Guide the network's outputs and decode, against guiding x0 and eps; in u·(|gamma| + |1 - gamma|)·(their sizes)."""
    models: dict[str, Denoiser] = {"gaussian": gaussian(), "mixture": mixture()}
    for name, schedule, output, t, gamma in covering(
        full, list(models), list(SCHEDULES), PARAMETRISATIONS, (0.0, 0.3, 0.7, 0.98), SCALES
    ):
        net, draws = bind(models[name], SCHEDULES[schedule](), gamma)
        level = net.level(t)
        noise = draws.normal(Purpose.INIT, 0, net.model.shape)
        x = expand((level.a.square() + level.b.square()).sqrt(), noise) * noise
        here = net(x, level)
        outputs = torch.stack([output.encode(*pair, level) for pair in zip(here.raw.x0, here.raw.eps, strict=True)])
        x0, eps = output.decode(net.guidance.combine(outputs), x, level)
        seen_so = replace(net, model=Reparametrised(net.model, output))(x, level)
        size = largest(here.raw.x0.abs().sum(0)) + expand(level.sigma, x) * largest(here.raw.eps.abs().sum(0))
        unit = U * (abs(gamma) + abs(1 - gamma)) * size
        case = f"{name}, {schedule}, {type(output).__name__}, t={t}, gamma={gamma}"
        for got in (x0, seen_so.x0):
            worst.compare(case, got, here.x0, unit)
        for got in (eps, seen_so.eps):
            worst.compare(case, got, here.eps, unit / expand(level.sigma, x))


def rows(full: bool) -> Iterator[Row]:
    """V9a, V9b."""
    scales, outputs = Worst(), Worst()
    conversions(scales)
    yield scales.row(
        "V9a",
        "gamma = diffusers', k-diffusion's, Perp-Neg's scale = 1 + threestudio's plain one = 1 + Ho and Salimans' w: "
        "predictions from given u, c in u·max(1, |gamma|)·(|u| + |c|); round trips in u·max(1, |gamma|)",
        "2405.15891 eq. 3",
        32,
        "three or four roundings on each side, of three terms of at most that size",
    )
    commuting(full, outputs)
    yield outputs.row(
        "V9b",
        "guidance commutes with eps, x0, v, flow velocity and score; in u·(|gamma| + |1 - gamma|)·(|x0| + sigma|eps|)",
        "2405.15891 eq. 3",
        64,
        "the weights sum to 1 and every output is linear in (x0, eps): some roundings each of the model, coding and guiding",
    )
