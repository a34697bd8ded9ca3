"""Bugs planted for V5: ISM."""

from . import Mutant

MUTANTS = [
    Mutant(
        row="V5a",
        file="noise/inversion.py",
        old="kappa = added / expand(top.sigma, x0)",
        new="kappa = added / expand(top.sigma - net.schedule.lowest.sigma, x0)",
        why="divided by sigma - sigma_start: one part in thousands, from a start near 0",
    ),
    Mutant(
        row="V5a",
        file="noise/inversion.py",
        old="kappa = added / expand(top.sigma, x0)",
        new="kappa = added / expand(top.sigma - net.level(source_t).sigma, x0)",
        why="divided by sigma_t - sigma_s: an interval over the whole range does not see it, there both sides are 0",
    ),
    Mutant(
        row="V5a",
        file="noise/inversion.py",
        old="eps_s = eps if here is None else eps_s.index_copy(0, here, eps)",
        new="eps_s = eps if here is None else eps_s",
        why="rows that take more steps than others subtract an earlier prediction",
    ),
    Mutant(
        row="V5b",
        file="noise/inversion.py",
        old="* x_bar, level, scale=gamma",
        new="* x_bar, level, scale=gamma if rows is None else 1.0",
        why="inversion under the prompt, but only in steps that some rows do not take",
    ),
    Mutant(
        row="V5b",
        file="directions/interval.py",
        old="return at.guided.eps - at.proposal.eps_s",
        new="return at.guided.raw.eps[-1] - at.proposal.eps_s",
        why="the conditional prediction for the guided one: the same at gamma = 1",
    ),
]
