"""What a sampler yields and what the library asks of one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..draws import Draws, Purpose
from ..guidance import Guidance
from ..levels import Level, expand
from ..models.base import Denoiser
from ..noise import Noises
from ..predictor import Guided, Predictor
from ..schedules import Schedule
from ..students import Learnt
from ..update import Moments


@dataclass(frozen=True)
class State:
    """A sampler after its network call number `index`, at `level`.

    x0: the one-step denoised image (distillation: the optimised image), eps: the guided prediction,
    kappa: the noise that was added before the network was asked; None in samplers that carry x itself.
    All [batch, *shape], float64. The last state's x0 is the sample.
    params, memory: of score distillation, what its scene and its update carry on; of a scene with cameras the sample is
    params, and x0 is what the next step looks at. learnt: what its direction has learnt. gradient: the picture that the step
    looked at less the target of eq. 10. noises: of a noise that is held for each camera of the scene, what it found.
    """

    index: int
    level: Level
    x0: Tensor
    eps: Tensor
    kappa: Tensor | None = None
    params: Tensor | None = None
    memory: Moments | None = None
    learnt: Learnt | None = None
    gradient: Tensor | None = None
    noises: Noises | None = None


@runtime_checkable
class Sampler(Protocol):
    """An image-space sampler: a short generator of states."""

    @property
    def guidance(self) -> Guidance:
        """How its predictions are guided."""

    @property
    def n_states(self) -> int:
        """How many states `sample` yields."""

    def sample(self, net: Predictor, draws: Draws) -> Iterator[State]:
        """From x_T, which depends on the items alone, to the sample."""

    def check(self, model: Denoiser, schedule: Schedule) -> None:
        """Raise ValueError, naming the field, before any network call, if this cannot run."""


def start(net: Predictor, draws: Draws, level: Level) -> tuple[Tensor, Guided]:
    """x = b·eps with eps ~ N(0, I), and the first prediction there. No signal is put in: x_bar = sigma·eps."""
    noise = draws.normal(Purpose.INIT, 0, net.model.shape)
    x = expand(level.b, noise) * noise
    return x, net(x, level)
