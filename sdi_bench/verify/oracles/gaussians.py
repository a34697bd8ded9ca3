"""Gaussian data along its eigen-directions, what an oracle claims there, and the recursions it is written with."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...draws import Draws
from ...grids import Grid
from ...guidance import Guidance
from ...models import Gaussian
from ...predictor import Predictor
from ...samplers import Sampler, State
from ...schedules import Schedule
from .basis import BasisDraws, NoDraws

Array = Float[np.ndarray, "*rows dim"]
"""One number per eigen-direction (and per row, where sigma differs from row to row)."""

Number = Array | float

Sigma = float | Float[np.ndarray, "*rows 1"]


class Ends(NamedTuple):
    """A step as eq. 10 names it: kappa is sought at (sigma, t), the network is asked at (sigma_next, t_next)."""

    sigma: float
    sigma_next: float
    t: float
    t_next: float
    number: int


class Moments(NamedTuple):
    """Mean and variance of x0 after each state; both [states, dim], along the eigen-directions."""

    mean: Float[np.ndarray, "states dim"]
    variance: Float[np.ndarray, "states dim"]


class Law(NamedTuple):
    """N(mean, variance) in each eigen-direction."""

    mean: Array
    variance: Array


@dataclass(frozen=True)
class Case:
    """Gaussian data of one class and its marginal, with the same eigenvectors (columns of `basis`); a grid; a gamma.

    Along an eigenvector everything linear decouples, and standard normal draws stay so: one-dimensional recursions do.
    """

    name: str
    cond: Law
    marginal: Law
    basis: Float[np.ndarray, "dim dim"]
    schedule: Schedule
    grid: Grid
    gamma: float

    @property
    def guidance(self) -> Guidance:
        """What a sampler under test is given."""
        return Guidance(self.gamma)

    @cached_property
    def model(self) -> Gaussian:
        """The library's model of these data; the class is called "c"."""
        u = torch.from_numpy(self.basis)
        laws = [(u @ torch.from_numpy(m), u @ torch.diag(torch.from_numpy(v)) @ u.T) for m, v in (self.cond, self.marginal)]
        return Gaussian.of({"c": laws[0]}, laws[1])

    @cached_property
    def steps(self) -> list[Ends]:
        """The grid's steps; number counts from 1."""
        ends = [(float(level.sigma), float(level.t)) for level in self.grid.levels(self.schedule)]
        return [Ends(s, s_next, t, t_next, i) for i, ((s, t), (s_next, t_next)) in enumerate(pairwise(ends), 1)]

    def eps(self, sigma: Sigma, gamma: float | None = None) -> tuple[Array, Array]:
        """(A, B) of the guided prediction eps = A·x_bar - B, at gamma or at the case's own."""
        gamma = self.gamma if gamma is None else gamma
        pair = (gamma, self.cond), (1 - gamma, self.marginal)
        slopes = [(weight * sigma / (law.variance + sigma**2), law.mean) for weight, law in pair]
        return slopes[0][0] + slopes[1][0], slopes[0][0] * slopes[0][1] + slopes[1][0] * slopes[1][1]

    def denoiser(self, sigma: Sigma, gamma: float | None = None) -> tuple[Array, Array]:
        """(d, c) of D = x_bar - sigma·eps = d·x_bar + c; d = 1 - sigma·A, written without the cancellation."""
        gamma = self.gamma if gamma is None else gamma
        pair = (gamma, self.cond), (1 - gamma, self.marginal)
        d = [weight * law.variance / (law.variance + sigma**2) for weight, law in pair]
        return d[0] + d[1], sigma * self.eps(sigma, gamma)[1]

    def predictor(self, n_rows: int, gamma: float | None = None) -> Predictor:
        """The library's predictor for a batch of this class."""
        return Predictor(self.model, self.schedule, Guidance(self.gamma if gamma is None else gamma), ("c",) * n_rows)

    def run(self, sampler: Sampler, draws: Draws, n_rows: int) -> Float[Tensor, "states batch dim"]:
        """The library's x0 after every state, along the eigen-directions."""
        states: list[State] = list(sampler.sample(self.predictor(n_rows, sampler.guidance.scale), draws))
        return torch.stack([state.x0 for state in states]) @ torch.from_numpy(self.basis)

    def moments(self, sampler: Sampler) -> tuple[Moments, int]:
        """The library's mean and variance of x0, and the number of rows behind them."""
        asked = NoDraws()
        self.run(sampler, asked, 1)
        draws = BasisDraws(asked.shapes)
        rows = self.run(sampler, draws, draws.n_rows)
        return Moments(rows[:, 0].numpy(), (rows[:, 1:] - rows[:, :1]).square().sum(1).numpy()), draws.n_rows


class Affine(NamedTuple):
    """Claim: `sampler`'s mean and variance of x0 are `expected`, after every state."""

    setting: str
    sampler: Sampler
    expected: Moments


class Equal(NamedTuple):
    """Claim, where no recursion of moments holds: got = expected, to `unit`."""

    setting: str
    got: Tensor
    expected: Tensor
    unit: Tensor | float


def units(expected: Moments, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """What rounding is allowed to do to the means and to the standard deviations, [states, dim].

    Mean: 1e-11·S. Standard deviation: 1e-11 of itself, and 1e-12·S for the rounding of each row, added in squares.
    S: the largest |mean| + std so far, over directions. Rounding of eps reaches x0 times sigma·(|gamma| + |1 - gamma|),
    up to 1e3·u here; 1e-12 is 9e3·u.
    """
    std = np.sqrt(expected.variance)
    scale = np.maximum.accumulate((np.abs(expected.mean) + std).max(1, keepdims=True))
    return 1e-11 * scale, 1e-11 * std + math.sqrt(n_rows) * 1e-12 * scale


def deviation(case: Case, claim: Affine) -> Tensor:
    """|difference| of means and of standard deviations over what rounding may do; [2, states, dim].

    Recursions that grow are compared while all |mean| < 1e150; from there on the library has to have diverged too.
    """
    (mean, variance), n_rows = case.moments(claim.sampler)
    of_mean, of_std = units(claim.expected, n_rows)
    share = np.stack(
        [
            np.abs(mean - claim.expected.mean) / of_mean,
            np.abs(np.sqrt(variance) - np.sqrt(claim.expected.variance)) / of_std,
        ]
    )
    compared = np.logical_and.accumulate(is_small(claim.expected, 1e150))
    compared[0] = True  # an oracle that starts as NaN is wrong, whatever the library does
    share[:, ~compared] = np.where(is_small(Moments(mean, variance), 1e149)[~compared], np.inf, 0.0)[:, None]
    return torch.from_numpy(share)


def is_small(moments: Moments, bound: float) -> np.ndarray:
    """Per state: mean and standard deviation are numbers below the bound, in every direction."""
    return ((np.abs(moments.mean) < bound) & (moments.variance < bound**2)).all(1)


Claim = Affine | Equal
Oracle = Callable[[Case], Iterator[Claim]]

ORACLES: dict[str, Oracle] = {}
"""The oracle of each yaml, named "sampler/<name>" or "noise/<name>"."""


def oracle(name: str) -> Callable[[Oracle], Oracle]:
    """Enter an oracle under the name of its yaml, such as "noise/fresh"."""

    def enter(function: Oracle) -> Oracle:
        ORACLES[name] = function
        return function

    return enter


Transition = Callable[[Ends], tuple[Number, Number, Number]]
"""One step's (slope, shift, variance): the next noisy image is slope·state + shift + N(0, variance)."""


def of_states(states: Sequence[tuple[Number, Number]], like: Array) -> Moments:
    """Moments from a list of (mean, variance)."""
    mean, variance = ([np.broadcast_to(value, like.shape) for value in column] for column in zip(*states, strict=True))
    return Moments(np.stack(mean), np.stack(variance))


def from_x0(case: Case, transition: Transition, size: float = 1.0) -> Moments:
    """Where x0 is all that is carried: x_bar' = slope·x0 + shift + noise, x0' = (1 - size)·x0 + size·D(x_bar').

    The start is x0 = D(sigma·z), z ~ N(0, 1).
    """
    top = case.steps[0].sigma
    d, c = case.denoiser(top)
    mean, variance = c, (d * top) ** 2
    states = [(mean, variance)]
    for ends in case.steps:
        slope, shift, noise = transition(ends)
        d, c = case.denoiser(ends.sigma_next)
        mean = (1 - size) * mean + size * (d * (slope * mean + shift) + c)
        variance = (1 - size + size * d * slope) ** 2 * variance + (size * d) ** 2 * noise
        states.append((mean, variance))
    return of_states(states, d)


def from_x_bar(case: Case, transition: Transition) -> Moments:
    """Where the noisy image is carried: x_bar' = slope·x_bar + shift + noise, and x0 = D(x_bar) is looked at.

    The start is x_bar = sigma·z. It serves the pair (x0, eps) too: both are affine functions of x_bar.
    """
    top = case.steps[0].sigma
    mean, variance = np.zeros_like(case.cond.mean), np.full_like(case.cond.mean, top**2)
    d, c = case.denoiser(top)
    states = [(d * mean + c, d**2 * variance)]
    for ends in case.steps:
        slope, shift, noise = transition(ends)
        mean, variance = slope * mean + shift, slope**2 * variance + noise
        d, c = case.denoiser(ends.sigma_next)
        states.append((d * mean + c, d**2 * variance))
    return of_states(states, d)
