"""Bugs planted for V13: edits."""

from . import Mutant

MUTANTS = [
    Mutant(
        row="V13a",
        file="directions/base.py",
        old="prompts=(at.source.prompt,) * len(x))",
        new="prompts=at.net.prompts)",
        why="the source under the target's prompt: no edit where the pictures agree",
    ),
    Mutant(
        row="V13b",
        file="directions/pds.py",
        old="beta = 1 - now / one_less",
        new="beta = 1 - now / before",
        why="beta of the whole lag: the posterior is consistent then, and psi is gone",
    ),
    Mutant(
        row="V13c",
        file="directions/base.py",
        old="x = noisy(at.source.x0, at.proposal.kappa, at.step.dst)",
        new="x = noisy(at.source.x0, at.draws.normal(7, at.step.index, tuple(at.x0.shape[1:])), at.step.dst)",
        why="noise of its own for the source: right on average",
    ),
    Mutant(
        row="V13d",
        file="directions/pds.py",
        old="(1 - beta).sqrt() * (1 - before)",
        new="(1 - beta) * (1 - before)",
        why="alpha for sqrt(alpha): beta / 2 off",
    ),
    Mutant(
        row="V13e",
        file="samplers/distillation.py",
        old="noise, self.direction, asked, draws, learnt, source)",
        new="noise, self.direction, asked, draws, learnt, source and source._replace(x0=seen.x0))",
        why="held against itself, not against where it started: the mean moves on at every step",
    ),
]
