"""The prediction less the one of the source under its own prompt: DDS."""

from dataclasses import dataclass

from .base import At, Direction, Image, of_source


@dataclass(frozen=True)
class DeltaDenoising(Direction):
    """eps(a·x0 + b·kappa, prompt) - eps(a·x0_src + b·kappa, prompt_src), both guided (DDS, arXiv 2304.07464, eq. 3 and 4).

    One noise for both; what is wrong with SDS at the source is taken from it. As a full step of eq. 10 of arXiv 2405.15891,
    x0' = x0_src + D(x0 + sigma·kappa, prompt) - D(x0_src + sigma·kappa, prompt_src), D the denoised picture.
    """

    @property
    def needs_source(self) -> bool:
        return True

    def __call__(self, at: At) -> Image:
        return at.guided.eps - of_source(at)
