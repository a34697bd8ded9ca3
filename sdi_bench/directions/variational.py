"""What the particles' own score predicts is subtracted: VSD."""

from dataclasses import dataclass

from ..draws import Draws
from ..guidance import Guidance
from ..levels import Level
from ..models.base import Denoiser
from ..noise.base import Kappa
from ..predictor import Predictor
from ..schedules import Schedule
from ..students import Learnt, Lora, Student
from .base import At, Direction, Image


@dataclass(frozen=True)
class Variational(Direction):
    """eps(x, y) - eps_phi(x, y), eps_phi the score of the noisy particles (VSD: ProlificDreamer, arXiv 2305.16213, eq. 9).

    student: where eps_phi comes from. It is told the view as the teacher is, by the prompt's words; the paper embeds the
    camera.
    """

    student: Student = Lora()

    @property
    def needs_linear(self) -> bool:
        return self.student.needs_linear

    def check(self, model: Denoiser, schedule: Schedule, guidance: Guidance, noise: Kappa) -> None:
        self.student.check(model, guidance, noise)

    def begin(self, net: Predictor, draws: Draws, level: Level) -> Learnt:
        return self.student.begin(net, draws, level)

    def __call__(self, at: At) -> Image:
        assert at.learnt is not None
        return at.guided.eps - self.student.eps(at.learnt, at.x, at.step.dst, at.net, at.net.prompts)

    def learn(self, at: At) -> Learnt:
        assert at.learnt is not None
        return self.student.learn(at.learnt, at.x0, at.step, at.net, at.draws)
