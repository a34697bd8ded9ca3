"""Bugs planted for V10: SDS's relatives."""

from . import Mutant

MUTANTS = [
    Mutant(
        row="V10a",
        file="directions/sjc.py",
        old="if self.var_red else at.guided.eps",
        new="if self.var_red else at.guided.eps - at.proposal.kappa",
        why="the noise is subtracted without var_red too: over many draws the mean is the same",
    ),
    Mutant(
        row="V10b",
        file="directions/base.py",
        old="return at.guided.raw.eps[conds.index(wanted)]",
        new="return at.guided.raw.eps[-1]",
        why="the last prediction for the one wanted: right where guidance has asked for that alone",
    ),
    Mutant(
        row="V10b",
        file="directions/csd.py",
        old="(null - eps_of(at, [self.negative_prompt]",
        new="(eps_of(at, at.net.prompts) - eps_of(at, [self.negative_prompt]",
        why="away from the negative prompt from where the prompt is: without one nothing changes",
    ),
    Mutant(
        row="V10c",
        file="directions/nfsd.py",
        old="if bool((level.host.t < self.t_low).all())",
        new="if bool((level.host.t < self.t_low).any())",
        why="one row below 0.2 takes the others with it: not seen where all rows are of one time",
    ),
    Mutant(
        row="V10d",
        file="directions/bridge.py",
        old="if at.step.index <= self.switch",
        new="if at.step.index < self.switch",
        why="the second stage begins a step early",
    ),
    Mutant(
        row="V10e",
        file="directions/asynchronous.py",
        old="plain = replace(at.net, guidance=Guidance())",
        new="plain = at.net",
        why="the later prediction is guided too: the same at gamma = 1",
    ),
    Mutant(
        row="V10f",
        file="directions/velocity.py",
        old="return v - (at.proposal.kappa - at.x0)",
        new="return v - (at.proposal.kappa - at.guided.x0)",
        why="from the prediction for x0: SDS itself, without 1 / (1 - t), and with the same zero",
    ),
    Mutant(
        row="V10g",
        file="update.py",
        old="of_image = seen.pull_image(target, image * share)",
        new="of_image = seen.pull_image(seen.x0, image * share)",
        why="pictures are compared with what their own latent decodes to, not the target's",
    ),
]
