"""Mixtures of isotropic Gaussians, and the optimal denoiser of a finite image set (the same thing, large)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import require
from ..data.shipped import HERE, shipped
from ..guidance import Guidance, Prompt
from ..levels import Level, expand
from .base import Conds, Prediction, check_known, float64

DIGITS = HERE / "digits.npz"


def row_norm(x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch 1"]:
    """Euclidean length of each row."""
    return x.norm(dim=1, keepdim=True)


class _Components:
    """What Mixture and Empirical share: centres with labels, and posterior weights in log space."""

    centres: Float[Tensor, "n *shape"]
    labels: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.centres.shape[1:])

    @property
    def prompts(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.labels)))

    @property
    def fingerprint(self) -> str:
        return ""

    @cached_property
    def log_priors(self) -> Mapping[Prompt, Float[Tensor, " n"]]:
        """prompt -> log weight of each component; -inf outside the class, uniform inside."""
        labels = np.array(self.labels)
        masks = {None: np.ones(len(labels), bool)} | {name: labels == name for name in sorted(set(self.labels))}
        with np.errstate(divide="ignore"):
            return {prompt: torch.from_numpy(np.log(mask / mask.sum())) for prompt, mask in masks.items()}

    def check_prompt(self, prompt: Prompt) -> None:
        check_known(prompt, self.prompts)

    def log_prior(self, prompts: Sequence[Prompt]) -> Float[Tensor, "batch n"]:
        """One row of log weights per prompt."""
        return torch.stack([self.log_priors[prompt] for prompt in prompts])

    def pick(self, prompts: Sequence[Prompt], rng: np.random.Generator) -> Int[Tensor, " batch"]:
        """A component for each prompt, drawn by its prior."""
        gumbel = torch.from_numpy(rng.gumbel(size=(len(prompts), len(self.labels))))
        return (self.log_prior(prompts) + gumbel).argmax(1)


@dataclass(frozen=True)
class Mixture(_Components):
    """Exact denoiser of a mixture of isotropic Gaussians, each of a class; all components weigh the same.

    centres: [n, *shape]. labels: the class of each. widths: the standard deviation of each, >= 0.
    Raises ValueError if their lengths differ or a width is negative.
    """

    centres: Float[Tensor, "n *shape"]
    labels: tuple[str, ...]
    widths: Float[Tensor, " n"]

    def __post_init__(self) -> None:
        if not len(self.centres) == len(self.labels) == len(self.widths):
            raise ValueError(f"mixture: {len(self.centres)} centres, {len(self.labels)} labels, {len(self.widths)} widths")
        if bool((self.widths < 0).any()):
            raise ValueError(f"widths={self.widths.tolist()}: must be >= 0")

    @staticmethod
    def of(centres: Sequence, labels: Sequence[str], widths: Sequence[float]) -> "Mixture":
        """From plain numbers."""
        return Mixture(
            torch.as_tensor(centres, dtype=torch.float64),
            tuple(labels),
            torch.as_tensor(widths, dtype=torch.float64),
        )

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        x = float64(x)
        a, b = level.a[:, None], level.b[:, None]
        spread = b.square() + a.square() * self.widths.square()
        gap = x[:, None] - expand(level.a, x)[:, None] * self.centres
        dim = self.centres[0].numel()
        fit = -gap.flatten(2).square().sum(2) / (2 * spread) - dim / 2 * spread.log()
        x0, eps = [], []
        for prompts in conds:
            weights = (fit + self.log_prior(prompts)).softmax(1)
            x0.append(
                torch.einsum("bn,n...->b...", weights, self.centres)
                + torch.einsum("bn,bn...->b...", weights * a * self.widths.square() / spread, gap)
            )
            eps.append(torch.einsum("bn,bn...->b...", weights * b / spread, gap))
        return Prediction(torch.stack(x0), torch.stack(eps))

    def sample(self, prompts: Sequence[Prompt], rng: np.random.Generator) -> Float[Tensor, "batch *shape"]:
        index = self.pick(prompts, rng)
        z = torch.from_numpy(rng.standard_normal((len(prompts), *self.shape)))
        return self.centres[index] + expand(self.widths[index], z) * z

    def check_root(self, guidance: Guidance) -> None:
        """Raises ValueError outside 0 <= gamma <= 1, where the root need not be unique, and for widths of 0."""
        if not 0 <= guidance.gamma <= 1:
            raise ValueError(f"guidance.scale={guidance.scale}: a mixture's root of eq. 8 is unique for 0 <= scale <= 1 only")
        if not bool((self.widths > 0).all()):
            raise ValueError("widths: the root of eq. 8 is undetermined at width 0")

    def exact_root(
        self, x0: Float[Tensor, "batch *shape"], level: Level, prompts: Sequence[Prompt], guidance: Guidance
    ) -> Float[Tensor, "batch *shape"]:
        """Solve D(x_bar) = x0 by damped Newton, all rows at once, from x_bar = x0; then kappa = (x_bar - x0) / sigma.

        The slope of D, its posterior covariance over sigma², is symmetric and at least w² / (w² + sigma²), w the
        smallest width: so D is one-to-one and onto, and a Newton step, halved until |x0 - D| falls by a fair share, gets
        there from anywhere. Ends when the step no longer changes x_bar, or none makes |x0 - D| fall: at the last bit.
        """
        self.check_root(guidance)
        goal = float64(x0).flatten(1)
        x_bar, size = goal, torch.ones(len(goal), 1, dtype=torch.float64)
        gap, move = self._newton(goal, x_bar, level, prompts, guidance)
        while bool(((size > 2.0**-40) & (size * row_norm(move) > 2.0**-53 * row_norm(x_bar))).any()):
            trial = x_bar + size * move
            new_gap, new_move = self._newton(goal, trial, level, prompts, guidance)
            better = row_norm(new_gap) < (1 - size / 4) * row_norm(gap)
            x_bar = torch.where(better, trial, x_bar)
            gap, move = torch.where(better, new_gap, gap), torch.where(better, new_move, move)
            size = torch.where(better, 1.0, size / 2)
        return ((x_bar - goal) / level.sigma[:, None]).reshape(x0.shape)

    def _newton(
        self,
        x0: Float[Tensor, "batch dim"],
        x_bar: Float[Tensor, "batch dim"],
        level: Level,
        prompts: Sequence[Prompt],
        guidance: Guidance,
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim"]]:
        """x0 - D(x_bar), and Newton's step: the slope of D, the posterior covariance over sigma², divides that gap."""
        variance = level.sigma.square()[:, None]
        spread = variance + self.widths.square()
        share = (self.widths.square() / spread)[..., None]
        centres = self.centres.flatten(1)
        from_centre = x_bar[:, None] - centres
        means = centres + share * from_centre  # of each component's posterior
        fit = -from_centre.square().sum(2) / (2 * spread) - x0.shape[1] / 2 * spread.log()
        gap, slope = x0, torch.zeros_like(x0).diag_embed()
        for weight, conds in ((1 - guidance.gamma, [guidance.negative] * len(x0)), (guidance.gamma, prompts)):
            w = (fit + self.log_prior(conds)).softmax(1)[..., None]
            mean = (w * means).sum(1)
            around = means - mean[:, None]
            within = (w * share).sum(1).expand_as(x0).diag_embed()
            gap = gap - weight * mean
            slope = slope + weight * (within + around.mT @ (w * around) / variance[..., None])
        return gap, torch.linalg.solve(slope, gap)


@dataclass(frozen=True)
class Empirical(_Components):
    """The optimal denoiser of a finite set of images, each blurred by an isotropic kernel of standard deviation `width`.

    D(x) = sum_i w_i·[x_i + a·width²/v·(x - a·x_i)],  w = softmax(log prior - |x - a·x_i|²/2v),  v = b² + a²·width²

    At width 0 it can only return (blends of) its images. centres: [n, *shape] in [-1, 1]; width >= 0 in the same unit.
    Raises ValueError if labels and images do not match or width < 0.
    """

    centres: Float[Tensor, "n *shape"]
    labels: tuple[str, ...]
    width: float = 0.2

    def __post_init__(self) -> None:
        if len(self.centres) != len(self.labels):
            raise ValueError(f"empirical: {len(self.centres)} images but {len(self.labels)} labels")
        require.number("model.width", self.width, at_least=0)

    @staticmethod
    def of(path: str | Path | None = None, width: float = 0.2) -> "Empirical":
        """From a .npz file: `images`, uint8 [n, channels, height, width], and `labels`, [n].

        The default is the UCI handwritten digits that ship with the package (8 x 8, CC BY 4.0).
        Raises ValueError, naming the file, if it cannot be read or is not such a set.
        """
        require.number("model.width", width, at_least=0)
        path = shipped(DIGITS.name) if path is None else path
        try:
            with np.load(path, allow_pickle=False) as archive:
                images, labels = archive["images"], archive["labels"]
        except Exception as error:  # a damaged archive can fail in zipfile, zlib, tokenize, ...: there is no common base
            why = error.strerror if isinstance(error, OSError) else "not a .npz file with images and labels"
            raise ValueError(f"model.path={str(path)!r}: not a readable image set ({why})") from error
        if images.dtype != np.uint8 or images.ndim != 4 or labels.shape != images.shape[:1] or not len(labels):
            raise ValueError(
                f"model.path={str(path)!r}: needs images uint8 [n, channels, height, width] and labels [n], "
                f"got {images.dtype} {list(images.shape)} and {list(labels.shape)}"
            )
        centres = torch.from_numpy(images.astype(np.float64) / 127.5 - 1)
        return Empirical(centres, tuple(str(label) for label in labels), float(width))

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.centres.numpy().tobytes())
        digest.update("\n".join(self.labels).encode())
        return digest.hexdigest()

    @cached_property
    def _flat(self) -> tuple[Tensor, Tensor]:
        flat = self.centres.flatten(1)
        return flat, flat.square().sum(1)

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        x = float64(x)
        flat, squares = self._flat
        a, b = level.a[:, None], level.b[:, None]
        v = b.square() + (a * self.width).square()
        rows = x.flatten(1)
        fit = a * (rows @ flat.T - a / 2 * squares) / v
        x0, eps = [], []
        for prompts in conds:
            mean = (fit + self.log_prior(prompts)).softmax(1) @ flat
            gap = rows - a * mean
            x0.append((mean + a * self.width**2 / v * gap).reshape(x.shape))
            eps.append((b / v * gap).reshape(x.shape))
        return Prediction(torch.stack(x0), torch.stack(eps))

    def sample(self, prompts: Sequence[Prompt], rng: np.random.Generator) -> Float[Tensor, "batch *shape"]:
        z = torch.from_numpy(rng.standard_normal((len(prompts), *self.shape)))
        return self.centres[self.pick(prompts, rng)] + self.width * z
