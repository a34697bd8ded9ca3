"""Gaussian data of any covariance, one Gaussian per class and one for all data together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..guidance import Guidance, Prompt
from ..levels import Level
from .base import Conds, Prediction, check_known, float64


@dataclass(frozen=True)
class Normal:
    """N(mean, cov) on [dim]; cov = U diag(variances) U^T. Raises ValueError unless cov is symmetric, >= 0."""

    mean: Float[Tensor, " dim"]
    basis: Float[Tensor, "dim dim"]
    variances: Float[Tensor, " dim"]

    @staticmethod
    def of(mean: Sequence[float] | Tensor, cov: Sequence[float] | Sequence[Sequence[float]] | Tensor) -> "Normal":
        """From a mean and a covariance matrix (or a list of variances, one per dimension)."""
        mean = torch.as_tensor(mean, dtype=torch.float64)
        cov = torch.as_tensor(cov, dtype=torch.float64)
        cov = torch.diag(cov) if cov.ndim == 1 else cov
        if cov.shape != (len(mean), len(mean)) or not torch.allclose(cov, cov.T):
            raise ValueError(f"cov: must be a symmetric {len(mean)} x {len(mean)} matrix, got {tuple(cov.shape)}")
        diagonal = bool((cov == torch.diag(cov.diagonal())).all())
        variances, basis = (cov.diagonal(), torch.eye(len(mean)).double()) if diagonal else torch.linalg.eigh(cov)
        if bool((variances < -1e-12 * variances.max()).any()):
            raise ValueError(f"cov: has a negative eigenvalue, {float(variances.min()):.3g}")
        return Normal(mean, basis, variances.clamp(min=0))  # eigh may round a 0 to -1e-17

    def apply(self, gain: Float[Tensor, "rows dim"], x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """U diag(gain) U^T x, row by row."""
        return ((x @ self.basis) * gain) @ self.basis.T

    def spread(self, level: Level) -> Float[Tensor, "rows dim"]:
        """Eigenvalues of the noisy image's covariance, a²·variances + b²."""
        return level.a.square()[:, None] * self.variances + level.b.square()[:, None]


@dataclass(frozen=True)
class Gaussian:
    """Exact denoiser of Gaussian data: D = mu + a·C (a²C + b²)^-1 (x - a·mu).

    classes: name -> Normal, the conditional laws. marginal: the unconditional one (it need not be their mixture).
    Shapes are [dim]. Raises ValueError if they differ.
    """

    classes: Mapping[str, Normal]
    marginal: Normal

    def __post_init__(self) -> None:
        for name, law in self.classes.items():
            if law.mean.shape != self.marginal.mean.shape:
                raise ValueError(f"classes.{name}: has {len(law.mean)} dimensions, marginal has {len(self.marginal.mean)}")

    @staticmethod
    def of(classes: Mapping[str, Sequence], marginal: Sequence) -> "Gaussian":
        """From plain numbers: each law is a pair (mean, cov); see Normal.of."""
        return Gaussian({name: Normal.of(*law) for name, law in classes.items()}, Normal.of(*marginal))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.marginal.mean.shape)

    @property
    def prompts(self) -> tuple[str, ...]:
        return tuple(sorted(self.classes))

    @property
    def fingerprint(self) -> str:
        return ""

    def law(self, prompt: Prompt) -> Normal:
        """The Gaussian of a class, or of all data."""
        return self.marginal if prompt is None else self.classes[prompt]

    def check_prompt(self, prompt: Prompt) -> None:
        check_known(prompt, self.prompts)

    def predict(self, x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
        x = float64(x)
        x0, eps = (x.new_empty(len(conds), *x.shape) for _ in range(2))
        for i, prompts in enumerate(conds):
            for prompt in set(prompts):
                rows = torch.tensor([p == prompt for p in prompts])
                law, at = self.law(prompt), level.rows(rows)
                gap = x[rows] - at.a[:, None] * law.mean
                spread = law.spread(at)
                x0[i, rows] = law.mean + law.apply(at.a[:, None] * law.variances / spread, gap)
                eps[i, rows] = law.apply(at.b[:, None] / spread, gap)
        return Prediction(x0, eps)

    def sample(self, prompts: Sequence[Prompt], rng: np.random.Generator) -> Float[Tensor, "batch *shape"]:
        z = torch.from_numpy(rng.standard_normal((len(prompts), *self.shape)))
        laws = [self.law(prompt) for prompt in prompts]
        return torch.stack([law.mean + law.basis @ (law.variances.sqrt() * row) for law, row in zip(laws, z, strict=True)])

    def check_root(self, guidance: Guidance) -> None:
        """Any guidance: the root fails only where the slope of D happens to vanish."""

    def exact_root(
        self, x0: Float[Tensor, "batch *shape"], level: Level, prompts: Sequence[Prompt], guidance: Guidance
    ) -> Float[Tensor, "batch *shape"]:
        """Solve G·kappa = eps(x0) with G = the slope of the guided D in x_bar, which is stable for sigma >> data.

        At gamma = 1 this is kappa = sigma·C^-1 (x0 - mu) (derived; G = C (C + sigma²)^-1).
        """
        x0 = float64(x0)
        rows = []
        for i, prompt in enumerate(prompts):
            sigma = level.rows(torch.tensor([i])).sigma
            slope, right = x0.new_zeros(len(x0[i]), len(x0[i])), torch.zeros_like(x0[i])
            for law, weight in (
                (self.law(guidance.negative), 1 - guidance.gamma),
                (self.law(prompt), guidance.gamma),
            ):
                inverse = law.basis @ torch.diag(1 / (law.variances + sigma**2)) @ law.basis.T
                slope += weight * law.basis @ torch.diag(law.variances / (law.variances + sigma**2)) @ law.basis.T
                right += weight * sigma * (inverse @ (x0[i] - law.mean))
            rows.append(torch.linalg.solve(slope, right))
        return torch.stack(rows)
