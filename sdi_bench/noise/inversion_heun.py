"""kappa by DDIM inversion in steps of second order: Heun's."""

from collections.abc import Callable
from dataclasses import dataclass

from ..levels import Level, expand
from ..predictor import Guided
from .base import Image
from .inversion import Inversion


@dataclass(frozen=True)
class InversionHeun(Inversion):
    """Inversion by Heun's rule: each step goes up with the mean of the noise at its source and of that where it would end.

        x_bar(k+1) = x_bar(k) + (sigma(k+1) - sigma(k))·[eps(x_bar(k), k) + eps(x_euler, k+1)] / 2,   x_euler as in eq. 11

    (Karras et al., arXiv 2206.00364, algorithm 1, upwards in sigma; arXiv 2405.15891, eq. 11.) A step costs the network rows of
    two of Inversion's. Settings and what is raised: as there.
    """

    def climb(
        self, x_bar: Image, source: Level, target: Level, asked: Level, ask: Callable[[Image, Level], Guided]
    ) -> tuple[Image, Image]:
        rise, eps = super().climb(x_bar, source, target, asked, ask)
        again = ask(x_bar + rise, target)
        return (rise + again.shifted(expand(target.sigma - source.sigma, eps) * again.eps)) / 2, eps
