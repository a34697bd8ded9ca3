"""Coordinates: the only place for the algebra between eps, x0, v, flow velocity, score, x and x_bar.

Everything follows from x = a·x0 + b·eps. A network's output is one linear combination of x0 and eps;
together with x it determines both:

    eps    = eps                             score = -eps / b
    x0     = x0                              flow  = eps - x0            (velocity dx/dt of a = 1-t, b = t)
    v      = (a·eps - b·x0) / sqrt(a² + b²)  (arXiv 2202.00512; the root is 1 where a² + b² = 1)
    F      = -v of x0 / sigma_data           (arXiv 2206.00364: x0 = c_skip·x_bar + c_out·F)
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from . import require
from .levels import Level, expand

Batch = Float[Tensor, "*batch"]
Outputs = Float[Tensor, "*outputs"]


def noisy(x0: Batch, eps: Batch, level: Level) -> Batch:
    """x = a·x0 + b·eps."""
    return expand(level.a, x0) * x0 + expand(level.b, x0) * eps


def x0_from_eps(x: Batch, eps: Outputs, level: Level) -> Outputs:
    """x0 = (x - b·eps) / a; not defined at a = 0."""
    return (x - expand(level.b, x) * eps) / expand(level.a, x)


def eps_from_x0(x: Batch, x0: Outputs, level: Level) -> Outputs:
    """eps = (x - a·x0) / b; not defined at b = 0."""
    return (x - expand(level.a, x) * x0) / expand(level.b, x)


def x_bar(x: Batch, level: Level) -> Batch:
    """x_bar = x / a = x0 + sigma·eps; not defined at a = 0."""
    return x / expand(level.a, x)


@runtime_checkable
class Parametrisation(Protocol):
    """What a network's output means."""

    @property
    def needs_signal(self) -> bool:
        """True where it gives no x0 at a = 0."""

    def fits(self, level: Level) -> bool:
        """True if a network of this output can have been trained with this a and b."""

    def encode(self, x0: Batch, eps: Batch, level: Level) -> Batch:
        """(x0, eps) -> the network's output."""

    def decode(self, out: Outputs, x: Batch, level: Level) -> tuple[Outputs, Outputs]:
        """The network's output at x -> (x0, eps); ours also take the outputs of several conditions, [conds, batch, *shape]."""


class Anywhere:
    """Of outputs that give x0 at every level, and go with every a and b."""

    needs_signal: ClassVar[bool] = False

    def fits(self, level: Level) -> bool:
        return True


@dataclass(frozen=True)
class Epsilon(Anywhere):
    """The network predicts eps. It gives no x0 at a = 0 (NaN or infinite there)."""

    needs_signal: ClassVar[bool] = True

    def encode(self, x0: Batch, eps: Batch, level: Level) -> Batch:
        return eps

    def decode(self, out: Outputs, x: Batch, level: Level) -> tuple[Outputs, Outputs]:
        return x0_from_eps(x, out, level), out


@dataclass(frozen=True)
class Sample(Anywhere):
    """The network predicts x0."""

    def encode(self, x0: Batch, eps: Batch, level: Level) -> Batch:
        return x0

    def decode(self, out: Outputs, x: Batch, level: Level) -> tuple[Outputs, Outputs]:
        return out, eps_from_x0(x, out, level)


@dataclass(frozen=True)
class Velocity(Anywhere):
    """The network predicts v = (a·eps - b·x0) / sqrt(a² + b²) (arXiv 2202.00512)."""

    def encode(self, x0: Batch, eps: Batch, level: Level) -> Batch:
        a, b = expand(level.a, x0), expand(level.b, x0)
        return (a * eps - b * x0) / (a * a + b * b).sqrt()

    def decode(self, out: Outputs, x: Batch, level: Level) -> tuple[Outputs, Outputs]:
        a, b = expand(level.a, x), expand(level.b, x)
        square = a * a + b * b
        out = out * square.sqrt()
        return (a * x - b * out) / square, (b * x + a * out) / square


@dataclass(frozen=True)
class Preconditioned(Anywhere):
    """The network predicts F of EDM, x0 = c_skip·x_bar + c_out·F (arXiv 2206.00364, eq. 7 and table 1), or -F.

    c_skip = s² / (sigma² + s²) and c_out = sigma·s / sqrt(sigma² + s²) with s = sigma_data > 0, the spread of the data. So -F
    is v of x0 / s, whose signal factor is a·s. negated: the network predicts -F (v_prediction of diffusers' EDM schedulers).
    Raises ValueError unless sigma_data > 0.
    """

    sigma_data: float = 0.5
    negated: bool = False

    def __post_init__(self) -> None:
        require.number("sigma_data", self.sigma_data, above=0)

    def _unit(self, level: Level) -> Level:
        return Level(level.a * self.sigma_data, level.b, level.t)

    def encode(self, x0: Batch, eps: Batch, level: Level) -> Batch:
        v = Velocity().encode(x0 / self.sigma_data, eps, self._unit(level))
        return v if self.negated else -v

    def decode(self, out: Outputs, x: Batch, level: Level) -> tuple[Outputs, Outputs]:
        x0, eps = Velocity().decode(out if self.negated else -out, x, self._unit(level))
        return x0 * self.sigma_data, eps


@dataclass(frozen=True)
class FlowVelocity(Anywhere):
    """The network predicts eps - x0, the velocity of rectified flow (arXiv 2209.03003); any (a, b) with a + b > 0."""

    def fits(self, level: Level) -> bool:
        return bool(((level.a + level.b - 1).abs() < 1e-9).all())

    def encode(self, x0: Batch, eps: Batch, level: Level) -> Batch:
        return eps - x0

    def decode(self, out: Outputs, x: Batch, level: Level) -> tuple[Outputs, Outputs]:
        a, b = expand(level.a, x), expand(level.b, x)
        return (x - b * out) / (a + b), (x + a * out) / (a + b)


@dataclass(frozen=True)
class Score(Anywhere):
    """The network predicts the score, grad_x log p(x) = -eps / b (arXiv 2011.13456)."""

    needs_signal: ClassVar[bool] = True

    def encode(self, x0: Batch, eps: Batch, level: Level) -> Batch:
        return -eps / expand(level.b, eps)

    def decode(self, out: Outputs, x: Batch, level: Level) -> tuple[Outputs, Outputs]:
        eps = -out * expand(level.b, x)
        return x0_from_eps(x, eps, level), eps
