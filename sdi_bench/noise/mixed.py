"""kappa between DDIM's and SDS's: a share of the previous prediction, the rest drawn anew."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .. import require
from ..draws import Draws, Purpose
from ..levels import Step, expand
from ..predictor import Predictor
from .base import Image, Kappa, Last, Proposal


@dataclass(frozen=True)
class Mixed(Kappa):
    """kappa = rho·previous + sqrt(1 - rho²)·fresh, rho = (sigma_dst / sigma_src)^lam: DDIM at another eta.

    rho² = 1 - eta²·(1 - sigma_dst²/sigma_src²) (arXiv 2010.02502, eq. 16): lam = 0 is DDIM, 1 is DDPM (eta = 1),
    infinity is SDS. Give lam >= 0 (infinity allowed), or a constant rho in [0, 1] instead.
    Raises ValueError unless exactly one of them is given, in its range.
    """

    lam: float | None = 1.0
    rho: float | None = None

    def __post_init__(self) -> None:
        if (self.lam is None) == (self.rho is None):
            raise ValueError(f"noise.lam={self.lam!r}, noise.rho={self.rho!r}: give one, set the other to null")
        if self.lam is not None and self.lam != math.inf:
            require.number("noise.lam", self.lam, at_least=0)
        if self.rho is not None:
            require.number("noise.rho", self.rho, at_least=0, at_most=1)

    @property
    def needs_path(self) -> bool:
        return True

    def kept(self, step: Step) -> Float[Tensor, " rows"]:
        """rho of this step, in [0, 1]."""
        ratio = step.dst.sigma / step.src.sigma
        if self.rho is not None:
            return torch.full_like(ratio, self.rho)
        if self.lam == math.inf:
            return torch.zeros_like(ratio)
        assert self.lam is not None  # __post_init__ has said so
        return ratio**self.lam

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        rho = self.kept(step)
        fresh = draws.normal(Purpose.KAPPA, step.index, (1, *x0.shape[1:])).mean(1)
        return Proposal(expand(rho, x0) * last.eps + expand((1 - rho.square()).sqrt(), x0) * fresh)
