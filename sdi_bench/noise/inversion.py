"""kappa by DDIM inversion of x0: SDI; without guidance and with the interval's end subtracted: ISM."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .. import require
from ..draws import Draws, Purpose
from ..guidance import Guidance
from ..levels import Level, Step, expand
from ..models.base import Denoiser
from ..predictor import Guided, Predictor, Use
from .base import Image, Kappa, Last, Proposal, finite_source, time_sought


@dataclass(frozen=True)
class Inversion(Kappa):
    """The noise that DDIM run backwards finds in x0 (arXiv 2405.15891, eq. 11):

        x_bar(0) = x0,   x_bar(k+1) = x_bar(k) + (sigma(k+1) - sigma(k))·eps(x_bar(k), k),   kappa = (x_bar(t) - x0) / sigma(t)

    Each step asks the network at its source. The first source is the schedule's lowest level; the levels between
    are uniform in t, int(n_steps·t) steps (at least one).

    guidance_scale: of the inversion, in the convention of the guidance; the paper's choice is minus the sampler's, -7.5.
    n_steps >= 1: steps for t = 1.
    tau: the noise is sought at dst + U(0, tau) in t, below sigma = infinity; null seeks it at the step's src (eq. 10).
    entropy >= 0: noise of that standard deviation is added to kappa, that is, b·entropy to x(t), as eq. 11 reads
      when its H(t) is added to x(t). literal_entropy: add sqrt(1 - alpha_bar)·entropy to kappa instead, as printed.
    interval: the length in t of the last step, if it is to be fixed (ISM, arXiv 2311.11284, eq. 11); else null.
    t_min in [0, 1): the network is asked at no lower time on the way up, though the steps begin at the lowest level. Off the
      data an exact eps grows as sigma falls, until sigma meets the data's own width, and the first step multiplies it. Ours,
      not the paper's; null: no such bound.
    Raises ValueError, naming the field, for values out of range.
    """

    guidance_scale: float = -7.5
    n_steps: int = 10
    tau: float | None = 1 / 30
    entropy: float = 0.3
    literal_entropy: bool = False
    interval: float | None = None
    t_min: float | None = None

    def __post_init__(self) -> None:
        require.count("noise.n_steps", self.n_steps)
        require.number("noise.guidance_scale", self.guidance_scale)
        require.number("noise.entropy", self.entropy, at_least=0)
        if self.tau is not None:
            require.number("noise.tau", self.tau, at_least=0, below=1)
        if self.interval is not None:
            require.number("noise.interval", self.interval, above=0, below=1)
        if self.t_min is not None:
            require.number("noise.t_min", self.t_min, at_least=0, below=1)

    def check(self, model: Denoiser, guidance: Guidance, noisiest: Level) -> None:
        if self.tau is None:
            finite_source("inversion", noisiest)
        if self.interval is not None and guidance.convention != "paper":
            raise ValueError(
                f"guidance.convention={guidance.convention}: ISM asks without a prompt, gamma = 0 (arXiv 2311.11284, eq. 11); "
                "use guidance.convention=paper"
            )

    def time_sought(self, step: Step, net: Predictor, draws: Draws) -> Float[Tensor, " rows"]:
        """The time t up to which x0 is inverted, on the host."""
        return time_sought(self.tau, step, net, draws)

    def legs(self, t: Float[Tensor, " rows"], start: float) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The steps from `start` up to t: (time of the source, time of the target, which rows take this step), each [rows].

        Each begins where the one before ends.
        """
        end = t if self.interval is None else (t - self.interval).clamp(min=start)
        ends = end.numpy()  # a call of NumPy's costs less
        counts = np.maximum(np.floor(self.n_steps * ends + 1e-9), 1)
        k = np.arange(counts.max() + 1)[:, None]
        times = torch.from_numpy(start + (ends - start) * np.minimum(k * (1 / counts), 1)).unbind()
        taken = torch.from_numpy(k[:-1] < counts).unbind()
        if self.interval is not None:
            all_rows = torch.ones_like(t, dtype=torch.bool)
            times, taken = (*times, end, t), (*(each & (end > start) for each in taken), ~all_rows, all_rows)
        return list(zip(times, times[1:], taken, strict=False))

    def start(self, x0: Image, step: Step, net: Predictor, draws: Draws) -> Image:
        """x_bar - x0 where the inversion begins, at the schedule's lowest level."""
        return torch.zeros_like(x0)

    def climb(
        self, x_bar: Image, source: Level, target: Level, asked: Level, ask: Callable[[Image, Level], Guided]
    ) -> tuple[Image, Image]:
        """What a step adds to x_bar, and the noise that was seen; asked: its source, or the lowest level for the network."""
        found = ask(x_bar, asked)
        return found.shifted(expand(target.sigma - source.sigma, found.eps) * found.eps), found.eps

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        t, n, gamma = self.time_sought(step, net, draws), len(x0), net.guidance.gamma_of(self.guidance_scale)
        legs, times = [], {}  # times: of the ends of steps, by which one it is and how many rows take the step
        for k, (source_t, target_t, taken) in enumerate(self.legs(t, float(net.schedule.lowest.t))):
            rows = [row for row, takes in enumerate(taken.expand(n).tolist()) if takes]
            if not rows:
                continue
            legs.append((k, rows))
            whole = len(rows) == n
            times[k, len(rows)] = source_t if whole else source_t[rows]
            times[k + 1, len(rows)] = target_t if whole else target_t[rows]
        bounds = [] if self.t_min is None else [times[k, len(rows)].clamp(min=self.t_min) for k, rows in legs]
        top, *ends = net.levels([t, *times.values(), *bounds])
        levels, bounded = dict(zip(times, ends, strict=False)), ends[len(times) :]
        added = self.start(x0, step, net, draws)  # x_bar - x0
        eps_s = torch.zeros_like(x0)
        parts = [rows for _, rows in legs if len(rows) < n]
        index = iter(torch.tensor(list(chain(*parts)), device=x0.device).split([len(rows) for rows in parts]) if parts else ())
        for i, (k, rows) in enumerate(legs):
            source, target = levels[k, len(rows)], levels[k + 1, len(rows)]
            asked = bounded[i] if bounded else source
            whole = len(rows) == n  # the usual case: no row mask, no copies
            here = None if whole else next(index)
            x_bar = x0 + added if here is None else x0[here] + added[here]

            def ask(x_bar: Image, level: Level, rows: list[int] | None = None if whole else rows) -> Guided:
                return net(expand(level.a, x_bar) * x_bar, level, scale=gamma, rows=rows, use=Use.INVERSION)

            rise, eps = self.climb(x_bar, source, target, asked, ask)
            added = added + rise if here is None else added.index_add(0, here, rise)
            eps_s = eps if here is None else eps_s.index_copy(0, here, eps)
        kappa = added / expand(top.sigma, x0)
        if self.entropy:
            size = self.entropy * top.b / (top.a.square() + top.b.square()).sqrt() if self.literal_entropy else None
            xi = draws.normal(Purpose.ENTROPY, step.index, tuple(x0.shape[1:]))
            kappa = kappa + (self.entropy if size is None else expand(size, x0)) * xi
        return Proposal(kappa, eps_s)
