"""Tables of text."""

from collections.abc import Sequence


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
