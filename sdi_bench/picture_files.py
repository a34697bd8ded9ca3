"""Pictures as people have them: the one reader of picture files, and how their names pair.

Whatever the file, what comes out is sRGB in [-1, 1], three channels, as it would be looked at on white paper.
"""

import io
import os
import re
import sys
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import ExifTags, Image, ImageCms
from PIL.ImageFile import ImageFile

from .sizes import Pictures, together

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP")
"""What is opened, where Pillow can: stills. No EPS or PDF, which would start another program."""

HELPERS = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".yaml", ".yml", ".md", ".xml", ".html")
"""Suffixes of what lies beside pictures and is no picture, as captions do: left out without a word, like hidden files."""

BESIDE = ("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r")

SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""Byte orders: read in the other one, the high bytes that Pillow keeps are the low ones."""

TINY = {"L;2": 85, "L;4": 17}
"""What Pillow makes of one step of a PNG of 2 or 4 bits; its transparent grey it leaves as it is."""

TRANSPARENT = "with transparency, put on white"
FIRST = "with several frames or pages, of which the first is read"
PROFILED = "with a colour profile other than sRGB, converted"
UNPROFILED = "with a colour profile that cannot be used, read as sRGB"
SAID = (TRANSPARENT, FIRST, PROFILED, UNPROFILED)
"""What is told of pictures that were read."""


LUMA = (0.299, 0.587, 0.114)
"""Rec. 601."""


def of_shape(pixels: Float[np.ndarray, "3 h w"], shape: tuple[int, ...], where: str) -> Float[np.ndarray, "c h w"]:
    """A picture as a model of this shape has it, its luma if that has one channel. Raises ValueError, beginning with where it
    comes from, if it does not fit.
    """
    if len(shape) != 3:
        raise ValueError(f"{where}: this model has no pictures")
    height, width = pixels.shape[1:]
    if (height, width) != shape[1:]:
        raise ValueError(f"{where}: is {width} x {height}, the model wants {shape[2]} x {shape[1]}")
    if shape[0] not in (1, 3):
        raise ValueError(f"{where}: this model's pictures have {shape[0]} channels")
    return np.tensordot(LUMA, pixels, 1)[None] if shape[0] == 1 else pixels


class Read(NamedTuple):
    """A picture in [-1, 1], and what of SAID applies to it."""

    pixels: Float[np.ndarray, "3 h w"]
    remarks: tuple[str, ...]


@cache
def suffixes() -> frozenset[str]:
    """Of the files that are taken for pictures, in lower case."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)


# ------------------------------------------------------------------------------------------------------------ one file


def read(path: Path) -> Read:
    """One picture, upright (EXIF), on white where it is transparent, the first of several frames.

    16 bits a channel are kept (in grey, and in colour of PNG and TIFF; elsewhere Pillow gives 8). A colour profile other than
    sRGB is converted, through 8 bits: networks that metrics look through know sRGB. Raises ValueError, saying why, if it
    cannot be read.
    """
    try:
        if not path.is_file():
            raise ValueError("no file" if path.exists() else "no such file")
        data = path.read_bytes()
        if not data:
            raise ValueError("empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with opened(data) as file:
                return upright(data, file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except MemoryError as error:
        raise ValueError("does not fit into memory") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError("not a picture") from error
    except Exception as error:  # damaged files make decoders raise anything
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def opened(data: bytes) -> ImageFile:
    """The file, not yet decoded."""
    Image.init()
    return Image.open(io.BytesIO(data), formats=[kind for kind in FORMATS if kind in Image.OPEN])


def upright(data: bytes, file: ImageFile) -> Read:
    """What read() gives."""
    several = file.format != "MPO" and getattr(file, "n_frames", 1) > 1  # an MPO is a photograph and a depth map, say
    colour, alpha = channels(data, file)
    remarks = [FIRST] if several else []
    profile = file.info.get("icc_profile")
    if profile:
        colour, remark = in_srgb(colour, file, profile)
        remarks += remark
    if alpha is not None and alpha.min() < 1:
        colour = colour * alpha + 1 - alpha
        remarks.append(TRANSPARENT)
    turned = turn(colour, file.getexif().get(ExifTags.Base.Orientation, 1))
    return Read(np.broadcast_to(turned.transpose(2, 0, 1), (3, *turned.shape[:2])) * 2 - 1, tuple(remarks))


def channels(data: bytes, file: ImageFile) -> tuple[Float[np.ndarray, "h w c"], Float[np.ndarray, "h w 1"] | None]:
    """Colours (c = 3) or greys (c = 1), and alpha if there is any, in [0, 1].

    Raises ValueError for what Pillow would misread.
    """
    bits, signs, planes, white_is_zero = tiff(file)
    rawmodes = {args if isinstance(args, str) else str(args[0]) for *_, args in file.tile if args}
    rawmode = rawmodes.pop() if len(rawmodes) == 1 else ""
    if planes > 1 and bits > 8:
        raise ValueError(f"a TIFF of {bits} bits with its channels apart, which Pillow misreads")
    if signs or (file.mode == "I" and file.format == "TIFF"):
        raise ValueError("integers with a sign or of 32 bits: they do not say which is white")
    if file.mode == "F":
        values = np.asarray(file, dtype=np.float64)[..., None]
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ValueError(f"floats from {values.min():g} to {values.max():g}; 0, black, to 1, white, are read")
    elif file.mode.startswith("I"):
        values = np.asarray(file, dtype=np.float64)[..., None] / (2.0**bits - 1)
        values = 1 - values if white_is_zero else values
    elif re.fullmatch(r"(RGBA?|LA);16[BLN]", rawmode):
        values = deep(data, file, rawmode) / 65535
    else:
        if rawmode in TINY and "transparency" in file.info:
            file.info["transparency"] *= TINY[rawmode]
        values = np.asarray(file.convert("RGBA" if file.has_transparency_data else "RGB")) / 255
    if values.shape[2] in (2, 4):
        return values[..., :-1], values[..., -1:]
    if "transparency" in file.info and file.mode != "F" and bits == 16:
        hidden = np.rint(values * 65535) == np.array(file.info["transparency"])
        return values, 1.0 - hidden.all(axis=2, keepdims=True)
    return values, None


def tiff(file: ImageFile) -> tuple[int, bool, int, bool]:
    """(bits a channel, has signs, planes, white is zero) as a TIFF says of itself; of others 16, for their greys beyond 8."""
    if file.format != "TIFF":
        return 16, False, 1, False
    tags = file.tag_v2  # type: ignore[attr-defined]
    return max(tags.get(258, (1,))), 2 in tags.get(339, ()), tags.get(284, 1), tags.get(262) == 0


def deep(data: bytes, file: ImageFile, rawmode: str) -> Float[np.ndarray, "h w c"]:
    """Channels of 16 bits, 0 to 65535, of which Pillow keeps the high bytes: decoded a second time for the low ones."""
    second = opened(data)
    kind, order = rawmode.split(";16")
    other = "RGBA" if kind == "LA" else f"{kind};16{SWAPPED[order]}"
    second.tile = [
        tile._replace(args=other if isinstance(tile.args, str) else (other, *(tile.args or ())[1:])) for tile in second.tile
    ]
    low = np.asarray(second, dtype=np.float64)
    if kind == "LA":  # all four bytes of a pixel
        return low[..., ::2] * 256 + low[..., 1::2]
    return np.asarray(file, dtype=np.float64) * 256 + low


def in_srgb(
    colour: Float[np.ndarray, "h w c"], file: ImageFile, profile: bytes
) -> tuple[Float[np.ndarray, "h w d"], list[str]]:
    """Colours by their profile in sRGB, and what is to be told; unchanged where the profile is sRGB or of no use here."""
    try:
        known = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(known).lower():
            return colour, []
        space, pixels = known.profile.xcolor_space.strip(), np.rint(colour * 255).astype(np.uint8)
        if space == "CMYK" and file.mode == "CMYK":
            source: Image.Image = file
        elif space == "GRAY" and (pixels == pixels[..., :1]).all():
            source = Image.fromarray(pixels[..., 0])
        elif space == "RGB":
            source = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy())
        else:
            return colour, [UNPROFILED]
        converted = ImageCms.profileToProfile(source, known, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert converted is not None  # as it is where a picture is converted in place
        return np.asarray(converted) / 255, [PROFILED]
    except (ImageCms.PyCMSError, OSError):
        return colour, [UNPROFILED]


def turn(pixels: Float[np.ndarray, "h w c"], orientation: int) -> Float[np.ndarray, "i j c"]:
    """Upright, by the number that EXIF has for how the camera was held (1 to 8; others are left as they are)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


# ------------------------------------------------------------------------------------------------------------ a folder


@dataclass(frozen=True)
class Folder:
    """The pictures of a folder in the order of their names, numbers in them by value.

    names: of all picture files, relative to the folder. read: the places in names of those that could be read; images, in
    [-1, 1], are of these.
    """

    names: tuple[str, ...]
    read: tuple[int, ...]
    images: Pictures


def key_of(name: str) -> tuple[tuple[int, int | str], ...]:
    """What a picture's name is sorted and paired by: its path without the suffix, numbers by value.

    007.png and 7.jpg have the same. Digits after a decimal point are no number of their own, and 1.05 is not 1.5.
    """
    path = unicodedata.normalize("NFC", name.replace(os.sep, "/"))
    stem = re.sub(r"\.[^./]*$", "", path) if path[path.rfind(".") :].lower() in (*suffixes(), *HELPERS) else path
    parts = re.split(r"((?<![0-9])(?<![0-9]\.)[0-9]+)", stem)
    return tuple((0, int(part)) if i % 2 else (1, part) for i, part in enumerate(parts))


def listed(folder: Path, recursive: bool) -> tuple[list[str], list[str], int]:
    """(picture files, other files, pictures in subfolders that are not read), hidden and helper files left out."""
    found: list[str] = []
    others: list[str] = []
    below, seen = 0, set()
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        here = os.path.realpath(place)
        if here in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(here)
        for name in files:
            suffix = Path(name).suffix.lower()
            if name.startswith(".") or name.lower() in BESIDE or suffix in HELPERS:
                continue
            path = Path(place, name).relative_to(folder).as_posix()
            if not recursive and "/" in path:
                below += suffix in suffixes()
            else:
                (found if suffix in suffixes() else others).append(path)
    return sorted(found, key=lambda name: (key_of(name), name)), sorted(others), below


def read_folder(folder: Path, field: str, recursive: bool = False) -> Folder:
    """The pictures of a folder, and of those inside it if recursive.

    What is left out is named in a warning, and what was done to pictures is said there once. Raises ValueError, naming the
    field, if there is none that can be read.
    """
    where = f"{field}={str(folder)!r}"
    names, others, below = listed(folder, recursive)
    inside = f"; recursive=true would find {below} in the folders inside it" if below else ""
    if not names:
        held = f"; it holds {', '.join(others)}" if others else ""
        raise ValueError(f"{where}: holds neither a finished run (shards/) nor pictures (.png, .jpg, .tif, ...){held}{inside}")
    pictures: dict[int, np.ndarray] = {}
    broken: list[str] = []
    told: dict[str, list[str]] = {remark: [] for remark in SAID}
    for i, name in enumerate(names):
        try:
            pictures[i], remarks = read(folder / name)
        except ValueError as error:
            broken.append(f"{name} ({error})")
            continue
        for remark in remarks:
            told[remark].append(name)
    left = [*broken, *(f"{name} (no picture)" for name in others)]
    if left:
        warnings.warn(f"{where}: {len(left)} of {len(names) + len(others)} files left out: {', '.join(left)}", stacklevel=2)
    if not pictures:
        raise ValueError(f"{where}: none of its {len(names)} pictures can be read: {', '.join(broken)}")
    if inside:
        warnings.warn(f"{where}: {len(pictures)} pictures{inside}", stacklevel=2)
    for remark, which in told.items():
        if which:
            warnings.warn(f"{where}: {len(which)} of {len(pictures)} pictures {remark}, as {which[0]}", stacklevel=2)
    return Folder(tuple(names), tuple(pictures), together(list(pictures.values())))


def places(names: Sequence[str], where: str) -> dict[tuple[tuple[int, int | str], ...], int]:
    """key -> the place in names. Raises ValueError, saying where, for two that would pair with the same picture."""
    found: dict[tuple[tuple[int, int | str], ...], int] = {}
    for i, name in enumerate(names):
        first = found.setdefault(key_of(name), i)
        if first != i:
            raise ValueError(f"{where}: {names[first]} and {name} have the same name but for suffix and leading zeros")
    return found
