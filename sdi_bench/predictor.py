"""A model bound to a schedule, a guidance and a batch of prompts: what samplers and kappa ask. It counts what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .guidance import Guidance, Prompt
from .levels import Level, expand, placed
from .models.base import Denoiser, HasOutput, IsTold, Prediction, Rules, rules_of
from .schedules import Schedule


class Use(StrEnum):
    """What a network row was spent on."""

    CONDITIONAL = "conditional"
    UNCONDITIONAL = "unconditional"
    INVERSION = "inversion"
    OTHER = "other"


@dataclass
class Cost:
    """Network rows by use (one row: one image through the network once). A meter: it is read, never acted upon."""

    rows: dict[Use, int] = field(default_factory=lambda: dict.fromkeys(Use, 0))

    def add(self, use: Use, rows: int) -> None:
        """Count rows."""
        self.rows[use] += rows


class Guided(NamedTuple):
    """The guided prediction (x0, eps), each [batch, *shape], and the raw ones behind it, [conds, batch, *shape].

    moved: how far the model's rules moved x0 while eps stayed as it was predicted, so that the pair belongs to x + a·moved:
    whatever goes on from x and eps must go on from there, `shifted`. None where no rule applies, or eps has moved along.
    """

    x0: Tensor
    eps: Tensor
    raw: Prediction
    moved: Tensor | None = None

    def shifted(self, x: Tensor, by: Float[Tensor, " rows"] | None = None) -> Tensor:
        """x + by·moved (by: 1 unless it is given), x itself where nothing has moved."""
        if self.moved is None:
            return x
        return x + (self.moved if by is None else expand(by, x) * self.moved)


@dataclass(frozen=True)
class Predictor:
    """eps_theta of the paper: `model` under `guidance`, for one batch of `prompts`."""

    model: Denoiser
    schedule: Schedule
    guidance: Guidance
    prompts: tuple[Prompt, ...]
    device: torch.device | str = "cpu"
    cost: Cost = field(default_factory=Cost)

    @cached_property
    def rules(self) -> Rules:
        """Those that the model comes with."""
        return rules_of(self.model)

    def level(self, t: Float[Tensor, " rows"] | float) -> Level:
        """The schedule's level at t, for a batch on this predictor's device."""
        return self.placed([self.schedule.level(torch.as_tensor(t, dtype=torch.float64).cpu())])[0]

    def levels(self, times: Sequence[Float[Tensor, " _"]]) -> list[Level]:
        """The schedule's levels at several times, each [rows] on the host, for a batch on this predictor's device."""
        whole, sizes = self.schedule.level(torch.cat(list(times))), [len(t) for t in times]
        columns = [getattr(whole, name).split(sizes) for name in "abt"]
        return self.placed([Level(*each) for each in zip(*columns, strict=True)])

    def placed(self, levels: Sequence[Level]) -> list[Level]:
        """Levels on the host as the batch needs them, with what the model's network is told there; one copy for all."""
        return placed(levels, self.device, self.model.told if isinstance(self.model, IsTold) else None)

    def __call__(
        self,
        x: Float[Tensor, "batch *shape"],
        level: Level,
        *,
        scale: float | None = None,
        rows: Tensor | None = None,
        use: Use | None = None,
    ) -> Guided:
        """The guided prediction at x.

        scale: another gamma than the sampler's, in the convention of eq. 3.
        rows: x holds only these rows of the batch (indices, on the host).
        use: what to book the rows on; by default each condition on its own account.
        """
        guidance = self.guidance if scale is None else self.guidance.at(scale)
        prompts: Sequence[Prompt] = self.prompts
        if rows is not None:
            index = rows.tolist()
            guidance, prompts = guidance.rows(index), [self.prompts[i] for i in index]
        conds = guidance.conds(prompts)
        for i in range(len(conds)):
            base = guidance.gamma == 0 or (len(conds) > 1 and i == 0)
            self.cost.add(use or (Use.UNCONDITIONAL if base else Use.CONDITIONAL), x.shape[0])
        raw = self.model.predict(x, level, conds)
        x0, eps = guidance.combine(raw.x0), guidance.combine(raw.eps)
        if self.rules.guided is not None and len(conds) > 1 and isinstance(self.model, HasOutput):
            output = self.model.parametrisation
            told = output.encode(raw.x0[1], raw.eps[1], level)
            x0, eps = output.decode(self.rules.guided(output.encode(x0, eps, level), told), x, level)
        if self.rules.bound is None:
            return Guided(x0, eps, raw)
        bounded = self.rules.bound(x0)
        moved = bounded - x0
        if self.rules.keeps_eps:
            return Guided(bounded, eps, raw, moved)
        return Guided(bounded, eps - moved / expand(level.sigma, x), raw)
