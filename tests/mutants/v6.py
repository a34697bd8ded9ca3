"""Bugs planted for V6: order and limit."""

from . import Mutant

MUTANTS = [
    Mutant(
        row="V6a",
        file="samplers/distillation.py",
        old="last, learnt = Last(found.eps, ",
        new="last, learnt = Last(found.kappa, ",
        why="kappa one step too old: runs, looks plausible, does not converge",
    ),
    Mutant(
        row="V6a",
        file="samplers/ddim.py",
        old="expand(dst.b - src.b * ratio, x) * eps",
        new="expand(dst.b - src.b, x) * eps",
        why="the change of b not rescaled by a'/a: right wherever a = 1 (EDM)",
    ),
    Mutant(
        row="V6b",
        file="samplers/distillation.py",
        old="guided.shifted(x0 - expand(step.dst.sigma, x0)",
        new="guided.shifted(x0 - expand(step.src.sigma, x0)",
        why="sigma of the source: order 1 and the right limit, told by its larger second-order term alone",
    ),
    Mutant(
        row="V6b",
        file="samplers/ddim.py",
        old="expand(dst.b - src.b * ratio, x) * eps",
        new="expand((dst.b - src.b * ratio) * 0.999, x) * eps",
        why="one part in a thousand of every step: converges with order 1, to another limit",
    ),
]
