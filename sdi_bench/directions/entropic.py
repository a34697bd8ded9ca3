"""VSD with the particles' score partly of all views at once: ESD."""

from dataclasses import dataclass

from .. import require
from ..students import Learnt
from .base import At, Image
from .variational import Variational


@dataclass(frozen=True)
class Entropic(Variational):
    """eps(x, y) - (1 - lam)·eps_phi(x, y, c) - lam·eps_phi(x, y), c the view (ESD: Taming Mode Collapse in Score Distillation,
    arXiv 2401.00909; as released, threestudio's guidance_scale_lora = 1 - lam = 0.5).

    lam in [0, 1]: the weight of the entropy over views; at 0 it is VSD. drop in [0, 1]: how often the student is told no view.
    Needs a scene with views that the prompt tells; else both scores are one. Raises ValueError, naming the field, otherwise.
    """

    lam: float = 0.5
    drop: float = 0.1

    needs_views = True

    def __post_init__(self) -> None:
        require.number("direction.lam", self.lam, at_least=0, at_most=1)
        require.number("direction.drop", self.drop, at_least=0, at_most=1)

    def __call__(self, at: At) -> Image:
        assert at.learnt is not None
        seen, any_view = (
            self.student.eps(at.learnt, at.x, at.step.dst, at.net, prompts) for prompts in (at.net.prompts, at.net.plain)
        )
        return at.guided.eps - (1 - self.lam) * seen - self.lam * any_view

    def learn(self, at: At) -> Learnt:
        assert at.learnt is not None
        return self.student.learn(at.learnt, at.x0, at.step, at.net, at.draws, self.drop)
