"""Tables of text, and what measures are called in figures."""

from collections.abc import Sequence

TITLES = {
    "kd_effnet": "KD to real pictures",
    "fd_effnet": "FD to real pictures",
    "rprec": "retrieval (share)",
    "tclip": "tclip (100 cos)",
    "contrast": "contrast (log ratio)",
    "sharpness": "sharpness (log ratio)",
    "saturation": "saturation (log ratio)",
    "laplacian": "Laplacian (log ratio)",
    "energy": "energy distance (rms)",
    "sliced_w2": "sliced W2 (pixel values)",
    "nearest": "to the nearest in training (rms)",
    "lpips": "LPIPS",
}
"""measure -> its name with its unit, above a panel. Log ratios are to data: 0 is as they are."""

PRIORS = {"builtin": "built-in prior", "trained": "trained prior", "gaussian": "Gaussian"}


def titled(measure: str) -> str:
    """What a measure is called above a panel."""
    return TITLES.get(measure, measure)


def prior_of(tier: str) -> str:
    """The prior that a tier is of, its last word, as figures name it; `guided` is the built-in one."""
    word = tier.split()[-1]
    return PRIORS.get("builtin" if word == "guided" else word, word)


def lines(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A line a row, the first column flush left, the others right."""
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    shown = [
        "  ".join(
            text.rjust(width) if i else text.ljust(width) for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *body)
    ]
    return "\n".join([shown[0], "-" * len(shown[0]), *shown[1:]])
