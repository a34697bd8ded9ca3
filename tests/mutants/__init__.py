"""Planted bugs: one line of the library changed; the row that must turn red; why a naive test would miss it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """row: the id that must fail ("V1a"). file: under sdi_bench/. old: occurs there exactly once; new replaces it."""

    row: str
    file: str
    old: str
    new: str
    why: str


@dataclass(frozen=True)
class Planted:
    """test: of tests/, as pytest names it. file: under sdi_bench/. old: occurs there exactly once; new replaces it."""

    test: str
    file: str
    old: str
    new: str
    why: str
