"""Bugs planted for V7: the continuous form."""

from . import Mutant

MUTANTS = [
    Mutant(
        row="V7",
        file="verify/continuous.py",
        old="expected = -expand(sigma_at(at.t), kappa) * d_kappa",
        new="expected = -d_kappa",
        why="eq. 13 as printed, without sigma: green at sigma = 1",
    ),
    Mutant(
        row="V7",
        file="verify/continuous.py",
        old="(d_x_bar, one))[1]",
        new="(0 * d_x_bar, one))[1]",
        why="the partial derivative in t for the total one",
    ),
    Mutant(
        row="V7",
        file="models/mixture.py",
        old="weights * a * self.widths.square() / spread, gap)",
        new="weights * self.widths.square() / spread, gap)",
        why="a posterior mean that does not belong to eps: invisible where a = 1 (EDM)",
    ),
]
