"""A model bound to a schedule, a guidance and a batch of prompts: what samplers and kappa ask. It counts what it costs."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache, cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .guidance import Blend, Guidance, Prompt, Stack
from .levels import Level, expand, joined, placed
from .models.base import Conds, Denoiser, EmbedsText, HasOutput, IsTold, Prediction, Rules, rules_of
from .schedules import Schedule, last_finite


class Use(StrEnum):
    """What a network row was spent on."""

    CONDITIONAL = "conditional"
    UNCONDITIONAL = "unconditional"
    INVERSION = "inversion"
    OTHER = "other"
    TRAINING = "training"


@dataclass
class Cost:
    """Network rows by use (one row: one image through the network once). A meter: it is read, never acted upon."""

    rows: dict[Use, int] = field(default_factory=lambda: dict.fromkeys(Use, 0))

    def add(self, use: Use, rows: int) -> None:
        """Count rows."""
        self.rows[use] += rows


@dataclass
class Guided:
    """The guided prediction (x0, eps), each [batch, *shape], and the raw ones behind it, [conds, batch, *shape].

    moved: how far the model's rules moved x0 while eps stayed as it was predicted, so that the pair belongs to x + a·moved:
    whatever goes on from x and eps must go on from there, `shifted`. None where no rule applies, or eps has moved along.
    """

    eps: Tensor
    raw: Prediction
    guidance: Guidance
    moved: Tensor | None = None

    @cached_property
    def x0(self) -> Tensor:
        """The guided clean images, which are combined once they are asked for, as `Prediction.x0`."""
        return self.guidance.combine(self.raw.x0)

    def shifted(self, x: Tensor, by: Float[Tensor, " rows"] | None = None) -> Tensor:
        """x + by·moved (by: 1 unless it is given), x itself where nothing has moved."""
        if self.moved is None:
            return x
        return x + (self.moved if by is None else expand(by, x) * self.moved)


class Asking(NamedTuple):
    """What a model is asked, [conds][batch]: the guidance's conditions, those without blends, and what each is booked on."""

    guidance: Guidance
    conds: Conds
    asked: Conds
    uses: list[Use]


@dataclass(frozen=True)
class Predictor:
    """eps_theta of the paper: `model` under `guidance`, for one batch of `prompts`.

    plain: the prompts without words for the view, if those have some. once: what is made once for a batch, by who made it.
    """

    model: Denoiser
    schedule: Schedule
    guidance: Guidance
    prompts: tuple[Prompt, ...]
    device: torch.device | str = "cpu"
    cost: Cost = field(default_factory=Cost)
    plain: tuple[Prompt, ...] = ()
    once: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.plain:
            object.__setattr__(self, "plain", self.prompts)

    @cached_property
    def rules(self) -> Rules:
        """Those that the model comes with."""
        return rules_of(self.model)

    @cached_property
    def last_finite(self) -> float:
        """The latest time at which sigma is finite, of those that the training table has."""
        return last_finite(self.schedule)

    @cached_property
    def _told(self) -> Callable[[Level], Tensor] | None:
        """What the model's network is told at a level, where it is told anything."""
        return self.model.told if isinstance(self.model, IsTold) else None

    @cached_property
    def _embeds(self) -> bool:
        """Does the model make of a prompt what it can mix with that of another?"""
        return isinstance(self.model, EmbedsText)

    @cached_property
    def _asking(self) -> Callable[[float | None], "Asking"]:
        """What the whole batch is asked at a scale, worked out once."""
        return cache(lambda scale: self._asked(self.guidance if scale is None else self.guidance.at(scale), self.prompts))

    def _asked(self, guidance: Guidance, prompts: Sequence[Prompt]) -> "Asking":
        """What some rows are asked."""
        conds = guidance.conds(prompts)
        asked = conds if self._embeds else parts_of(conds)
        base = [guidance.gamma == 0 or (len(asked) > 1 and i == 0) for i in range(len(asked))]
        return Asking(guidance, conds, asked, [Use.UNCONDITIONAL if each else Use.CONDITIONAL for each in base])

    def rows(self, index: Sequence[int]) -> "Predictor":
        """The same for some rows of the batch; what they cost is counted with the rest."""
        prompts, plain = (tuple(each[i] for i in index) for each in (self.prompts, self.plain))
        return replace(self, prompts=prompts, plain=plain, guidance=self.guidance.rows(index), once={})

    def level(self, t: Float[Tensor, " rows"] | float) -> Level:
        """The schedule's level at t, for a batch on this predictor's device."""
        return self.levels([torch.as_tensor(t, dtype=torch.float64).reshape(-1).cpu()])[0]

    def levels(self, times: Sequence[Float[Tensor, " _"]]) -> list[Level]:
        """The schedule's levels at several times, each [rows] on the host, for a batch on this predictor's device."""
        return placed(self.schedule.level(torch.cat(list(times))), [len(t) for t in times], self.device, self._told)

    def placed(self, levels: Sequence[Level]) -> list[Level]:
        """Levels on the host as the batch needs them, with what the model's network is told there; one copy for all."""
        return placed(joined(levels), [len(level.t) for level in levels], self.device, self._told)

    def __call__(
        self,
        x: Float[Tensor, "batch *shape"],
        level: Level,
        *,
        scale: float | None = None,
        rows: Sequence[int] | None = None,
        use: Use | None = None,
    ) -> Guided:
        """The guided prediction at x.

        scale: another gamma than the sampler's, in the convention of eq. 3. rows: x holds only these rows of the batch.
        use: what to book the rows on; by default each condition on its own account.
        """
        asking = self._asking(scale)
        if rows is not None:
            asking = self._asked(asking.guidance.rows(rows), [self.prompts[i] for i in rows])
        guidance, conds, asked, uses = asking
        for own in uses:
            self.cost.add(use or own, x.shape[0])
        raw = self.model.predict(x, level, asked)
        if asked is not conds:
            raw = Prediction(*(blended(half, asked, conds) for half in raw))
        found = Guided(guidance.combine(raw.eps), raw, guidance)
        if self.rules.guided is not None and len(conds) > 1 and isinstance(self.model, HasOutput):
            output = self.model.parametrisation
            told = output.encode(raw.x0[1], raw.eps[1], level)
            guided = self.rules.guided(output.encode(found.x0, found.eps, level), told)
            found.x0, found.eps = output.decode(guided, x, level)
        if self.rules.bound is not None:
            bounded = self.rules.bound(found.x0)
            moved = bounded - found.x0
            if self.rules.keeps_eps:
                found.moved = moved
            else:
                found.eps = found.eps - moved / expand(level.sigma, x)
            found.x0 = bounded
        return found


def ends_of(prompts: Sequence[Prompt]) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """The two prompts that each row's is between; a plain one twice."""
    pairs = [(prompt.one, prompt.other) if isinstance(prompt, Blend) else (prompt, prompt) for prompt in prompts]
    return tuple(one for one, _ in pairs), tuple(other for _, other in pairs)


def parts_of(conds: Conds) -> Conds:
    """The conditions without blends, each once: what a model that embeds no text is asked for in their place."""
    if not any(isinstance(prompt, Blend) for prompts in conds for prompt in prompts):
        return conds
    return list(dict.fromkeys(end for prompts in conds for end in ends_of(prompts)))


def blended(half: Float[Tensor, "asked batch *shape"], asked: Conds, conds: Conds) -> Stack:
    """Predictions for `asked` -> for `conds`: those of a blend are mixed as it says."""
    rows = []
    for prompts in conds:
        one, other = (half[list(asked).index(end)] for end in ends_of(prompts))
        share = torch.tensor([prompt.share if isinstance(prompt, Blend) else 1.0 for prompt in prompts], dtype=half.dtype)
        rows.append(one if bool((share == 1).all()) else torch.lerp(other, one, expand(share.to(half.device), half[0])))
    return torch.stack(rows)
