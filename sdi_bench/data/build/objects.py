"""Pictures of the furniture models of SweetHome3D's libraries, seen from the angles of `cameras.VIEWS`.

`names.csv` gives plain names for the catalogue's titles, or for single models; `fronts.csv` how far a model is turned about the
vertical (degrees, from +Z towards +X) so that its front faces +Z, or "none" where no side is the front. Both were made by
looking at every model.
"""

import csv
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from ..cameras import VIEWS
from ..world import SIZE
from .picture import Picture
from .render import load, render

LICENCES = {
    "BlendSwap-CC-0": "CC0-1.0",
    "BlendSwap-CC-BY": "CC-BY-3.0",
    "KatorLegaz": "CC-BY-3.0-US",
    "Reallusion": "CC-BY-3.0-US",
    "Scopia": "CC-BY-3.0",
}
"""Of each library, as its LICENSE.TXT has it."""
BRANDS = r"apple i|ford |vw |peugeot|renault|seat leon|chevrolet|smart car|playstation|yamaha|bill \d"
"""Titles of branded goods and banknotes."""
FLAT = r"arrow |parking slot|pedestrian crossing"
"""Titles of road marks."""
DULL = {"Electricity", "Electrical"}
"""Tags of plugs, sockets and switches: white squares on white."""
NOT_WORDS = {"Adjustable", "Blend Swap", "Haussmann", "SCPTS", "Velux", "Peterbilt", "Thonet", "3", "4", "Three", "Four"}
NOT_WORDS |= {"Nitendo", "Sony", "PS", "PlayStation", "Xbox", "iPad"}
"""Tags that say nothing of what is seen, or are names of makers."""
BLANK = 0.012
"""A model is left out if its pictures are on average less than this far (of 1) from white."""
TWINS = 0.12
"""... or if, at 16 x 16, they differ from an earlier model's by less than this part of how far they are from white."""


@dataclass(frozen=True)
class Model:
    """One entry of a library's catalogue; rotation: as the catalogue and then fronts.csv have it; front: whether it has one."""

    library: str
    key: str
    title: str
    category: str
    tags: tuple[str, ...]
    creator: str
    path: Path
    rotation: Float64[np.ndarray, "3 3"]
    front: bool

    @property
    def instance(self) -> str:
        """Unique: "BlendSwap-CC-0/armchair"."""
        return f"{self.library}/{self.key}"

    @property
    def concept(self) -> str:
        """What it is, in plain words: "sofa" for "Sofa 2 seats"."""
        names, title = table("names.csv"), self.title.lower()
        return names.get(self.instance) or names.get(title, title)

    @property
    def words(self) -> tuple[str, ...]:
        """Words of the title, the tags and the category that the concept does not have; "outdoor" for "Exterior"."""
        category = {"Exterior": "outdoor", "Miscellaneous": ""}.get(self.category, self.category)
        found = re.findall(r"[a-zà-ÿ']+", " ".join([self.title, *self.tags, category]).lower())
        return tuple(dict.fromkeys(word for word in found if word not in (*self.concept.split(), "and", "with", "of")))


def table(name: str) -> dict[str, str]:
    """First column -> second of a csv file beside this one."""
    with (Path(__file__).parent / name).open(encoding="utf-8", newline="") as file:
        return dict(list(csv.reader(file))[1:])


def about_y(degrees: float) -> Float64[np.ndarray, "3 3"]:
    """The rotation that takes +Z towards +X."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def catalogue(sh3f: Path, unpacked: Path) -> list[Model]:
    """All entries of the five libraries in folder `sh3f`, in order; unpacks them into `unpacked`."""
    fronts, models = table("fronts.csv"), []
    for library in LICENCES:
        with zipfile.ZipFile(sh3f / f"{library}.sh3f") as archive:
            archive.extractall(unpacked / library)
        text = (unpacked / library / "PluginFurnitureCatalog.properties").read_bytes().decode("unicode_escape")
        entries: dict[int, dict[str, str]] = {}
        for field, number, value in re.findall(r"^(\w+)#(\d+)=(.*)$", text, re.MULTILINE):
            entries.setdefault(int(number), {})[field] = value.strip()
        for _, entry in sorted(entries.items()):
            key = entry["id"].split("#")[1]
            front = fronts.get(f"{library}/{key}", "0")
            turn = np.array(entry.get("modelRotation", "1 0 0 0 1 0 0 0 1").split(), dtype=float).reshape(3, 3)
            models.append(
                Model(
                    library=library,
                    key=key,
                    title=entry["name"],
                    category=entry["category"],
                    tags=tuple(tag.strip() for tag in entry["tags"].split(",") if tag.strip() not in {"", *NOT_WORDS}),
                    creator=entry["creator"],
                    path=unpacked / library / entry["model"].lstrip("/"),
                    rotation=about_y(0 if front == "none" else float(front)) @ turn,
                    front=front != "none",
                )
            )
    return models


def wanted(model: Model) -> bool:
    """Whether it is an object one could ask for by name."""
    return not (re.match(f"{BRANDS}|{FLAT}", model.title.lower()) or DULL & set(model.tags))


def colour_word(pixels: UInt8[np.ndarray, "n 3"]) -> str:
    """The commonest of the eleven basic colour words among the pixels, each named by its place in Oklab (Ottosson 2020).

    The borders were drawn by eye on these models: woods and skins are brown, creams white, teals green or blue.
    """
    light, a, b = oklab(pixels).T
    chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360
    warm = (hue > 20) & (hue < 115)
    plain = chroma < np.where(warm, np.where(light > 0.88, 0.08, 0.03), np.where(light > 0.88, 0.045, 0.022))
    rules = [
        (plain & (light > 0.86), "white"),
        ((plain & (light < 0.37)) | (light < 0.24), "black"),
        (plain, "gray"),
        ((hue < 20) | (hue >= 350), np.where(light > 0.6, "pink", "red")),
        (hue >= 320, np.where(light > 0.5, "pink", "purple")),
        (hue < 36, np.where(chroma > 0.11, "red", np.where(light > 0.8, "pink", "brown"))),
        (hue < 75, np.where((chroma > 0.125) & (light > 0.58), "orange", "brown")),
        (hue < 112, np.where((chroma > 0.11) & (light > 0.68), "yellow", np.where(hue < 105, "brown", "green"))),
        (hue < 192, "green"),
        (hue < 288, "blue"),
    ]
    conditions, words = zip(*rules, strict=True)
    found, counts = np.unique(
        np.select(conditions, [np.broadcast_to(word, hue.shape) for word in words], "purple"), return_counts=True
    )
    return str(found[counts.argmax()])


def oklab(rgb: np.ndarray) -> Float64[np.ndarray, "n 3"]:
    """Of sRGB in 0..255."""
    c = rgb / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    lms = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]])
    lms = linear @ np.array([*lms, [0.0883024619, 0.2817188376, 0.6299787005]]).T
    to_lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    return np.cbrt(lms) @ np.array([*to_lab, [0.0259040371, 0.7827717662, -0.8086757660]]).T


def draw(model: Model) -> tuple[UInt8[np.ndarray, "9 64 64 3"], str]:
    """All views of a model, and its colour word: by its own colours, unlit, where it covers a quarter of a pixel or more."""
    parts = load(model.path, model.rotation)
    lit, own = (np.stack(pictures) for pictures in zip(*(render(parts, camera) for camera in VIEWS), strict=True))
    return lit, colour_word(own[own[..., 3] > 64][:, :3])


def objects(sh3f: Path) -> Iterator[Picture]:
    """Every view of every model kept, from the folder that holds the five .sh3f files; prints what is left out and why.

    The order and the pictures depend on nothing but the files. Uses all cores.
    """
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(os.cpu_count()) as pool:
        every = catalogue(sh3f, Path(folder))
        models = [model for model in every if wanted(model)]
        print(f"{len(every)} models, {len(every) - len(models)} unwanted by title or tag")
        kept: dict[str, np.ndarray] = {}
        for model, (pixels, colour) in zip(models, pool.map(draw, models, chunksize=4), strict=True):
            tiny = pixels.reshape(len(VIEWS), 16, SIZE // 16, 16, SIZE // 16, 3).mean((2, 4)) / 255
            if 1 - tiny.mean() < BLANK:
                print(f"{model.instance}: nearly blank")
                continue
            if twin := next(
                (other for other, its in kept.items() if np.abs(tiny - its).mean() < TWINS * (1 - tiny).mean()), None
            ):
                print(f"{model.instance}: twin of {twin}")
                continue
            kept[model.instance] = tiny
            for camera, picture in zip(VIEWS, pixels, strict=True):
                yield Picture(
                    pixels=picture,
                    domain="object",
                    concept=model.concept,
                    instance=model.instance,
                    style="",
                    view=camera.view if model.front or camera.view == "overhead" else "",
                    azimuth=camera.azimuth,
                    elevation=camera.elevation,
                    colour=colour,
                    words=model.words,
                    source=f"SweetHome3D {model.library}",
                    title=model.title,
                    creator=model.creator,
                    licence=LICENCES[model.library],
                )
        print(f"{len(kept)} models kept")
