"""kappa = the exact root of eq. 8, where the model has one."""

from dataclasses import dataclass

from ..draws import Draws
from ..guidance import Guidance
from ..levels import Level, Step
from ..models.base import Denoiser, HasExactRoot
from ..predictor import Predictor
from .base import Image, Kappa, Last, Proposal, finite_source


@dataclass(frozen=True)
class ExactRoot(Kappa):
    """kappa = eps(a·x0 + b·kappa), solved at the step's source (arXiv 2405.15891, eq. 8): DDIM without a history.

    At the level where it is used an exact root would stop the process, so it is sought at src, never at dst.
    Raises ValueError (in check) on a model that has no exact root.
    """

    def check(self, model: Denoiser, guidance: Guidance, noisiest: Level) -> None:
        if not isinstance(model, HasExactRoot):
            raise ValueError(
                f"noise=exact_root: {type(model).__name__} has no exact root of eq. 8; "
                "model=gaussian and model=mixture have; for others take noise=fixed_point"
            )
        model.check_root(guidance)
        finite_source("exact_root", noisiest)

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        assert isinstance(net.model, HasExactRoot)  # check() has said so
        return Proposal(net.model.exact_root(x0, step.src, net.prompts, net.guidance))
