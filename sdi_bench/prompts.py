"""Lists of prompts: those that ship, frozen by their hash, and files of one's own."""

import json
from collections.abc import Sequence
from pathlib import Path

from .data.shipped import shipped
from .draws import Item

NAMED = ("val", "tune", "val16", "furniture", "furniture_tune", "objects20", "paper43")
"""Captions of the built-in world's val and tune pictures, one a picture, in an order of no meaning; 16 of val, of different
concepts; those of val and of tune that show furniture of which there are several training models; 20 objects of train, every
other one the only one of its name; the 43 prompts of arXiv 2405.15891, appendix A.4."""


def read(source: str) -> list[str]:
    """The prompts of a list that ships, of a text file (one a line), or of a COCO captions file (.json, ordered by id).

    Raises ValueError, naming the field, if it cannot be read or holds none.
    """
    path = shipped(f"prompts/{source}.txt") if source in NAMED else Path(source)
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            notes = sorted(json.loads(text)["annotations"], key=lambda note: note["id"])
            lines = [" ".join(note["caption"].split()) for note in notes]
        else:
            lines = [line.strip() for line in text.splitlines()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"prompt_file={source!r}: cannot be read ({error}); lists that ship: {', '.join(NAMED)}") from error
    found = [line for line in lines if line]
    if not found:
        raise ValueError(f"prompt_file={source!r}: holds no prompt")
    return found


def items(prompts: Sequence[str | None], seeds: Sequence[int]) -> list[Item]:
    """Seed by seed, all prompts. A prompt that stands there again gets seeds of its own, past those it had."""
    span, met, found = max(seeds) + 1 - min(seeds), dict.fromkeys(prompts, 0), []
    again = []
    for prompt in prompts:
        again.append(met[prompt])
        met[prompt] += 1
    for seed in seeds:
        found += [Item(prompt, seed + k * span) for prompt, k in zip(prompts, again, strict=True)]
    return found
