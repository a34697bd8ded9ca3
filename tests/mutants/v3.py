"""Bugs planted for V3: the root of eq. 8."""

from . import Mutant

MUTANTS = [
    Mutant(
        row="V3a",
        file="noise/exact_root.py",
        old="step.src, net.prompts",
        new="step.dst, net.prompts",
        why="sought at dst: eq. 8 holds there to rounding, so a test of its residual is green, but x0 never moves",
    ),
    Mutant(
        row="V3a",
        file="models/gaussian.py",
        old="sigma * (inverse @ (x0[i] - law.mean))",
        new="sigma * (inverse @ (x0[i] - self.marginal.mean))",
        why="the class's mean forgotten: invisible on centred classes and at gamma = 0",
    ),
    Mutant(
        row="V3a",
        file="models/gaussian.py",
        old="torch.diag(law.variances / (law.variances + sigma**2)) @ law.basis.T",
        new="torch.diag(law.variances / (law.variances + sigma**2)) @ law.basis",
        why="eigenvectors not transposed: invisible on diagonal covariances",
    ),
    Mutant(
        row="V3b",
        file="noise/exact_root.py",
        old="step.src, net.prompts",
        new="step.dst, net.prompts",
        why="the same bug on mixtures",
    ),
    Mutant(
        row="V3b",
        file="models/mixture.py",
        old="> 2.0**-53 * row_norm(x_bar)",
        new="> 2.0**-20 * row_norm(x_bar)",
        why="Newton stops six digits in: the samples look the same",
    ),
    Mutant(
        row="V3b",
        file="samplers/distillation.py",
        old="guided.shifted(x0 - expand(step.dst.sigma, x0)",
        new="guided.shifted(x0 - expand(step.src.sigma, x0)",
        why="sigma of the source in front: converges to the same limit",
    ),
    Mutant(
        row="V3c",
        file="verify/roots.py",
        old="upper = above(middle) == rising",
        new="upper = above(middle)",
        why="halving without regard to the sign at the ends: right where D rises, that is, for every gamma <= 1",
    ),
    Mutant(
        row="V3c",
        file="models/mixture.py",
        old="weights * a * self.widths.square() / spread, gap)",
        new="weights * self.widths.square() / spread, gap)",
        why="D no longer belongs to eps, so DDIM's kappa is no root of it; invisible where a = 1 (EDM)",
    ),
    Mutant(
        row="V3d",
        file="models/mixture.py",
        old="around.mT @ (w * around) / variance[..., None])",
        new="around.mT @ (w * around))",
        why="a wrong slope of D but at sigma = 1: the halved steps still reduce the residual, and stall",
    ),
    Mutant(
        row="V3d",
        file="models/gaussian.py",
        old="sigma * (inverse @ (x0[i] - law.mean))",
        new="sigma * (inverse @ (x0[i] - self.marginal.mean))",
        why="no root at all: x0 is not at rest",
    ),
]
