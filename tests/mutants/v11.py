"""Bugs planted for V11: noise choices of others."""

from . import Mutant

MUTANTS = [
    Mutant(
        row="V11a",
        file="noise/simulated.py",
        old="self.t_max - k / self.n_steps, top)",
        new="top - k / self.n_steps, top)",
        why="the path begins a training step lower: its levels are off the sampler's by a thousandth",
    ),
    Mutant(
        row="V11a",
        file="noise/simulated.py",
        old="return Proposal(eps, alone)",
        new="return Proposal(alone, alone)",
        why="the conditional prediction for the guided one: the same at gamma = 1",
    ),
    Mutant(
        row="V11b",
        file="noise/simulated.py",
        old="draws.normal(Purpose.INIT, 0,",
        new="draws.normal(Purpose.KAPPA, 0,",
        why="a seed noise of its own: a path of DDIM, of the right law, but another than the image's",
    ),
    Mutant(
        row="V11c",
        file="noise/consistent.py",
        old="self.gamma**0.5 * z",
        new="self.gamma**0.5 * z.roll(1, -1)",
        why="white noise all the same: every moment is right, only shared draws show it",
    ),
    Mutant(
        row="V11d",
        file="noise/consistent.py",
        old="draws.normal(Purpose.KAPPA, 0,",
        new="draws.normal(Purpose.KAPPA, step.index,",
        why="at gamma = 0 drawn anew at every step; at gamma = 1 it makes no difference",
    ),
    Mutant(
        row="V11e",
        file="directions/mean_shift.py",
        old="kept = expand((dst.sigma / src.sigma).clamp(max=1), at.x0)",
        new="kept = expand((dst.sigma / src.sigma).square().clamp(max=1), at.x0)",
        why="r for sqrt(r): right for n_steps = 1, and samples that look like samples",
    ),
    Mutant(
        row="V11f",
        file="noise/coupled.py",
        old="x = noisy(x0, torch.zeros_like(x0), levels[0])",
        new="x = x0",
        why="the start not scaled by its level's a: one part in a thousand",
    ),
    Mutant(
        row="V11g",
        file="noise/coupled.py",
        old="eps_from_x0(x, x0, levels[-1])",
        new="x",
        why="x at the top for its noise: right for a flow, where nothing is left of x0",
    ),
    Mutant(
        row="V11h",
        file="noise/reversed.py",
        old="found = net(noisy(x0, kappa, step.dst), step.dst,",
        new="found = net(noisy(x0, kappa, step.src), step.src,",
        why="reversed at the level that the step comes from: the same where t is drawn at random",
    ),
    Mutant(
        row="V11i",
        file="noise/inversion_heun.py",
        old="ask(x_bar + rise, target)",
        new="ask(x_bar, target)",
        why="the second noise is seen where the step begins",
    ),
    Mutant(
        row="V11i",
        file="noise/inversion_ahead.py",
        old="source, target, target, ask",
        new="source, target, asked, ask",
        why="asked at the source: plain inversion",
    ),
]
