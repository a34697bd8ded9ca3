"""The lists of prompts that ship: captions of the val and tune pictures, in an order of no meaning: a beginning is fair.

paper43.txt is no part of it: the 43 prompts of arXiv 2405.15891, appendix A.4, as printed there.
"""

import hashlib

import pandas as pd

from ..shipped import HERE, seal
from ..world import DOMAINS

N_FEW = 8
"""Prompts of each domain in val16, each of another concept."""

N_MODELS = 2
"""Training models that the names of the lists furniture and furniture_tune have, at least."""


def shuffled(table: pd.DataFrame) -> pd.DataFrame:
    """The rows ordered by a hash of caption and instance."""
    words = (table["caption"] + "\0" + table["instance"] + "\0" + table["style"]).map(str.encode)
    return table.iloc[words.map(lambda word: hashlib.sha256(word).hexdigest()).argsort(kind="stable")]


def common(table: pd.DataFrame) -> pd.DataFrame:
    """Of these pictures those of objects whose name at least N_MODELS training models have."""
    seen = table[(table["domain"] == "object") & (table["split"] == "train")].groupby("concept")["instance"].nunique()
    return table[(table["domain"] == "object") & table["concept"].isin(seen.index[seen >= N_MODELS])]


def lists(table: pd.DataFrame) -> dict[str, list[str]]:
    """name -> prompts, one a line; a caption stands as often as there are pictures of it. table: World.open().table."""
    found = {split: shuffled(table[table["split"] == split]) for split in ("val", "tune")}
    few = [rows.drop_duplicates("concept")[:N_FEW] for domain in DOMAINS for rows in [found["val"].query("domain == @domain")]]
    named = common(table)
    return {
        "val": list(found["val"]["caption"]),
        "tune": list(found["tune"]["caption"]),
        "val16": list(pd.concat(few)["caption"]),
        "furniture": list(shuffled(named[named["split"] == "val"])["caption"]),
        "furniture_tune": list(shuffled(named[named["split"] == "tune"])["caption"]),
    }


def write(table: pd.DataFrame) -> None:
    """Write and seal the lists."""
    for name, lines in lists(table).items():
        (HERE / "prompts" / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    seal(*(f"prompts/{path.name}" for path in sorted((HERE / "prompts").glob("*.txt"))))
