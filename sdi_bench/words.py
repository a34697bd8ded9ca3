"""Words of a command line: which are people's own texts and paths, taken as they stand, and which are Hydra's to read."""

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString

TEXTS = (
    *("prompt", "prompts", "negative_prompt", "text", "prompt_file", "name", "results", "path", "config", "lora", "folder"),
    *("descriptors", "target_descriptors", "image", "real", "samples", "paired", "output", "label", "tier", "row", "source"),
    "source_prompt",
)
"""Settings, by the last part of their names, whose values are people's own words and paths: see `quoted`."""

LISTS = ("prompt", "prompts")
"""Those of which `[a,b]` gives several."""

QUOTED = r"""(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")"""
"""A text wholly in quotes, as Hydra has it."""

LISTED = rf"\[(?>\s*{QUOTED}\s*(?=[,\]])|[^\]])*+\]"
"""A list in brackets."""

MISSING = """'${text:"???"}'"""
"""How to say the text that OmegaConf would take for a value that is missing."""


def literal(text: str) -> str:
    """A text in Hydra's syntax, such that it arrives as it is: `$`, quotes, backslashes and all."""
    if text == "???":
        return MISSING
    return QuotedString(re.sub(r"(\\*)\$\{", r"\1\1\\${", text), Quote.single).with_quotes()


def unquoted(value: str) -> str:
    """What a value of the command line says without the quotes that Hydra needs; the inverse of `literal`."""
    if value == MISSING:
        return "???"
    if not re.fullmatch(QUOTED, value, re.DOTALL):
        return value
    said = str(OverridesParser.create().parse_override(f"x={value}").value())
    return re.sub(r"((?:\\\\)*)\\\$\{", lambda found: found[1][::2] + "${", said)


def cut(value: str, comma: str) -> list[str]:
    """A value cut at commas outside quotes and brackets."""
    return re.findall(rf"(\s*(?:{QUOTED}|{LISTED})\s*|(?:(?!{comma}).)*+){comma}", value + ",", re.DOTALL)


def spelled(value: str, several: bool) -> str:
    """A text in Hydra's syntax, or where there may be `several` a list of them in brackets."""
    if value in ("", "null") or re.fullmatch(QUOTED, value, re.DOTALL):
        return value
    if several and value[0] == "[" and value[-1] == "]":
        words = [word.strip() for word in cut(value[1:-1], ",")]
        return f"[{','.join(literal(word) if word == 'null' else spelled(word, False) for word in words)}]"
    return literal(value)


def quoted(argv: Sequence[str], sweep: bool = False) -> list[str]:
    """The same command line, the values of TEXTS in quotes, so that Hydra takes them as they stand; again changes nothing.

    Hydra is left to read: a value wholly in quotes; null; [a,b] of a prompt, the parts in quotes or as they stand; and of a
    sweep a comma outside quotes and brackets with no blank after it, which parts the values of a sweep.
    Raises ValueError for what is no text.
    """
    words = []
    for word in argv:
        key, equals, value = word.partition("=")
        name = key.lstrip("+").rpartition(".")[2]
        if equals and name in TEXTS:
            values = cut(value, r",(?!\s)") if sweep else [value]
            word = f"{key}={','.join(spelled(one, name in LISTS) for one in values)}"
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{key}={value!a}: is not text in UTF-8") from error
        words.append(word)
    return words


def halves(word: str) -> tuple[str, str]:
    """A word of the command line: what it sets, and to what."""
    key, _, value = word.partition("=")
    return key, value


def shown(text: str) -> str:
    """A text in one line, what is not to be seen as its escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def said_of(argv: Sequence[str], key: str) -> str | None:
    """What a command line sets a key to."""
    said = dict(halves(word) for word in argv if "=" in word).get(key)
    return None if said is None else unquoted(said)
