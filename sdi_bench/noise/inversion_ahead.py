"""kappa by DDIM inversion whose network is told the level that a step goes to."""

from collections.abc import Callable
from dataclasses import dataclass

from ..levels import Level
from ..predictor import Guided
from .base import Image
from .inversion import Inversion


@dataclass(frozen=True)
class InversionAhead(Inversion):
    """Inversion that asks the network at each step's target, as the step of DDIM that it undoes was asked there:

        x_bar(k+1) = x_bar(k) + (sigma(k+1) - sigma(k))·eps(x_bar(k), k+1)

    (arXiv 2405.15891, eq. 11, of which only the level told is another.) Ours. Settings and what is raised: as in Inversion;
    t_min bounds nothing here, for no step is asked at its source.
    """

    def climb(
        self, x_bar: Image, source: Level, target: Level, asked: Level, ask: Callable[[Image, Level], Guided]
    ) -> tuple[Image, Image]:
        return super().climb(x_bar, source, target, target, ask)
