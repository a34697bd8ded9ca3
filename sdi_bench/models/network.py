"""Any network as a Denoiser: one cast in, one cast out, one parametrisation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..coordinates import Epsilon, Parametrisation
from ..guidance import Prompt
from ..levels import Level, spread
from ..schedules import RectifiedFlow, Schedule, scaled_linear
from .base import Conds, Denoiser, Prediction, check_known


@dataclass(frozen=True)
class Network:
    """A callable (x, t, prompts) -> output in the network's own precision, read through a parametrisation.

    forward: x [rows, *shape] in `dtype`, t [rows] in [0, 1] in float32 at least (bfloat16 has no 981 of 1000), a prompt per
    row -> [rows, *shape].
    All conditions go through the network in one batch. State stays float64 outside.
    prompts: what it may be asked for; empty where anything goes. fingerprint: a hash of the weights.
    """

    forward: Callable[[Tensor, Tensor, Sequence[Prompt]], Tensor]
    shape: tuple[int, ...]
    parametrisation: Parametrisation = Epsilon()
    dtype: torch.dtype = torch.float32
    prompts: tuple[str, ...] = ()
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.shape, tuple) or not all(isinstance(side, int) and side > 0 for side in self.shape):
            raise ValueError(f"network.shape={self.shape!r}: must be a tuple of whole numbers > 0, as (3, 64, 64)")
        if not isinstance(self.dtype, torch.dtype) or not self.dtype.is_floating_point:
            raise ValueError(f"network.dtype={self.dtype!r}: must be a floating-point type, as torch.float32")

    @property
    def time_dtype(self) -> torch.dtype:
        """That of t."""
        return torch.promote_types(self.dtype, torch.float32)

    @property
    def schedule(self) -> Schedule:
        """What it is sampled on unless another is given: Stable Diffusion's, or rectified flow where only that fits."""
        return next(each for each in (scaled_linear(), RectifiedFlow()) if self.parametrisation.fits(each.level(0.5)))

    def check_schedule(self, schedule: Schedule) -> None:
        """Raise ValueError if a network of this output cannot have been trained on it."""
        if not self.parametrisation.fits(schedule.level(0.5)):
            raise ValueError(
                f"schedule={type(schedule).__name__}: not one on which {type(self.parametrisation).__name__} is a velocity, "
                "a + b = 1; use RectifiedFlow (schedule=flow)"
            )

    def check_prompt(self, prompt: Prompt) -> None:
        if self.prompts:
            check_known(prompt, self.prompts)

    def output(self, x: Tensor, t: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """What `forward` gives, in float64. Raises ValueError if that is no row for each of x."""
        out = self.forward(x.to(self.dtype), t, prompts)
        if not isinstance(out, Tensor) or out.shape != x.shape:
            given = f"a tensor {list(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
            raise ValueError(f"network.forward: gave {given}, must give a tensor of the shape of x, {list(x.shape)}")
        return out.to(torch.float64)

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        n = len(conds)
        if n == 1:  # the usual case: no copies
            out = self.output(x, spread(level.t, len(x), x, self.time_dtype), conds[0])
            return Prediction(*(half[None] for half in self.parametrisation.decode(out, x, level)))
        rows = x.expand(n, *x.shape).flatten(0, 1)
        t = spread(level.t, len(x), x, self.time_dtype).repeat(n)
        flat = [prompt for prompts in conds for prompt in prompts]
        out = self.output(rows, t, flat).reshape(n, *x.shape)
        halves = [self.parametrisation.decode(row, x, level) for row in out]
        return Prediction(torch.stack([x0 for x0, _ in halves]), torch.stack([eps for _, eps in halves]))


@dataclass(frozen=True)
class Reparametrised:
    """An exact model seen as a network of another parametrisation: its prediction is encoded and decoded again."""

    model: Denoiser
    parametrisation: Parametrisation

    @property
    def shape(self) -> tuple[int, ...]:
        return self.model.shape

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.model.prompts

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    def check_prompt(self, prompt: Prompt) -> None:
        self.model.check_prompt(prompt)

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        exact = self.model.predict(x, level, conds)
        halves = [
            self.parametrisation.decode(self.parametrisation.encode(x0, eps, level), x, level)
            for x0, eps in zip(exact.x0, exact.eps, strict=True)
        ]
        return Prediction(torch.stack([x0 for x0, _ in halves]), torch.stack([eps for _, eps in halves]))
