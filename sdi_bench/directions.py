"""Directions: what is subtracted from the prediction. The second seam, after kappa."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from .noise.base import Kappa, Proposal
from .noise.inversion import Inversion
from .predictor import Guided


@runtime_checkable
class Direction(Protocol):
    """The direction of one step; x0 moves against it, times sigma."""

    def __call__(self, guided: Guided, proposal: Proposal) -> Tensor:
        """[batch, *shape]."""

    def check(self, noise: Kappa) -> None:
        """Raise ValueError if this direction cannot be had with this kappa."""


@dataclass(frozen=True)
class PredictedMinusAdded:
    """eps - kappa (arXiv 2405.15891, eq. 10; SDS, SDI, DDIM)."""

    def __call__(self, guided: Guided, proposal: Proposal) -> Tensor:
        return guided.eps - proposal.kappa

    def check(self, noise: Kappa) -> None:
        """Any kappa."""


@dataclass(frozen=True)
class Interval:
    """eps(x_t, prompt) - eps(x_s), s the last source of the inversion (ISM, arXiv 2311.11284, eq. 15).

    Needs a kappa found by inversion; check raises ValueError otherwise.
    """

    def __call__(self, guided: Guided, proposal: Proposal) -> Tensor:
        assert proposal.eps_s is not None  # check() has said so
        return guided.eps - proposal.eps_s

    def check(self, noise: Kappa) -> None:
        if not isinstance(noise, Inversion):
            raise ValueError(f"direction=interval: needs noise=inversion, got {type(noise).__name__}")
