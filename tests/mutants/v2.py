"""Bugs planted for V2: diffusers' schedulers."""

from . import Mutant

MUTANTS = [
    Mutant(
        row="V2a",
        file="verify/diffusers_schedulers.py",
        old="TableSchedule(theirs.alphas_cumprod)",
        new="TableSchedule((1 - theirs.betas.double()).cumprod(0))",
        why="the formula in float64 instead of their float32 table: within 1e-3, not within 1e-10",
    ),
    Mutant(
        row="V2a",
        file="verify/diffusers_schedulers.py",
        old='("alphas_cumprod", "final_alpha_cumprod", "initial_alpha_cumprod")',
        new='("alphas_cumprod", "initial_alpha_cumprod")',
        why="the level after the last step left in float32: shows with set_alpha_to_one=False only, in the last sample only",
    ),
    Mutant(
        row="V2a",
        file="predictor.py",
        old="torch.as_tensor(t, dtype=torch.float64)",
        new="torch.as_tensor(t)",
        why="a time given as a float passes through float32: 1e-8, as this library once did",
    ),
    Mutant(
        row="V2a",
        file="grids.py",
        old="k * stride + self.offset",
        new="k * stride",
        why="steps_offset forgotten: one table entry of a thousand",
    ),
    Mutant(
        row="V2b",
        file="samplers/ddim.py",
        old="if bool((src.host.a > 0).all()):",
        new="if src.a.numel():",
        why="x_bar used at sigma = infinity: NaN, which passes where the largest deviation is kept by max()",
    ),
    Mutant(
        row="V2c",
        file="samplers/ddim.py",
        old="dst.b - src.b * ratio",
        new="(dst.b - src.b) * ratio",
        why="right to first order in the step",
    ),
    Mutant(
        row="V2d",
        file="noise/inversion.py",
        old="* x_bar, level, scale=gamma",
        new="* x_bar, target, scale=gamma",
        why="the network asked at the destination with the source's image, as diffusers' pipelines do: the same limit",
    ),
    Mutant(
        row="V2e",
        file="noise/mixed.py",
        old="(1 - rho.square()).sqrt()",
        new="(1 - rho).sqrt()",
        why="right at rho = 0 and at rho = 1",
    ),
    Mutant(
        row="V2e",
        file="samplers/ddpm.py",
        old="dst.sigma * (1 - r).sqrt()",
        new="src.sigma * (1 - r).sqrt()",
        why="a larger variance, as fixed_large has: the same mean, and samples that look like samples",
    ),
    Mutant(
        row="V2f",
        file="schedules.py",
        old="as_rows(t).clamp(self.t_min, 1)",
        new="as_rows(t).clamp(self.t_min, 0.9999)",
        why="sigma = infinity dodged by starting a little below t = 1",
    ),
    Mutant(
        row="V2g",
        file="samplers/ddim.py",
        old="dst.b - src.b * ratio",
        new="(dst.b - src.b) * ratio",
        why="right to first order in the step",
    ),
]
