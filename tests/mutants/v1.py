"""Bugs planted for V1: the cached prediction."""

from . import Mutant

MUTANTS = [
    Mutant(
        row="V1a",
        file="samplers/distillation.py",
        old="guided.shifted(x0 - expand(step.dst.sigma, x0)",
        new="guided.shifted(x0 - expand(step.src.sigma, x0)",
        why="sigma of the source: looks right, converges to the same limit at first order",
    ),
    Mutant(
        row="V1a",
        file="samplers/distillation.py",
        old="x = noisy(x0, proposal.kappa, step.dst)",
        new="x = noisy(x0, proposal.kappa, step.src)",
        why="the image is noised for one level and shown as another: still denoises, still converges",
    ),
    Mutant(
        row="V1b",
        file="samplers/distillation.py",
        old="return Eval(proposal.kappa, guided.eps, target,",
        new="return Eval(proposal.kappa, guided.raw.eps[-1], target,",
        why="the conditional prediction is cached instead of the guided one: the same bits at gamma = 0 and 1",
    ),
    Mutant(
        row="V1b",
        file="samplers/ddim.py",
        old="yield State(i, level, guided.x0, guided.eps)",
        new="yield State(i, level, guided.x0.float().double(), guided.eps)",
        why="one float32 rounding in the reference: 1e-7, invisible to allclose",
    ),
    Mutant(
        row="V1c",
        file="samplers/distillation.py",
        old="last, learnt = Last(found.eps, ",
        new="last, learnt = Last(found.eps.float().double(), ",
        why="kappa cached in the network's precision: stays within a float32 tolerance, where V1c still asks for float64",
    ),
    Mutant(
        row="V1c",
        file="samplers/distillation.py",
        old="return Eval(proposal.kappa, guided.eps, target,",
        new="return Eval(proposal.kappa, guided.raw.eps[-1], target,",
        why="the conditional prediction is cached, with a real network's precision",
    ),
]
