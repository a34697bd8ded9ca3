"""Bugs planted for V4: SDS, mixed, DDPM."""

from . import Mutant

MUTANTS = [
    Mutant(
        row="V4a",
        file="update.py",
        old="weight(level) / level.sigma",
        new="weight(level)",
        why="-sigma·g for -g: sigma is already inside the gradient with w = sigma",
    ),
    Mutant(
        row="V4a",
        file="samplers/distillation.py",
        old="expand(step.dst.sigma, x0) * direction",
        new="expand(step.dst.sigma / step.dst.sigma, x0) * direction",
        why="w = 1 for w = sigma: the same fixed points",
    ),
    Mutant(
        row="V4b",
        file="noise/fresh.py",
        old="draws.normal(Purpose.KAPPA, step.index, (self",
        new="draws.normal(Purpose.KAPPA, step.index + 1, (self",
        why="kappa drawn before or after another draw: every moment is right, only shared draws show it",
    ),
    Mutant(
        row="V4b",
        file="coordinates.py",
        old="    return expand(level.a, x0) * x0 + expand(level.b, x0) * eps",
        new="    return expand(level.a, x0[:1]) * x0 + expand(level.b[:1], x0) * eps",
        why="one row's level for the whole batch: right on a grid, wrong at random t",
    ),
    Mutant(
        row="V4c",
        file="noise/mixed.py",
        old="(1 - rho.square()).sqrt()",
        new="(1 - rho).sqrt()",
        why="right at rho = 0 and at rho = 1",
    ),
    Mutant(
        row="V4c",
        file="noise/mixed.py",
        old="return torch.zeros_like(ratio)",
        new="return ratio**100.0",
        why="SDS as a large lam: with small steps some of the old noise is kept",
    ),
    Mutant(
        row="V4d",
        file="samplers/ddpm.py",
        old="dst.sigma * (1 - r).sqrt()",
        new="src.sigma * (1 - r).sqrt()",
        why="a larger variance, as fixed_large has: the same mean, and samples that look like samples",
    ),
    Mutant(
        row="V4e",
        file="noise/mixed.py",
        old="torch.full_like(ratio, self.rho)",
        new="torch.full_like(ratio, self.rho**2)",
        why="rho taken for rho²",
    ),
]
