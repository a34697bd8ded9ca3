"""Bugs planted for V12: students."""

from . import Mutant

MUTANTS = [
    Mutant(
        row="V12a",
        file="students/exact.py",
        old="+ sigma.square() * gain @ gain.mT",
        new="",
        why="the step's noise does not spread the particles: the data's law stays the fixed point",
    ),
    Mutant(
        row="V12a",
        file="students/exact.py",
        old="own = torch.linalg.inv(noised(cov, level))",
        new="own = torch.linalg.inv(noised(0 * cov, level))",
        why="the law is moved as SDS would move it, while the step subtracts the right score",
    ),
    Mutant(
        row="V12b",
        file="directions/variational.py",
        old="return at.guided.eps - self.student.eps(at.learnt, at.x, at.step.dst, at.net, at.net.prompts)",
        new="return at.guided.eps - at.proposal.kappa",
        why="SDS under the name of VSD: the mean is right, the spread is not",
    ),
    Mutant(
        row="V12c",
        file="students/lora.py",
        old="guidance=Guidance(), prompts=(prompts[i],)",
        new="guidance=net.guidance, prompts=(prompts[i],)",
        why="the student is guided like the teacher: the same at gamma = 1, and nothing moves at any",
    ),
    Mutant(
        row="V12d",
        file="students/exact.py",
        old='gap = x - expand(level.a, x) * learnt["mean"]',
        new='gap = x - learnt["mean"]',
        why="x taken for x_bar: right where a = 1",
    ),
    Mutant(
        row="V12e",
        file="directions/entropic.py",
        old="(1 - self.lam) * seen - self.lam * any_view",
        new="self.lam * seen - (1 - self.lam) * any_view",
        why="lam counted from the other end, as threestudio's guidance_scale_lora is: the same at 1/2, the default",
    ),
    Mutant(
        row="V12e",
        file="students/lora.py",
        old="(level.a / unit, level.b / unit)",
        new="(level.a, level.b)",
        why="the level told to the correction unscaled: right on every variance-preserving schedule",
    ),
]
