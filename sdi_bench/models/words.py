"""Which images a prompt means: weights from the words it shares with what is known of each image."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from .. import require
from .base import Prompt

SILENT = frozenset(["a", "an", "and", "at", "for", "from", "in", "of", "on", "or", "the", "to", "with", "view", "emoji"])
"""Words that tell no image from another."""


def tokens(text: str) -> list[str]:
    """The telling words of a text, lower case, without repetition."""
    return [word for word in dict.fromkeys(re.findall(r"[^\W_]+", text.lower())) if word not in SILENT]


@dataclass(frozen=True)
class Words:
    """Prompts as weights over images, by cosine similarity of weighted words (Salton and Buckley 1988).

    Each image is a bag of words; word w in field f counts boost_f·idf_w, idf_w = log(n / images with w), the length of the bag
    is normed to 1. An image's log weight is its cosine with the prompt over `temperature`; all but the best `n_most` images
    weigh nothing. No prompt: the same weight on `n_null` images, spread evenly over all.

    fields: name -> one text per image. boosts: name -> how much its words count, > 0. temperature > 0; n_most, n_null >= 1.
    Raises ValueError, naming the field, otherwise.
    """

    fields: Mapping[str, Sequence[str]]
    boosts: Mapping[str, float]
    temperature: float = 0.05
    n_most: int = 48
    n_null: int = 128

    def __post_init__(self) -> None:
        require.number("model.temperature", self.temperature, above=0)
        require.count("model.n_most", self.n_most)
        require.count("model.n_null", self.n_null)
        if not self.boosts:
            raise ValueError("model.boosts: names no field")
        for name, boost in self.boosts.items():
            require.number(f"model.boosts.{name}", boost, above=0)
            if name not in self.fields:
                raise ValueError(f"model.boosts.{name}: no such field; there are {', '.join(self.fields)}")

    @property
    def n(self) -> int:
        """Images."""
        return len(next(iter(self.fields.values())))

    @cached_property
    def _matrix(self) -> tuple[dict[str, int], Float[np.ndarray, " words"], sparse.csr_array]:
        """Vocabulary, boosted idf as the prompt's words count, and the normed bags [images, words]."""
        entries: dict[tuple[int, str], float] = {}
        if not self.boosts:
            raise ValueError("model.boosts: names no field")
        for name, boost in self.boosts.items():
            for i, text in enumerate(self.fields[name]):
                for word in tokens(text):
                    entries[i, word] = max(boost, entries.get((i, word), 0.0))
        vocabulary = {word: k for k, word in enumerate(sorted({word for _, word in entries}))}
        rows = np.array([i for i, _ in entries])
        columns = np.array([vocabulary[word] for _, word in entries])
        boosts = np.array(list(entries.values()))
        strongest = np.zeros(len(vocabulary))
        np.maximum.at(strongest, columns, boosts)
        idf = np.log(self.n / np.bincount(columns, minlength=len(vocabulary))) + 1e-9  # a word of every image tells nothing
        bags = sparse.csr_array((boosts * idf[columns], (rows, columns)), shape=(self.n, len(vocabulary)))
        length = np.sqrt(bags.multiply(bags).sum(axis=1))
        return vocabulary, strongest * idf, sparse.csr_array(bags.multiply(1 / np.maximum(length, 1e-9)[:, None]))

    def check(self, prompt: Prompt) -> None:
        """Raise ValueError if no word of the prompt is known; warn of those that are not."""
        vocabulary = self._matrix[0]
        if prompt is None:
            return
        unknown = [word for word in tokens(prompt) if word not in vocabulary]
        near = {word: get_close_matches(word, vocabulary, n=1) for word in unknown}
        hints = ", ".join(f"{word!r}" + (f" (did you mean {near[word][0]!r}?)" if near[word] else "") for word in unknown)
        if len(unknown) == len(tokens(prompt)):
            raise ValueError(f"prompt={prompt!r}: none of its words is known to this model" + (f": {hints}" if hints else ""))
        if unknown:
            warnings.warn(f"prompt={prompt!r}: passed over, never seen: {hints}", stacklevel=2)

    def weigh(self, prompt: Prompt) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """(which images, their log weights), best first; the weights sum to 1."""
        if prompt is None:
            index = np.unique(np.linspace(0, self.n - 1, min(self.n_null, self.n)).round().astype(int))
            return index, np.full(len(index), -np.log(len(index)))
        vocabulary, weights, bags = self._matrix
        query = np.zeros(len(vocabulary))
        for word in tokens(prompt):
            if word in vocabulary:
                query[vocabulary[word]] = weights[vocabulary[word]]
        cosine = bags @ (query / np.linalg.norm(query))
        index = np.argsort(-cosine, kind="stable")[: self.n_most]
        fit = (cosine[index] - cosine[index[0]]) / self.temperature
        return index, fit - np.log(np.exp(fit).sum())
