"""Guidance: which conditions a sampler asks for, and how their predictions combine.

THE convention, here and everywhere (arXiv 2405.15891, eq. 3; diffusers' `guidance_scale`; k-diffusion's scale):

    guided = uncond + gamma · (cond - uncond)          gamma = 0 unconditional, gamma = 1 conditional
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from . import require

Prompt = str | None
"""One row's condition; None is the unconditional (null) one."""

Stack = Float[Tensor, "conds batch *shape"]

CONVENTIONS = ("paper", "threestudio")
"""In which a scale can be given."""


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

    def against(self, others: tuple[tuple[Prompt, ...], ...]) -> "Guidance":
        """The same guidance told what the object looks like from other sides than the one asked for: [sides][batch] prompts."""
        return self

    def rows(self, index: Sequence[int]) -> "Guidance":
        """The same guidance for some rows of the batch."""
        return self

    def conds(self, prompts: Sequence[Prompt]) -> tuple[tuple[Prompt, ...], ...]:
        """The conditions to evaluate, each with a row per prompt: one at scale 0 or 1, else (negative, prompt)."""
        base = tuple(self.negative for _ in prompts)
        if self.gamma == 1:
            return (tuple(prompts),)
        if self.gamma == 0:
            return (base,)
        return (base, tuple(prompts))

    def combine(self, stack: Stack) -> Float[Tensor, "batch *shape"]:
        """Predictions for `conds` (eps, x0, v, ...: guidance commutes with all of them) -> the guided one."""
        if stack.shape[0] == 1:
            return stack[0]
        uncond, cond = stack
        return uncond + self.gamma * (cond - uncond)


@dataclass(frozen=True)
class PerpNeg(Guidance):
    """Perpendicular negative prompts (Perp-Neg, arXiv 2304.04968, eq. 7):

        guided = uncond + gamma·( e - weight·sum_i perp(n_i, e) ),   e = cond - uncond,   n_i = negative_i - uncond

    perp(n, e) is the part of n perpendicular to e, image by image; so what a negative prompt shares with the prompt stays.
    Negatives are the object seen from other sides, where a scene has sides, and the prompt `negative`, if there is one.
    weight >= 0; at 0 it is classifier-free guidance. Raises ValueError, naming the field, otherwise.
    convention: the same number in both; the released SDI's Perp-Neg branch has gamma = s (predict_noise, as above).
    """

    weight: float = 1.0
    others: tuple[tuple[Prompt, ...], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require.number("guidance.weight", self.weight, at_least=0)

    def gamma_of(self, scale: float) -> float:
        return scale

    def against(self, others: tuple[tuple[Prompt, ...], ...]) -> "PerpNeg":
        return replace(self, others=others)

    def rows(self, index: Sequence[int]) -> "PerpNeg":
        return replace(self, others=tuple(tuple(prompts[i] for i in index) for prompts in self.others))

    def conds(self, prompts: Sequence[Prompt]) -> tuple[tuple[Prompt, ...], ...]:
        """(no prompt, prompt, the negatives), each with a row per prompt; at scale 0 the first alone."""
        none: tuple[Prompt, ...] = tuple(None for _ in prompts)
        if self.gamma == 0:
            return (none,)
        negative = () if self.negative is None else (tuple(self.negative for _ in prompts),)
        return (none, tuple(prompts), *self.others, *negative)

    def combine(self, stack: Stack) -> Float[Tensor, "batch *shape"]:
        if stack.shape[0] == 1:
            return stack[0]
        uncond = stack[0]
        towards, *away = (cond - uncond for cond in stack[1:])
        length = towards.flatten(1).square().sum(1).clamp(min=torch.finfo(towards.dtype).tiny)
        step = towards
        for side in away:
            share = (side * towards).flatten(1).sum(1) / length
            step = step - self.weight * (side - share.reshape(-1, *[1] * (side.ndim - 1)) * towards)
        return uncond + self.gamma * step


def gamma_said(settings: Mapping[str, Any]) -> float:
    """gamma of the guidance that a run's configuration holds."""
    kind = PerpNeg if str(settings.get("_target_")).endswith("PerpNeg") else Guidance
    return kind(float(settings["scale"]), convention=settings.get("convention", "paper")).gamma


def from_threestudio(scale: float) -> float:
    """threestudio's plain branch, cond + s·(cond - uncond): gamma = 1 + s. (Its Perp-Neg branch has gamma = s.)

    The same holds for Ho and Salimans' w (arXiv 2207.12598, eq. 6).
    """
    return 1 + scale


def to_threestudio(gamma: float) -> float:
    """The s of threestudio's plain branch: s = gamma - 1."""
    return gamma - 1
