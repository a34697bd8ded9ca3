"""python -m sdi_bench.data.build: fetch the sources, make the pictures and meshes anew, split, pack and seal them.

Needs the extra [build] and the clients apt-get, dpkg-deb (Debian) and npm. Using the package needs none of it.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import shipped
from ..cameras import VIEWS
from ..world import World, read
from . import fetch, prompts
from .attribution import attribution
from .emoji import emoji
from .meshes import write_meshes
from .objects import objects
from .pack import pack
from .splits import splits

MODELS = 820
"""In the catalogues."""


def difference(old: World, new: World) -> str:
    """How two worlds differ, in one line."""
    if old.digest() == new.digest():
        return "same pictures as before"

    def by_name(world: World) -> dict[str, np.ndarray]:
        places = world.table[["instance", "azimuth", "elevation"]].itertuples(index=False)
        return {f"{place}": image for place, image in zip(places, world.images, strict=True)}

    before, after = by_name(old), by_name(new)
    other = sum(not np.array_equal(before[name], after[name]) for name in before.keys() & after.keys())
    gone, added = len(before.keys() - after.keys()), len(after.keys() - before.keys())
    return f"{other} pictures differ from before, {added} are new, {gone} are gone" + (
        "" if other or gone or added else "; the table differs"
    )


def main() -> None:
    """Build, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m sdi_bench.data.build", description=__doc__)
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sdi_bench"
    parser.add_argument("--cache", type=Path, default=default, help="where downloads are kept (default: %(default)s)")
    cache = parser.parse_args().cache.absolute()
    start = time.monotonic()
    try:
        old: World | None = read()
    except ValueError as error:
        print(error)
        old = None
    sh3f, packages = fetch.debian(cache), fetch.npm(cache)
    pictures = [*tqdm(objects(sh3f), desc="objects", total=MODELS * len(VIEWS), unit="", mininterval=5), *emoji(packages)]
    world = pack(pictures, splits(pictures))
    write_meshes(sh3f)
    prompts.write(world.table)
    (shipped.HERE / "ATTRIBUTION.md").write_text(attribution(world.table), "utf-8")
    print(
        world.table.groupby(["split", "domain"]).agg(pictures=("instance", "size"), concepts=("concept", "nunique")).to_string()
    )
    for name in sorted(shipped.sums()):
        print(f"{(shipped.HERE / name).stat().st_size:>12,}  {name}")
    print(difference(old, world) if old else "no world before", f"({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"sdi_bench.data.build: {error}")
