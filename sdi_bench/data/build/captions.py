"""What a picture is called: one caption, and other ways to say it."""

import hashlib
from collections.abc import Sequence


def article(words: str) -> str:
    """ "armchair" -> "an armchair"."""
    return f"{'an' if words[:1] in tuple('aeiou') else 'a'} {words}"


def caption(domain: str, concept: str, style: str = "", view: str = "", colour: str = "") -> str:
    """ "a red sofa, side view" of an object, "dog face, noto emoji" of a drawing."""
    if domain == "emoji":
        return f"{concept}, {style} emoji"
    return article(f"{colour} {concept}".strip()) + (f", {view} view" if view else "")


def variants(
    domain: str, concept: str, style: str = "", view: str = "", colour: str = "", words: Sequence[str] = ()
) -> tuple[str, ...]:
    """Other captions of the same picture, the same ones every time.

    Object: "sofa", "red sofa", "sofa, side view". Emoji: "dog face", "dog face, pet, puppy" with 1 to 3 of its words.
    """
    if domain == "emoji":
        ranked = sorted(words, key=lambda word: hashlib.sha256(f"{style}/{concept}/{word}".encode()).digest())
        chosen = ranked[: 1 + hashlib.sha256(f"{style}/{concept}".encode()).digest()[0] % 3]
        said = [concept, ", ".join([concept, *chosen])]
    else:
        said = [concept, f"{colour} {concept}".strip(), f"{concept}, {view} view" if view else concept]
    return tuple(dict.fromkeys(said))
