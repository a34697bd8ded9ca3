"""The prediction at a later time is subtracted: ASD."""

from dataclasses import dataclass, replace

from .. import require
from ..coordinates import noisy
from ..draws import Purpose
from ..guidance import Guidance
from ..predictor import Use
from .base import At, Direction, Image


@dataclass(frozen=True)
class Asynchronous(Direction):
    """eps(x_t, y), guided, - eps(x_(t+dt), y), not guided, with the same noise (ASD, arXiv 2407.02040).

    dt ~ U(0, ratio·(t - t_min)), below sigma = infinity; random: false takes the upper end, the released code's other setting.
    The frozen network at t + dt stands for the one that VSD trains on the pictures at t.
    ratio >= 0; t_min in [0, 1). Raises ValueError, naming the field, otherwise.
    """

    ratio: float = 0.1
    t_min: float = 0.02
    random: bool = True

    def __post_init__(self) -> None:
        require.number("direction.ratio", self.ratio, at_least=0)
        require.number("direction.t_min", self.t_min, at_least=0, below=1)

    def __call__(self, at: At) -> Image:
        t = at.step.dst.host.t
        longest = self.ratio * (t - self.t_min).clamp(min=0)
        dt = longest * at.draws.uniform(Purpose.LATER, at.step.index) if self.random else longest
        level = at.net.level((t + dt).clamp(max=at.net.last_finite))
        plain = replace(at.net, guidance=Guidance())
        return at.guided.eps - plain(noisy(at.x0, at.proposal.kappa, level), level, use=Use.OTHER).eps
