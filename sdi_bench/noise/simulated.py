"""kappa = the prediction at the end of a DDIM run of its own, from the item's seed noise down to the step's level: DSD."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import require
from ..coordinates import noisy
from ..draws import Draws, Purpose
from ..guidance import Guidance
from ..levels import Level, Step, expand
from ..models.base import Denoiser, HasInput, HasOutput
from ..predictor import Predictor, Use
from .base import Image, Kappa, Last, Proposal, finite_source, time_sought


@dataclass(frozen=True)
class Simulated(Kappa):
    """The guided eps that DDIM, started from the item's x_T, predicts at the step's level (DSD, arXiv 2412.06780).

    DDIM goes down from t_max in steps of 1 / n_steps in t; the last one is cut at the level sought. So each step simulates
    the same path, whatever x0 is; with the sampler's own levels it is the sampler's own prediction, and the sampler DDIM.
    eps_s is the last prediction under the prompt alone (at gamma = 0 without it): the released code subtracts that one for
    kappa, direction=interval; the paper subtracts kappa.

    n_steps >= 1: for a whole unit of t. t_max in (0, 1]: where DDIM starts; below sigma = infinity, if the network says
    nothing of the image there. tau in [0, 1): as of Inversion; the code's is a tenth of its range of t.
    Raises ValueError, naming the field, for values out of range.
    """

    n_steps: int = 10
    t_max: float = 1.0
    tau: float | None = None

    def __post_init__(self) -> None:
        require.count("noise.n_steps", self.n_steps)
        require.number("noise.t_max", self.t_max, above=0, at_most=1)
        if self.tau is not None:
            require.number("noise.tau", self.tau, at_least=0, below=1)

    def check(self, model: Denoiser, guidance: Guidance, noisiest: Level) -> None:
        if needs_signal(model):
            finite_source("simulated", noisiest)

    def legs(self, t: Tensor, net: Predictor) -> list[tuple[Tensor, Tensor]]:
        """The levels of DDIM down to t [rows]: (times [rows], which rows go there), the first for all rows."""
        last = net.last_finite if needs_signal(net.model) else float(net.schedule.highest.t)
        top = min(self.t_max, last)
        counts = torch.where(t < top, ((self.t_max - t) * self.n_steps - 1e-9).ceil(), 0.0)
        times = [min(self.t_max - k / self.n_steps, top) for k in range(int(counts.max()) + 1)]
        return [(t.clamp(min=time), k <= counts) for k, time in enumerate(times)]

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        n, noise = len(x0), draws.normal(Purpose.INIT, 0, tuple(x0.shape[1:]))
        legs = self.legs(time_sought(self.tau, step, net, draws), net)
        taken = [torch.arange(n)[rows.expand(n)] for _, rows in legs]
        levels = net.levels([t if len(t) == 1 else t[rows] for (t, _), rows in zip(legs, taken, strict=True)])
        found = net(expand(levels[0].b, x0) * noise, levels[0], use=Use.INVERSION)
        clean, eps, alone = found.x0, found.eps, under_prompt(found.raw.eps)
        parts = [rows for rows in taken if len(rows) < n]
        index = iter(torch.cat(parts).to(x0.device).split([len(rows) for rows in parts]) if parts else ())
        for rows, level in zip(taken[1:], levels[1:], strict=True):
            whole = len(rows) == n  # the usual case: no row mask, no copies
            here = rows if whole else next(index)
            pair = (clean, eps) if whole else (clean[here], eps[here])
            found = net(noisy(*pair, level), level, rows=None if whole else rows.tolist(), use=Use.INVERSION)
            new = (found.x0, found.eps, under_prompt(found.raw.eps))
            clean, eps, alone = (
                new if whole else (old.index_copy(0, here, part) for old, part in zip((clean, eps, alone), new, strict=True))
            )
        return Proposal(eps, alone)


def needs_signal(model: Denoiser) -> bool:
    """True of a network that cannot be asked, or gives no x0, where nothing is left of the signal."""
    return (isinstance(model, HasInput) and model.needs_signal) or (
        isinstance(model, HasOutput) and model.parametrisation.needs_signal
    )


def under_prompt(raw: Tensor) -> Tensor:
    """Of raw predictions [conds, batch, *shape] the one under the prompt: the second, where there are two (Guidance.conds)."""
    return raw[min(1, len(raw) - 1)]
