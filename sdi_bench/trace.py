"""The trace of a run: numbers along the way that figures are drawn from, kept with every shard. It asks the network nothing."""

import math
from typing import Any

import numpy as np
import torch

from .probes.base import evenly
from .samplers import State

LEVELS, VALUES = 24, 64
"""States of a path at most, and values of an x0, of which something is kept: some 8 KB an item."""

AT_ONCE = 2**18
"""Values of an x0, over items and states, that are worked on at once."""

PARTS = ("gradient", "noise", "residual")
"""What is kept of a state, by eq. 10 of arXiv 2405.15891: sigma·(eps - kappa), or what else the direction makes of it; kappa;
eps - kappa, the error of eq. 8 at the level where the network was asked."""


def spread_over(shape: tuple[int, ...]) -> slice:
    """VALUES at most of an x0's values, flattened, evenly spaced: all of a small one. The stride meets a picture's columns."""
    stride = -(-math.prod(shape) // VALUES)
    while math.gcd(stride, shape[-1]) > 1:
        stride += 1
    return slice(None, None, stride)


class Trace:
    """What is kept of a batch of items on their way, of LEVELS states at most, the start apart:

    index [levels]: which states. sigma [items, levels]: their levels. rms [items, levels, 3]: root mean square of each of PARTS
    over an x0, float32. values [items, levels, 2, VALUES]: gradient and noise at values spread over x0, float16.

    A sampler that carries x is read as eq. 10 reads it: its gradient is x0 before less x0, and the noise that x holds beside
    the x0 before is kappa = eps + (x0 - x0 before)/sigma; of DDIM that is the prediction before. So it is where no rule of a
    checkpoint bounds x0; at sigma = 0 it is not finite. Nothing depends on the other items of the batch.
    """

    def __init__(self, n_states: int, before: dict[str, np.ndarray] | None = None) -> None:
        """n_states: of the sampler. before: `arrays` of the states that were seen before a batch was broken off."""
        self.places = set(evenly(n_states, LEVELS + 1)[1:])
        self.before = before
        self.index: list[int] = []
        self.seen: list[tuple[Any, ...]] = []
        self.sigma: list[torch.Tensor] = []
        self.rms: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self.last: torch.Tensor | None = None

    def see(self, state: State) -> None:
        """The next state."""
        before, self.last = self.last, state.x0
        if state.index not in self.places:
            return
        self.carries_x = state.kappa is None or state.gradient is None
        two = (state.x0, before) if self.carries_x else (state.gradient, state.kappa)
        self.index.append(state.index)
        self.seen.append((state.level.a, state.level.b, state.eps, *two))
        if len(self.seen) * state.x0.numel() > AT_ONCE:
            self.take()

    def take(self) -> None:
        """Work out what is kept of the states seen; of small ones several at once, which saves most of the time."""
        if not self.seen:
            return
        some = spread_over(tuple(self.seen[0][2].shape[1:]))
        a, b, *seen = (torch.stack(column) for column in zip(*self.seen, strict=True))
        self.seen = []
        eps, gradient, noise = (part.flatten(2) for part in seen)
        sigma = (b / a).expand(eps.shape[:2])
        if self.carries_x:
            gradient = noise - gradient
            noise = eps - gradient / sigma[..., None]
        parts = torch.stack([gradient, noise, eps - noise])
        self.sigma.append(sigma)
        self.rms.append((torch.linalg.vector_norm(parts, dim=3) / math.sqrt(eps.shape[2])).float())
        self.values.append(parts[:2, ..., some].half())

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept so far; nothing where nothing was seen."""
        self.take()
        if not self.index:
            return dict(self.before or {})
        found = {"index": np.array(self.index), "sigma": torch.cat(self.sigma).cpu().numpy().T}
        found["rms"] = torch.cat(self.rms, dim=1).cpu().numpy().transpose(2, 1, 0)
        found["values"] = torch.cat(self.values, dim=1).cpu().numpy().transpose(2, 1, 0, 3)
        if not self.before:
            return found
        return {name: np.concatenate([self.before[name], found[name]], axis=min(1, found[name].ndim - 1)) for name in found}
