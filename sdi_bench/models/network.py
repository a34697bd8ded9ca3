"""Any network as a Denoiser: one cast in, one cast out, one parametrisation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..coordinates import Epsilon, Parametrisation
from ..guidance import Prompt
from ..levels import Level
from .base import Conds, Denoiser, Prediction, check_known


@dataclass(frozen=True)
class Network:
    """A callable (x, t, prompts) -> output in the network's own precision, read through a parametrisation.

    forward: x [rows, *shape] in `dtype`, t [rows] in [0, 1] in `dtype`, a prompt per row -> [rows, *shape].
    All conditions go through the network in one batch. State stays float64 outside.
    prompts: what it may be asked for; empty where anything goes. fingerprint: a hash of the weights.
    """

    forward: Callable[[Tensor, Tensor, Sequence[Prompt]], Tensor]
    shape: tuple[int, ...]
    parametrisation: Parametrisation = Epsilon()
    dtype: torch.dtype = torch.float32
    prompts: tuple[str, ...] = ()
    fingerprint: str = ""

    def check_prompt(self, prompt: Prompt) -> None:
        if self.prompts:
            check_known(prompt, self.prompts)

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        n = len(conds)
        if n == 1:  # the usual case: no copies
            out = self.forward(x.to(self.dtype), level.t.to(self.dtype).expand(x.shape[0]), conds[0]).to(torch.float64)
            return Prediction(*(half[None] for half in self.parametrisation.decode(out, x, level)))
        rows = x.to(self.dtype).expand(n, *x.shape).flatten(0, 1)
        t = level.t.to(self.dtype).expand(n, x.shape[0]).flatten()
        flat = [prompt for prompts in conds for prompt in prompts]
        out = self.forward(rows, t, flat).to(torch.float64).reshape(n, *x.shape)
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
