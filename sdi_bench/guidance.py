"""Guidance: which conditions a sampler asks for, and how their predictions combine.

THE convention, here and everywhere (arXiv 2405.15891, eq. 3; diffusers' `guidance_scale`; k-diffusion's scale):

    guided = uncond + gamma · (cond - uncond)          gamma = 0 unconditional, gamma = 1 conditional
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from . import require
from .levels import expand

Prompt = str | None
"""One row's condition; None is the unconditional (null) one."""

Stack = Float[Tensor, "conds batch *shape"]

CONVENTIONS = ("paper", "threestudio")
"""In which a scale can be given."""


class Blend(str):
    """A prompt between two: `share` of the one, the rest of the other. What is mixed is the text's embedding; of a model that
    has none, the prediction (`Predictor`).
    """

    one: str
    other: str
    share: float

    @staticmethod
    def of(one: Prompt, other: Prompt, share: float) -> Prompt:
        """share in [0, 1]; at an end, and where both are the same, it is a plain prompt."""
        if one is None or other is None or one == other or share == 1:
            return one
        if share == 0:
            return other
        made = Blend(f"{share!r} of {one!r} with {other!r}")
        made.one, made.other, made.share = one, other, share
        return made


class Sides(NamedTuple):
    """An object's sides in words, each [batch] prompts, and where each row's camera stands.

    view: the word for it, "front", "side", "back" or "overhead". azimuth: degrees from the front.
    """

    front: tuple[Prompt, ...]
    side: tuple[Prompt, ...]
    back: tuple[Prompt, ...]
    view: tuple[str, ...]
    azimuth: tuple[float, ...]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (arXiv 2207.12598), with an optional negative prompt in place of the null one.

    scale: any finite number; gamma itself in the convention "paper". negative: a prompt, or None.
    convention: "threestudio" where scale, and that of an inversion, are as in the released SDI: s of cond + s·(cond - uncond),
    gamma = s + 1 (ottogin/score-distillation-via-inversion, threestudio/models/guidance/stable_diffusion_sdi_guidance.py,
    predict_noise without Perp-Neg; threestudio PR #508), so 7.5 is gamma 8.5 and -7.5 is -6.5.
    Raises ValueError, naming the field, for others.
    """

    scale: float = 1.0
    negative: Prompt = None
    convention: str = "paper"

    def __post_init__(self) -> None:
        require.number("guidance.scale", self.scale)
        if self.convention not in CONVENTIONS:
            raise ValueError(f"guidance.convention={self.convention!r}: must be {' or '.join(CONVENTIONS)}")
        if self.negative is not None and not isinstance(self.negative, str):
            raise ValueError(f"guidance.negative={self.negative!r}: must be a prompt or null")

    def gamma_of(self, scale: float) -> float:
        """gamma of a scale that is given in this guidance's convention."""
        return from_threestudio(scale) if self.convention == "threestudio" else scale

    @property
    def gamma(self) -> float:
        """The scale in the convention above, whatever it was given in."""
        return self.gamma_of(self.scale)

    def at(self, gamma: float) -> "Guidance":
        """The same guidance at another gamma."""
        return replace(self, scale=gamma, convention="paper")

    def against(self, sides: Sides) -> "Guidance":
        """The same guidance told what the object is called from its sides, and which one is asked for."""
        return self

    def rows(self, index: Sequence[int]) -> "Guidance":
        """The same guidance for some rows of the batch."""
        return self

    def conds(self, prompts: Sequence[Prompt]) -> tuple[tuple[Prompt, ...], ...]:
        """The conditions to evaluate, each with a row per prompt: one at scale 0 or 1, else (negative, prompt)."""
        base = (self.negative,) * len(prompts)
        if self.gamma == 1:
            return (tuple(prompts),)
        if self.gamma == 0:
            return (base,)
        return (base, tuple(prompts))

    def combine(self, stack: Stack) -> Float[Tensor, "batch *shape"]:
        """Predictions for `conds` (eps, x0, v, ...: guidance commutes with all of them) -> the guided one."""
        if stack.shape[0] == 1:
            return stack[0]
        uncond, cond = stack.unbind()
        return uncond + self.gamma * (cond - uncond)


@dataclass(frozen=True)
class PerpNeg(Guidance):
    """Perpendicular negative prompts (Perp-Neg, arXiv 2304.04968, eq. 7):

        guided = uncond + gamma·( e - weight·sum_i perp(n_i, e) ),   e = cond - uncond,   n_i = negative_i - uncond

    perp(n, e) is the part of n perpendicular to e, image by image; so what a negative prompt shares with the prompt stays.
    weights: "constant": negatives are the two of front, side and back that the object is not seen from, where a scene has
    sides, and the prompt `negative`, if there is one; all of one weight. "azimuth": as threestudio has it, and SDI's authors:
    prompt and negatives blend with the camera's azimuth, and so do the weights (`between`); `negative` stands in place of no
    prompt.
    weight >= 0 multiplies either; at 0 it is classifier-free guidance. Raises ValueError, naming the field, otherwise.
    convention: the same number in both; the released SDI's Perp-Neg branch has gamma = s (predict_noise, as above).
    """

    weight: float = 1.0
    weights: str = "constant"
    others: tuple[tuple[Prompt, ...], ...] = ()
    factors: tuple[tuple[float, ...], ...] = ()
    asked: tuple[Prompt, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require.number("guidance.weight", self.weight, at_least=0)
        if self.weights not in ("constant", "azimuth"):
            raise ValueError(f"guidance.weights={self.weights!r}: must be constant or azimuth")

    def gamma_of(self, scale: float) -> float:
        return scale

    def against(self, sides: Sides) -> "PerpNeg":
        if self.weights == "constant":
            away = [
                [prompt for name, prompt in zip(("front", "side", "back"), row[:3], strict=True) if name != row[3]][:2]
                for row in zip(*sides, strict=True)
            ]
            return replace(self, others=tuple(zip(*away, strict=True)))
        rows = [between(*row, none=self.negative) for row in zip(*sides, strict=True)]
        asked, negatives, factors = zip(*rows, strict=True)
        others, weights = tuple(zip(*negatives, strict=True)), tuple(zip(*factors, strict=True))
        return replace(self, asked=asked, others=others, factors=weights)

    def rows(self, index: Sequence[int]) -> "PerpNeg":
        others = tuple(tuple(prompts[i] for i in index) for prompts in self.others)
        factors = tuple(tuple(weights[i] for i in index) for weights in self.factors)
        return replace(self, others=others, factors=factors, asked=tuple(self.asked[i] for i in index) if self.asked else ())

    def conds(self, prompts: Sequence[Prompt]) -> tuple[tuple[Prompt, ...], ...]:
        """(no prompt, prompt, the negatives), each with a row per prompt; at scale 0 the first alone."""
        by_azimuth = self.weights == "azimuth"
        none: tuple[Prompt, ...] = tuple(self.negative if by_azimuth else None for _ in prompts)
        if self.gamma == 0:
            return (none,)
        negative = () if self.negative is None or by_azimuth else (tuple(self.negative for _ in prompts),)
        asked = (told or prompt for told, prompt in zip(self.asked, prompts, strict=True)) if self.asked else prompts
        return (none, tuple(asked), *self.others, *negative)

    def combine(self, stack: Stack) -> Float[Tensor, "batch *shape"]:
        if stack.shape[0] == 1:
            return stack[0]
        uncond = stack[0]
        towards, *away = (cond - uncond for cond in stack[1:])
        length = towards.flatten(1).square().sum(1).clamp(min=torch.finfo(towards.dtype).tiny)
        step = towards
        factors = self.factors or [(1.0,)] * len(away)
        for side, factor in zip(away, factors, strict=True):
            share = (side * towards).flatten(1).sum(1) / length
            across = side - share.reshape(-1, *[1] * (side.ndim - 1)) * towards
            weight = torch.tensor(factor, dtype=side.dtype)
            step = step - self.weight * expand(weight if len(factor) == 1 else weight.to(side.device), side) * across
        return uncond + self.gamma * step


def gamma_said(settings: Mapping[str, Any]) -> float:
    """gamma of the guidance that a run's configuration holds."""
    kind = PerpNeg if str(settings.get("_target_")).endswith("PerpNeg") else Guidance
    return kind(float(settings["scale"]), convention=settings.get("convention", "paper")).gamma


def between(
    front: Prompt, side: Prompt, back: Prompt, view: str, azimuth: float, none: Prompt
) -> tuple[Prompt, tuple[Prompt, Prompt], tuple[float, float]]:
    """Of one row: the prompt blended by azimuth (None: as it stands), its two negatives, and their weights.

    The conditions and numbers of threestudio's prompt processor, r in [0, 1] (arXiv 2304.04968, sec. 4.2, has the form):
    |azimuth| < 90: r of the front and 1 - r of the side; against front and side. Beyond: r of the side and 1 - r of the back;
    against side and front. From overhead nothing is blended, and the weights are 0.
    """
    if view == "overhead":
        return None, (none, none), (0.0, 0.0)
    away = abs((azimuth + 180) % 360 - 180)
    if away < 90:
        r = 1 - away / 90
        return Blend.of(front, side, r), (front, side), (decay(4, -2.426, r), decay(4, -2.426, 1 - r))
    r = 2 - away / 90
    return Blend.of(side, back, r), (side, front), (decay(1, -0.606, r), decay(1, 0.967, r))


def decay(a: float, c: float, r: float) -> float:
    """a·exp(-r/2) + c."""
    return a * math.exp(-r / 2) + c


def from_threestudio(scale: float) -> float:
    """threestudio's plain branch, cond + s·(cond - uncond): gamma = 1 + s. (Its Perp-Neg branch has gamma = s.)

    The same holds for Ho and Salimans' w (arXiv 2207.12598, eq. 6).
    """
    return 1 + scale


def to_threestudio(gamma: float) -> float:
    """The s of threestudio's plain branch: s = gamma - 1."""
    return gamma - 1
