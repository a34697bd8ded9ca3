"""The perturb-and-average score of a variance-exploding denoiser: SJC."""

from dataclasses import dataclass

from .base import At, Direction, Image


@dataclass(frozen=True)
class Sjc(Direction):
    """-sigma·score at z = x0 + sigma·kappa, its mean over kappa taken by the steps (SJC, arXiv 2212.00774, sec. 4).

    The score is (D(z) - z) / sigma², D the denoiser, so this is (z - D) / sigma = eps. var_red, as released: from the centre
    instead, (x0 - D) / sigma = eps - kappa, which has the same mean and less variance: SDS, whose w is then 1.
    """

    var_red: bool = True

    def __call__(self, at: At) -> Image:
        return at.guided.eps - at.proposal.kappa if self.var_red else at.guided.eps
