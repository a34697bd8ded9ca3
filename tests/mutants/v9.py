"""Bugs planted for V9: guidance scales."""

from . import Mutant

MUTANTS = [
    Mutant(
        row="V9a",
        file="guidance.py",
        old='''    return 1 + scale


def to_threestudio(gamma: float) -> float:
    """The s of threestudio's plain branch: s = gamma - 1."""
    return gamma - 1''',
        new='''    return scale


def to_threestudio(gamma: float) -> float:
    """The s of threestudio's plain branch: s = gamma - 1."""
    return gamma''',
        why="s = gamma in both directions: the round trip is perfect",
    ),
    Mutant(
        row="V9a",
        file="guidance.py",
        old="return uncond + self.gamma * (cond - uncond)",
        new="return cond + self.gamma * (uncond - cond)",
        why="conditions swapped: the same at gamma = 1/2",
    ),
    Mutant(
        row="V9a",
        file="guidance.py",
        old='return from_threestudio(scale) if self.convention == "threestudio" else scale',
        new="return scale",
        why="threestudio's scale is taken for gamma: 7.5 for 8.5",
    ),
    Mutant(
        row="V9a",
        file="guidance.py",
        old="            return (base,)",
        new="            return (tuple(prompts),)",
        why="gamma = 0 answers with the conditional prediction, as diffusers' pipelines do",
    ),
    Mutant(
        row="V9b",
        file="guidance.py",
        old="return uncond + self.gamma * (cond - uncond)",
        new="return uncond + self.gamma * cond",
        why="weights that do not sum to 1: fine for eps alone, wrong for x0",
    ),
    Mutant(
        row="V9b",
        file="coordinates.py",
        old="return (x - b * out) / (a + b), (x + a * out) / (a + b)",
        new="return x - b * out, x + a * out",
        why="flow velocity decoded as if a + b = 1: right on rectified flow",
    ),
    Mutant(
        row="V9b",
        file="coordinates.py",
        old="out = out * square.sqrt()",
        new="out = out * square",
        why="v decoded as if a² + b² = 1: right on every variance-preserving schedule",
    ),
]
