"""Emoji drawings of eight permissively licensed styles, on white, named by emojibase."""

import io
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageChops
from scipy.spatial.distance import cdist
from tqdm import tqdm

from ..world import SIZE
from .picture import Picture

MARGIN = 3
"""White pixels on each side of the longer extent, in every style."""
DRAWN = 256
"""Pixels a side at which a drawing is rasterised before its area means are taken."""
TWIN = 3.0
"""Two drawings are the same if their mean |difference| at 16 x 16 is below this many of 255 grey levels."""
LEFT_OUT = {"component", "symbols", "flags"}
MISTAKEN = {"fxemoji/1F44B", "fxemoji/1F621", "fxemoji/1F647", "fxemoji/1F32B", "streamline-emojis/1F983"}
"""Left out: a sea wave for a waving hand, a person for a pouting face, a ribbon for a bow, a blank, a flag for a turkey."""
NAMES = ("label", "unicode", "cldr", "iamcal", "github", "joypixels")
"""Where a drawing without a code point finds its emoji by name, the first that fits."""


@dataclass(frozen=True)
class Style:
    """A set of drawings: its package, the word for it in captions, who drew it, where, and under which licence."""

    package: str
    word: str
    title: str
    creator: str
    url: str
    licence: str
    names: Sequence[str] = NAMES


NOTO = "https://github.com/googlefonts/noto-emoji"
FLUENT = "https://github.com/microsoft/fluentui-emoji"
STYLES = (
    Style("noto", "noto", "Noto Emoji", "Google Inc", NOTO, "Apache-2.0"),
    Style("fluent-emoji-flat", "fluent flat", "Fluent Emoji Flat", "Microsoft Corporation", FLUENT, "MIT"),
    Style("fluent-emoji-3d", "fluent 3d", "Fluent Emoji 3D", "Microsoft Corporation", FLUENT, "MIT"),
    Style(
        "twemoji",
        "twemoji",
        "Twemoji",
        "Twitter, Inc and other contributors",
        "https://github.com/jdecked/twemoji",
        "CC-BY-4.0",
    ),
    Style("noto-v1", "old noto", "Noto Emoji (v1)", "Google Inc", NOTO, "Apache-2.0"),
    Style(
        "emojione", "emojione", "Emoji One 2.3.0 (Colored)", "Emoji One", "https://github.com/EmojiTwo/emojitwo", "CC-BY-4.0"
    ),
    Style(
        "fxemoji",
        "fxemoji",
        "Firefox OS Emoji",
        "Mozilla",
        "https://github.com/mozilla/fxemoji",
        "CC-BY-4.0",
        ("iamcal", *NAMES),
    ),
    Style(
        "streamline-emojis",
        "streamline",
        "Streamline Emojis",
        "Streamline",
        "https://github.com/webalys-hq/streamline-vectors",
        "CC-BY-4.0",
    ),
)
"""In the order in which the first of several near twins is kept."""


@dataclass(frozen=True)
class Emoji:
    """One emoji of emojibase: its code points ("1F469-200D-1F9B0"), label, group, keywords and other names by source."""

    hexcode: str
    label: str
    group: str
    keywords: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]


def plain(text: str) -> str:
    """Lower case, without accents, with plain apostrophes."""
    return unicodedata.normalize("NFKD", text.lower().replace("’", "'")).encode("ascii", "ignore").decode()


def natural(label: str) -> str:
    """A label in plain words: "woman: beard" -> "woman with beard", "kiss: man, man" -> "kiss of man and man"."""
    head, colon, tail = plain(label).replace(".", "").partition(": ")
    if not colon or tail.startswith("facing"):
        return f"{head} {tail}".strip()
    if tail == "bald":
        return f"bald {head}"
    return f"{head} of {tail.replace(', ', ' and ')}" if "," in tail else f"{head} with {tail}"


def emojis(emojibase: Path) -> list[Emoji]:
    """Every emoji of the package emojibase-data without skin tones, components, symbols and flags."""

    def read(name: str) -> dict:
        return json.loads((emojibase / name).read_text("utf-8"))

    def listed(names: str | list[str]) -> tuple[str, ...]:
        return (names,) if isinstance(names, str) else tuple(names)

    groups = read("meta/groups.json")["groups"]
    sources = {name: read(f"en/shortcodes/{name}.json") for name in ("cldr", "iamcal", "github", "joypixels")}
    sources["unicode"] = read("meta/unicode-names.json")
    return [
        Emoji(
            hexcode=(code := entry["hexcode"]),
            label=natural(entry["label"]),
            group=groups[str(entry["group"])].replace("-", " "),
            keywords=tuple(map(plain, listed(entry.get("tags", ())))),
            names={"label": (entry["label"],)} | {name: listed(of.get(code, ())) for name, of in sources.items()},
        )
        for entry in json.loads((emojibase / "en/data.json").read_text("utf-8"))
        if "group" in entry and groups[str(entry["group"])] not in LEFT_OUT
    ]


def squeezed(name: str) -> str:
    """Letters and digits alone, as the sets' spellings differ: "smiling_cat-face" -> "smilingcatface"."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def by_name(wanted: Sequence[Emoji], names: Sequence[str], icons: Mapping[str, str]) -> dict[str, str]:
    """hexcode -> icon: each source of names in turn, each icon for the first emoji that claims it."""
    free = {squeezed(name): icon for name, icon in icons.items()}
    found: dict[str, str] = {}
    for source in names:
        for emoji in wanted:
            if emoji.hexcode in found:
                continue
            icon = next((free[key] for name in emoji.names[source] if (key := squeezed(name)) in free), None)
            if icon is not None:
                found[emoji.hexcode] = icon
                free = {key: other for key, other in free.items() if other != icon}
    return found


def svgs(package: Path, wanted: Sequence[Emoji], names: Sequence[str]) -> dict[str, str]:
    """hexcode -> SVG text, of a set in Iconify's format; by code point where the set tells it, else by name."""
    data = json.loads((package / "icons.json").read_text("utf-8"))
    points = json.loads((package / "chars.json").read_text("utf-8"))
    if points:
        forms = {emoji.hexcode: (emoji.hexcode.lower(), emoji.hexcode.lower().replace("-fe0f", "")) for emoji in wanted}
        found = {code: points[form] for code, both in forms.items() for form in both if form in points}
    else:
        aliases = {name: alias["parent"] for name, alias in data.get("aliases", {}).items() if len(alias) == 1}
        found = by_name(wanted, names, aliases | {name: name for name in data["icons"]})

    def svg(icon: Mapping) -> str:
        defaults = {"left": 0, "top": 0, "width": 16, "height": 16}
        box = (icon.get(key, data.get(key, default)) for key, default in defaults.items())
        return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{" ".join(map(str, box))}">{icon["body"]}</svg>'

    return {code: svg(data["icons"][name]) for code, name in found.items()}


def drawings(package: Path, wanted: Sequence[Emoji], style: Style) -> Iterator[tuple[Emoji, Image.Image]]:
    """Each emoji that the style has, drawn at DRAWN pixels with transparency."""
    from resvg_py import svg_to_bytes

    found = svgs(package, wanted, style.names) if (package / "icons.json").exists() else {}
    for emoji in wanted:
        bitmap = package / "assets" / f"{emoji.hexcode.lower()}.webp"
        if emoji.hexcode in found:
            yield emoji, Image.open(io.BytesIO(svg_to_bytes(svg_string=found[emoji.hexcode], width=DRAWN))).convert("RGBA")
        elif bitmap.exists():
            yield emoji, Image.open(bitmap).convert("RGBA")


def framed(drawing: Image.Image) -> UInt8[np.ndarray, "64 64 3"]:
    """The drawing on white, its longer extent SIZE - 2·MARGIN pixels, in the middle; each pixel is the mean over its area."""
    white = Image.new("RGBA", drawing.size, "white")
    white.alpha_composite(drawing)
    picture = white.convert("RGB")
    seen = ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).convert("L").point(lambda v: 255 * (v > 8))
    left, top, right, bottom = seen.getbbox() or (0, 0, *picture.size)
    side = max(right - left, bottom - top) * SIZE / (SIZE - 2 * MARGIN)
    x, y = ((left + right) - side) / 2, ((top + bottom) - side) / 2
    room = int(side) + 2
    padded = Image.new("RGB", (picture.width + 2 * room, picture.height + 2 * room), "white")
    padded.paste(picture, (room, room))
    box = (x + room, y + room, x + room + side, y + room + side)
    return np.asarray(padded.resize((SIZE, SIZE), Image.Resampling.BOX, box=box))


def distinct(pictures: Sequence[Picture]) -> list[Picture]:
    """The pictures without those that are near twins (see TWIN) of an earlier one that is kept."""
    k = SIZE // 16
    small = np.stack([p.pixels.reshape(16, k, 16, k, 3).mean((1, 3)).ravel() for p in pictures]).astype(np.float32)
    kept: list[int] = []
    for i, row in enumerate(small):
        if not kept or cdist(row[None], small[kept], "cityblock").min() >= TWIN * row.size:
            kept.append(i)
    return [pictures[i] for i in kept]


def emoji(packages: Mapping[str, Path]) -> list[Picture]:
    """All pictures, from the unpacked packages by name (see fetch.npm)."""
    wanted = emojis(packages["emojibase-data"])
    pictures = [
        Picture(
            pixels=framed(drawing),
            domain="emoji",
            concept=found.label,
            instance=f"{style.package}/{found.hexcode}",
            style=style.word,
            view="",
            azimuth=float("nan"),
            elevation=float("nan"),
            colour="",
            words=(*found.keywords, found.group),
            source=style.package,
            title=found.label,
            creator=style.creator,
            licence=style.licence,
        )
        for style in STYLES
        for found, drawing in tqdm(drawings(packages[style.package], wanted, style), desc=style.word, unit="", mininterval=2)
        if f"{style.package}/{found.hexcode}" not in MISTAKEN
    ]
    return distinct(pictures)
