"""Guidance: which conditions a sampler asks for, and how their predictions combine.

THE convention, here and everywhere (arXiv 2405.15891, eq. 3; diffusers' `guidance_scale`; k-diffusion's scale):

    guided = uncond + gamma · (cond - uncond)          gamma = 0 unconditional, gamma = 1 conditional
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from . import require

Prompt = str | None
"""One row's condition; None is the unconditional (null) one."""

Stack = Float[Tensor, "conds batch *shape"]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (arXiv 2207.12598), with an optional negative prompt in place of the null one.

    scale: gamma in the convention above, any finite number. negative: a prompt, or None.
    Raises ValueError if scale is not a finite number.
    """

    scale: float = 1.0
    negative: Prompt = None

    def __post_init__(self) -> None:
        require.number("guidance.scale", self.scale)
        if self.negative is not None and not isinstance(self.negative, str):
            raise ValueError(f"guidance.negative={self.negative!r}: must be a prompt or null")

    def at(self, scale: float) -> "Guidance":
        """The same guidance at another scale."""
        return Guidance(scale, self.negative)

    def conds(self, prompts: Sequence[Prompt]) -> tuple[tuple[Prompt, ...], ...]:
        """The conditions to evaluate, each with a row per prompt: one at scale 0 or 1, else (negative, prompt)."""
        base = tuple(self.negative for _ in prompts)
        if self.scale == 1:
            return (tuple(prompts),)
        if self.scale == 0:
            return (base,)
        return (base, tuple(prompts))

    def combine(self, stack: Stack) -> Float[Tensor, "batch *shape"]:
        """Predictions for `conds` (eps, x0, v, ...: guidance commutes with all of them) -> the guided one."""
        if stack.shape[0] == 1:
            return stack[0]
        uncond, cond = stack
        return uncond + self.scale * (cond - uncond)


def from_threestudio(scale: float) -> float:
    """threestudio's plain branch, cond + s·(cond - uncond): gamma = 1 + s. (Its Perp-Neg branch has gamma = s.)

    The same holds for Ho and Salimans' w (arXiv 2207.12598, eq. 6).
    """
    return 1 + scale


def to_threestudio(gamma: float) -> float:
    """The s of threestudio's plain branch: s = gamma - 1."""
    return gamma - 1
