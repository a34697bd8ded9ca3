"""Which pictures train, choose settings, are reported, or show what was never named in training.

heldout   concepts that occur nowhere else, in either domain.
val       known words in unseen combinations: another model of a known name (all its views), a known emoji in a style
          in which it was not seen. Every published number is on it.
tune      made the same way, for choosing settings.
train     the rest.

Choices go by hashes of names, so that a picture more or less moves few others.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from ..world import SIZE
from .picture import Picture

HELDOUT = {"object": 30, "emoji": 60}
"""Concepts held out, none of which more than MOST_MODELS models show: chairs, tables and sofas train."""
MOST_MODELS = 4
WANTED = {"val": 2300, "tune": 512}
"""Pictures; objects first, emoji for the rest."""
TUNE_MODELS = 24
STYLES_LEFT = 3
"""So many styles of a concept train, at least, when one of its drawings is in val or tune."""
TWIN = 0.15
"""Two models are near twins if their pictures differ by less than this part of their ink (distance from white), at 16 x 16."""
FIRST = {
    "headphones",
    "mixer",
    "rocking horse",
    "slippers",
    "wheelbarrow",
    "BlendSwap-CC-0/armchair2",
    "BlendSwap-CC-0/desklamp",
    "BlendSwap-CC-0/lbDesk",
    "BlendSwap-CC-0/sillaBlanca",
    "BlendSwap-CC-0/sofa2",
    "BlendSwap-CC-0/toiletsUnit",
}
"""Chosen before all others: half of the ground-truth meshes, five of them for heldout and six for val."""


def rank(name: str) -> str:
    """Where a name stands in a fixed shuffle, after FIRST."""
    return f"{name not in FIRST:d}{hashlib.sha256(f'sdi_bench/{name}'.encode()).hexdigest()}"


def ranked(names: Iterable[str]) -> list[str]:
    """The names without repeats, in a fixed shuffle."""
    return sorted(set(names), key=rank)


def twins(pictures: Sequence[Picture]) -> dict[str, int]:
    """instance of each object -> the number of its group: near twins (see TWIN) and their near twins, over the same views."""
    k = SIZE // 16
    views: dict[str, dict[tuple[float, float], np.ndarray]] = defaultdict(dict)
    for p in pictures:
        views[p.instance][p.azimuth, p.elevation] = 255 - p.pixels.reshape(16, k, 16, k, 3).mean((1, 3), dtype=np.float32)
    common = sorted(set.intersection(*(set(of) for of in views.values()))) if views else []
    ink = np.array([[views[name][at].ravel() for at in common] for name in views], np.float32).reshape(len(views), -1)
    near = cdist(ink, ink, "cityblock") < TWIN * np.minimum.outer(ink.sum(1), ink.sum(1))
    return dict(zip(views, connected_components(near)[1].tolist(), strict=True))


def models(pictures: Sequence[Picture], n_tune: int) -> dict[str, str]:
    """instance -> its split: one group of twins a name to val, then n_tune groups to tune; every name keeps one in train."""
    group = twins(pictures)
    names: dict[int, set[str]] = defaultdict(set)
    members: dict[int, set[str]] = defaultdict(set)
    for p in pictures:
        names[group[p.instance]].add(p.concept)
        members[group[p.instance]].add(p.instance)
    left = Counter(name for of in names.values() for name in of)
    split = dict.fromkeys(group, "train")
    for goal, limit in (("val", len(members)), ("tune", n_tune)):
        taken: set[str] = set()
        for key in sorted(members, key=lambda key: min(map(rank, members[key]))):
            free = all(split[instance] == "train" for instance in members[key]) and not names[key] & taken
            if free and limit and all(left[name] > 1 for name in names[key]):
                limit -= 1
                taken |= names[key]
                left.subtract(names[key])
                split |= dict.fromkeys(members[key], goal)
    return split


def drawings(pictures: Sequence[Picture], wanted: dict[str, int]) -> dict[str, str]:
    """instance -> the split that wants it or "train"; STYLES_LEFT other styles of its concept stay in train."""
    left = Counter(p.concept for p in pictures)
    concept = {p.instance: p.concept for p in pictures}
    queue = iter(ranked(concept))
    split = dict.fromkeys(concept, "train")
    for goal, n in wanted.items():
        while n > 0 and (instance := next(queue, None)):
            if left[concept[instance]] > STYLES_LEFT:
                left[concept[instance]] -= 1
                split[instance] = goal
                n -= 1
    return split


def splits(pictures: Sequence[Picture]) -> list[str]:
    """The split of each picture."""
    shown = {(p.domain, p.concept, p.instance) for p in pictures}
    models_of = Counter(concept for domain, concept, _ in shown if domain == "object")
    unseen = {
        concept
        for domain, n in HELDOUT.items()
        for concept in ranked(c for d, c, _ in shown if d == domain and models_of[c] <= MOST_MODELS)[:n]
    }
    seen = [p for p in pictures if p.concept not in unseen]
    split = models([p for p in seen if p.domain == "object"], TUNE_MODELS)
    have = Counter(split[p.instance] for p in seen if p.domain == "object")
    split |= drawings([p for p in seen if p.domain == "emoji"], {goal: n - have[goal] for goal, n in WANTED.items()})
    return ["heldout" if p.concept in unseen else split[p.instance] for p in pictures]
