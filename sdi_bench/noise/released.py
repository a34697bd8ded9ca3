"""kappa as the released code of SDI finds it; each thing it does otherwise than the paper is a switch."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from .. import require
from ..coordinates import noisy
from ..draws import Draws, Purpose
from ..guidance import Guidance
from ..levels import Level, Step, expand
from ..models.base import CountsTimesteps, Denoiser
from ..predictor import Predictor, Use
from .base import Image, Kappa, Last, Proposal, finite_source
from .inversion import Inversion

PAPER_TAU = 1 / 30
LEVELS = ("leading", "uniform")


@dataclass(frozen=True)
class ReleasedInversion(Kappa):
    """The inversion of the released SDI (ottogin/score-distillation-via-inversion, threestudio PR #508), not of the paper.

    All is in threestudio/models/guidance/stable_diffusion_sdi_guidance.py; s, u: source and target of a step, in timesteps of
    a table of N entries; ab: alphas_cumprod. On another schedule entry i is its level at t = i/N, and ab = 1/(1 + sigma²).

        x(u) = sqrt(ab_u)·x0hat(x(s), eps(x(s), s)) + sqrt(1 - ab_u)·eps(x(s), s) + eta·sqrt(V)·xi
        V = (1 - ab_s)/(1 - ab_u)·(1 - ab_u/ab_s)                                     (ddim_inversion_step)

    guidance_scale: of the inversion, in the convention of the guidance. n_steps >= 1. eta >= 0.
    Each switch as it is in the code by default, and then as the paper has it:
    levels: "leading": s = 1, 1 + N/n, ... below t, the last u = min(t + d, N - 1), d whole and uniform in 0 ... N/n - 1
      (get_inversion_timesteps); "uniform": int(n·t) steps, uniform in t up to t + U(0, 1/30) (eq. 11, app. A).
    rolled: the first call is at timestep 1 - N/n (-99), for which the scheduler has the table's first entry (diffusers < 0.20,
      DDIMInverseScheduler: an index below 0 is initial_alpha_cumprod, with set_alpha_to_one=false that is ab_0); a network
      that counts no timesteps sees no difference. False: the call is at that entry, timestep 0.
    unscaled: it starts from x0, treated as x at the first entry (invert_noise); False: from sqrt(ab_0)·x0.
    each_step: noise is added at every step of the inversion, as above; False: once at the end, eta·sqrt(1 - ab) (eq. 11).
    as_found: what is found at t + d is denoised as if at t (compute_grad_sdi), so that the noise of eq. 10 is
      (x(t + d) - sqrt(ab_t)·x0)/sqrt(1 - ab_t); False: its kappa, (x(t + d) - sqrt(ab)·x0)/sqrt(1 - ab) at t + d, is added
      anew at t (eq. 10).
    Raises ValueError, naming the field, for values out of range.
    """

    guidance_scale: float = -7.5
    n_steps: int = 10
    eta: float = 0.3
    levels: str = "leading"
    rolled: bool = True
    unscaled: bool = True
    each_step: bool = True
    as_found: bool = True

    def __post_init__(self) -> None:
        require.count("noise.n_steps", self.n_steps)
        require.number("noise.guidance_scale", self.guidance_scale)
        require.number("noise.eta", self.eta, at_least=0)
        if self.levels not in LEVELS:
            raise ValueError(f"noise.levels={self.levels!r}: must be {' or '.join(LEVELS)}")

    def check(self, model: Denoiser, guidance: Guidance, noisiest: Level) -> None:
        finite_source("released", noisiest)

    def times(
        self, step: Step, net: Predictor, draws: Draws
    ) -> tuple[Float[Tensor, " rows"], list[tuple[Tensor, Tensor, Tensor]]]:
        """(the time reached, the steps up to it: t of source, t of target, which rows take it), each [rows] on the host."""
        if self.levels == "uniform":
            paper = Inversion(n_steps=self.n_steps, tau=PAPER_TAU)
            end = paper.time_sought(step, net, draws)
            return end, paper.legs(end, float(net.schedule.lowest.t))
        n_train = net.schedule.n_train
        every = max(1, n_train // self.n_steps)
        t = step.dst.host.t * n_train
        t = torch.where((t - t.round()).abs() < 1e-6, t.round(), t)  # of an entry it is a whole number but for rounding
        late = (draws.uniform(Purpose.TAU, step.index) * n_train / self.n_steps).floor()
        end = (t + late).clamp(max=n_train - 1)
        grid = torch.arange(self.n_steps, dtype=torch.float64) * every + 1
        n_below = (grid[:, None] < t).sum(0)  # of each row
        ends = torch.cat([torch.zeros(1, dtype=torch.float64), grid])
        legs = []
        for k in range(int(n_below.max()) + 1):
            target = ends[k + 1] if k + 1 < len(ends) else ends[-1]
            both = torch.broadcast_tensors(ends[k : k + 1], torch.where(n_below > k, target, end))
            legs.append((both[0] / n_train, both[1] / n_train, n_below >= k))
        return end / n_train, legs

    def first(self, level: Level, net: Predictor) -> Level:
        """The first source, with what the network is told there."""
        unit = net.model.per_timestep if self.rolled and isinstance(net.model, CountsTimesteps) else None
        if unit is None:
            return level
        index = 1 - max(1, net.schedule.n_train // self.n_steps)
        like = level.t if level.told is None else level.told
        return replace(level, told=torch.full_like(like, index * unit))

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        t, legs = self.times(step, net, draws)
        n, gamma = len(x0), net.guidance.gamma_of(self.guidance_scale)
        taking = [torch.arange(n)[taken.expand(n)] for _, _, taken in legs]
        own = [each if len(each) == 1 else each[rows] for leg, rows in zip(legs, taking, strict=True) for each in leg[:2]]
        top, *ends = net.levels([t, *own])
        sources, targets = [self.first(ends[0], net), *ends[2::2]], ends[1::2]
        xi = draws.normal(Purpose.ENTROPY, step.index, (self.n_steps + 1, *x0.shape[1:])) if self.eta else None
        added = torch.zeros_like(x0)  # x_bar - x0
        if self.unscaled:
            added = added + expand(1 / sources[0].alpha_bar.sqrt() - 1, x0) * x0
        for k, (rows, source, target) in enumerate(zip(taking, sources, targets, strict=True)):
            whole = len(rows) == n
            here = rows if whole else rows.to(x0.device)
            x_bar = x0 + added if whole else x0[here] + added[here]
            x = noisy(x_bar, torch.zeros_like(x_bar), source)
            found = net(x, source, scale=gamma, rows=None if whole else rows.tolist(), use=Use.INVERSION)
            rise = found.shifted(expand(target.sigma - source.sigma, x) * found.eps)
            if xi is not None and self.each_step:
                rise = rise + self.eta * expand(deviation(source, target), x) * (xi[:, k] if whole else xi[here, k])
            added = added + rise if whole else added.index_add(0, here, rise)
        if xi is not None and not self.each_step:
            added = added + self.eta * expand(top.sigma, x0) * xi[:, 0]
        if not self.as_found:
            return Proposal(added / expand(top.sigma, x0))
        kept = expand(top.alpha_bar.sqrt(), x0) / expand(step.dst.alpha_bar.sqrt(), x0)
        return Proposal((kept * added + (kept - 1) * x0) / expand(step.dst.sigma, x0))


def deviation(source: Level, target: Level) -> Float[Tensor, " rows"]:
    """sqrt(V / ab_u): DDIM's standard deviation of a step from u down to s (arXiv 2010.02502, eq. 16), in x_bar at u."""
    s, u = source.sigma.square(), target.sigma.square()
    return (s / (1 + s) * (1 + u) / u * (u - s)).clamp(min=0).sqrt()
