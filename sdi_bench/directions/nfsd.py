"""The prediction's noise told from its domain correction by a negative prompt: NFSD."""

from dataclasses import dataclass

from .. import require
from ..guidance import Prompt
from ..levels import expand
from .base import At, Direction, Image, eps_null, eps_of


@dataclass(frozen=True)
class Nfsd(Direction):
    """delta_D + scale·delta_C (NFSD, arXiv 2310.17590):

        delta_C = eps(x, y) - eps(x),   delta_D = eps(x) below t_low, eps(x) - eps(x, y_neg) from there up

    scale: s, any finite number. negative_prompt: y_neg, which is to stand for what is out of the domain; null is no prompt,
    where delta_D is 0 above. t_low in [0, 1]. Raises ValueError, naming the field, otherwise.
    """

    scale: float = 7.5
    negative_prompt: Prompt = None
    t_low: float = 0.2

    def __post_init__(self) -> None:
        require.number("direction.scale", self.scale)
        require.number("direction.t_low", self.t_low, at_least=0, at_most=1)

    def asked(self, prompt: Prompt) -> tuple[Prompt, ...]:
        return (self.negative_prompt,)

    def __call__(self, at: At) -> Image:
        null, level = eps_null(at), at.step.dst
        away = null + self.scale * (eps_of(at, at.net.prompts) - null)
        if bool((level.host.t < self.t_low).all()):
            return away
        is_high = (level.t >= self.t_low).to(null.dtype)
        return away - expand(is_high, null) * eps_of(at, [self.negative_prompt] * len(null))
