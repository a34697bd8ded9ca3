"""Files that ship with the package, each checked against SHA256SUMS when it is first opened.

`sha256sum -c SHA256SUMS` in this folder does the same by hand.
"""

import hashlib
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
SUMS = HERE / "SHA256SUMS"


def sums() -> dict[str, str]:
    """name -> sha256 of every shipped file, as SHA256SUMS has them."""
    lines = (line.split(maxsplit=1) for line in SUMS.read_text().splitlines() if line)
    return {name.lstrip("*"): digest for digest, name in lines}


@cache
def shipped(name: str) -> Path:
    """The path of a shipped file ("digits.npz", "weights/effnet.safetensors"), once its checksum has been found right.

    Raises ValueError, naming the file, if it is missing or was changed.
    """
    path = HERE / name
    if not path.is_file():
        raise ValueError(f"{path}: missing; install the package anew (or rebuild: python -m sdi_bench.data.build)")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sums().get(name):
        raise ValueError(f"{path}: damaged, its sha256 is {found[:12]}…; install the package anew")
    return path


def seal(*names: str) -> None:
    """Write the sha256 of these files into SHA256SUMS. For whoever builds them."""
    lines = sums() if SUMS.exists() else {}
    lines |= {name: hashlib.sha256((HERE / name).read_bytes()).hexdigest() for name in names}
    SUMS.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(lines.items()) if (HERE / name).exists()))
