"""From a described source to the prompt: the bridge between image distributions."""

from dataclasses import dataclass

from .. import require
from ..guidance import Prompt
from .base import At, Direction, Image, eps_of


@dataclass(frozen=True)
class Bridge(Direction):
    """scale·[eps(x, y_target) - eps(x, y_source)] (SDS-Bridge, arXiv 2406.09417), after a first stage of SDS.

    y_source: the prompt and `descriptors` of what is wrong with a picture of SDS; y_target: the prompt and `target_descriptors`
    (the released code's). Null: no prompt at all as the source (CSD), the prompt alone as the target.
    scale: any finite number. switch >= 0: steps of the first stage; in the released code half of them.
    Raises ValueError, naming the field, otherwise.
    """

    scale: float = 1.0
    descriptors: str | None = None
    target_descriptors: str | None = None
    switch: int = 0

    def __post_init__(self) -> None:
        require.number("direction.scale", self.scale)
        require.count("direction.switch", self.switch, least=0)

    def source(self, prompt: Prompt) -> Prompt:
        """What a picture of SDS is, in words."""
        return None if self.descriptors is None else (prompt or "") + self.descriptors

    def target(self, prompt: Prompt) -> Prompt:
        """What it is to become."""
        return prompt if self.target_descriptors is None else (prompt or "") + self.target_descriptors

    def asked(self, prompt: Prompt) -> tuple[Prompt, ...]:
        return (self.source(prompt), self.target(prompt))

    def __call__(self, at: At) -> Image:
        if at.step.index <= self.switch:
            return at.guided.eps - at.proposal.kappa
        prompts = at.net.prompts
        return self.scale * (eps_of(at, [self.target(y) for y in prompts]) - eps_of(at, [self.source(y) for y in prompts]))
