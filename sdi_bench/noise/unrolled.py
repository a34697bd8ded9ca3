"""kappa by inversion as LucidDreamer's code runs it: strides of fixed length, from a lightly noised x0."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from .. import require
from ..draws import Draws, Purpose
from ..levels import Step, expand
from ..predictor import Predictor
from .base import Image, Last, Proposal
from .inversion import Inversion


@dataclass(frozen=True)
class Unrolled(Inversion):
    """ISM's inversion (arXiv 2311.11284, eq. 11) with the settings of the released code, which the paper has not:

    from x0 + sigma·N(0, I) at the schedule's lowest level, in strides of `stride` (delta_s) and a rest, up to t - interval, and
    from there to t. The interval (delta_t) falls from interval_warm to `interval` in the first warm_up steps.

    0 < stride <= 1, 0 < interval, interval_warm < 1, warm_up >= 0; n_steps has no say. Raises ValueError, naming the field,
    otherwise. Left out: a tenth of noise that is the same all over a channel.
    """

    guidance_scale: float = 0.0
    tau: float | None = 0.0
    entropy: float = 0.0
    interval: float | None = 0.08
    stride: float = 0.2
    interval_warm: float = 0.1
    warm_up: int = 1500

    def __post_init__(self) -> None:
        super().__post_init__()
        require.number("noise.interval", self.interval, above=0, below=1)
        require.number("noise.interval_warm", self.interval_warm, above=0, below=1)
        require.number("noise.stride", self.stride, above=0, at_most=1)
        require.count("noise.warm_up", self.warm_up, least=0)

    def legs(self, t: Float[Tensor, " rows"], start: float) -> list[tuple[Tensor, Tensor, Tensor]]:
        assert self.interval is not None
        end = (t - self.interval).clamp(min=start)
        counts = ((end - start) / self.stride - 1e-9).ceil().clamp(min=0)
        legs = []
        for k in range(int(counts.max().item())):
            source = (start + k * self.stride) * torch.ones_like(end)
            legs.append((source, torch.minimum(source + self.stride, end), k < counts))
        return [*legs, (end, t, torch.ones_like(t, dtype=torch.bool))]

    def start(self, x0: Image, step: Step, net: Predictor, draws: Draws) -> Image:
        return expand(net.schedule.lowest.sigma, x0) * draws.normal(Purpose.KAPPA, step.index, tuple(x0.shape[1:]))

    def propose(self, x0: Image, step: Step, last: Last, net: Predictor, draws: Draws) -> Proposal:
        assert self.interval is not None
        longer = (self.interval_warm - self.interval) * max(0.0, 1 - step.index / self.warm_up) if self.warm_up else 0.0
        return Inversion.propose(replace(self, interval=self.interval + longer), x0, step, last, net, draws)
