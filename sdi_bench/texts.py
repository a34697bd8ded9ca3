"""What people write, as a line to print and in figures, where it is drawn as it stands."""

import difflib
import textwrap
import unicodedata
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def line(text: str, most: int = 10**6) -> str:
    """Text as one line: runs of blanks and line ends are a blank each, control characters are �, and what is longer than
    `most` characters loses its middle to an ellipsis.
    """
    plain = "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in " ".join(text.split()))
    if len(plain) <= most:
        return plain
    head = 2 * most // 3
    return f"{plain[:head]}…{plain[head + 1 - most :]}"


def last_part(key: str) -> str:
    """How a setting is called where there is little room."""
    return key.split(".")[-1]


def near_match(word: str, known: Sequence[str]) -> str:
    """What may have been meant, or what there is."""
    lower = {key.lower(): key for key in reversed(known)}
    near = difflib.get_close_matches(word.lower(), lower, n=3)

    def ratio(key: str) -> float:
        return difflib.SequenceMatcher(None, word.lower(), key).ratio()

    best = sorted(lower[key] for key in near if ratio(key) == ratio(near[0]))
    return f"did you mean {' or '.join(best)}?" if best else f"there are {', '.join(key for key in known if '.' not in key)}"


ALSO = {
    "gamma": ("guidance.scale", "the guidance scale"),
    "cfg_scale": ("guidance.scale", "the guidance scale"),
    "guidance_scale": ("guidance.scale", "the guidance scale"),
    "gamma_inv": (
        "sampler.noise.guidance_scale",
        "the guidance scale of the inversion, of sampler=sdi; unless said -guidance.scale",
    ),
    "kappa": ("noise@sampler.noise", "the noise that is added, of samplers that distil"),
    "noise": ("noise@sampler.noise", "the noise that is added, of samplers that distil"),
    "direction": ("direction@sampler.direction", "which way x0 moves, of samplers that distil"),
    "update": ("update@sampler.update", "how parameters move to a target, of samplers that distil"),
    "student": ("student@sampler.direction.student", "the second network, of sampler=vsd and esd"),
    "lr": ("sampler.update.lr", "of update@sampler.update=adam"),
    "learning_rate": ("sampler.update.lr", "of update@sampler.update=adam"),
    "levels": ("grid.n_levels", "steps of the path"),
    "n_levels": ("grid.n_levels", "steps of the path"),
    "steps": ("grid.n_levels", "steps of the path"),
    "n_steps": ("grid.n_levels", "steps of the path; sampler.noise.n_steps: of an inversion"),
    "num_inference_steps": ("grid.n_levels", "steps of the path"),
    "tau": ("sampler.noise.tau", "how far beyond its level the noise is sought, of sampler=sdi"),
    "entropy": ("sampler.noise.entropy", "the noise that is added to an inversion's, of sampler=sdi"),
    "checkpoint": ("model.path", "a diffusers folder, with model=diffusers"),
    "output": ("results", "the folder that results/<name>/ is in"),
}
"""What settings are called elsewhere, in papers and other code: how they are called here, and what they are."""


def meant(key: str, known: Sequence[str]) -> str:
    """What may have been meant by a setting that there is not: its name here, if it is known by another; else a near match."""
    name = last_part(key)
    if name in ALSO and ALSO[name][0] != key:
        return f"{name} is {ALSO[name][0]} here ({ALSO[name][1]})"
    return near_match(key, known)


def wrapped(text: str, width: int, most: int) -> str:
    """Text in at most so many lines of a width, in characters; what is longer loses its middle."""
    letters = width * most
    while len(lines := textwrap.wrap(line(text, letters), width)) > most:
        letters -= width // 4
    return "\n".join(lines)


@cache
def families(missing: frozenset[str]) -> tuple[str, ...]:
    """Fonts on this machine that have the characters, Noto's first; as few as are needed, none where there is none."""
    from matplotlib.font_manager import fontManager, get_font

    found, left = [], set(missing)
    for font in sorted(fontManager.ttflist, key=lambda font: (not font.name.startswith("Noto Sans"), font.name)):
        if not left:
            break
        try:
            opened = get_font(font.fname)
        except (OSError, RuntimeError):
            continue
        if opened.scalable and (has := left.intersection(map(chr, opened.get_charmap()))):
            found.append(font.name)
            left -= has
    return tuple(found)


def save(figure: "Figure", path: Path, dpi: int, **more: Any) -> None:
    """Write a figure as a picture, its folder included. `$` is drawn as `$`, but in numbers at ticks that matplotlib sets;
    letters that the figure's font lacks come from another font of this machine, or are drawn as boxes.
    """
    from matplotlib.font_manager import findfont, get_font
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter

    sides = [side for axes in figure.axes for side in (axes.xaxis, axes.yaxis)]
    numbers = {
        label
        for side in sides
        if not isinstance(side.get_major_formatter(), FixedFormatter)
        for label in (*side.get_ticklabels(which="both"), side.get_offset_text())
    }
    said = [text for text in figure.findobj(Text) if isinstance(text, Text) and text not in numbers]
    for text in said:
        text.set_parse_math(False)
        lacking = {c for c in text.get_text() if not c.isspace()}
        lacking -= set(map(chr, get_font(findfont(text.get_fontproperties())).get_charmap()))
        if lacking:
            text.set_fontfamily([*text.get_fontfamily(), *families(frozenset(lacking))])
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(path, dpi=dpi, **more)
