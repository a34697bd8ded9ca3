"""The guidance part of SDS alone: CSD."""

from dataclasses import dataclass

from .. import require
from ..guidance import Prompt
from .base import At, Direction, Image, eps_null, eps_of


@dataclass(frozen=True)
class Csd(Direction):
    """scale·[eps(x, y) - eps(x)] + negative_scale·[eps(x) - eps(x, y_neg)], the classifier score (CSD, arXiv 2310.19415).

    SDS's at gamma is [eps(x) - kappa] + gamma·[eps(x, y) - eps(x)]: scale = gamma is what is left without its first part.
    scale, negative_scale: the paper's omega_1 and omega_2, any finite numbers. negative_prompt: y_neg; null is no prompt, where
    the second part vanishes. Raises ValueError, naming the field, otherwise.
    """

    scale: float = 1.0
    negative_scale: float = 0.0
    negative_prompt: Prompt = None

    def __post_init__(self) -> None:
        require.number("direction.scale", self.scale)
        require.number("direction.negative_scale", self.negative_scale)

    def asked(self, prompt: Prompt) -> tuple[Prompt, ...]:
        return (self.negative_prompt,)

    def __call__(self, at: At) -> Image:
        null = eps_null(at)
        away = self.scale * (eps_of(at, at.net.prompts) - null)
        if self.negative_scale == 0 or self.negative_prompt is None:
            return away
        return away + self.negative_scale * (null - eps_of(at, [self.negative_prompt] * len(null)))
