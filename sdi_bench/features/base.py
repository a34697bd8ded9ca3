"""What a network sees in pictures: vectors, for distances between sets of them."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float


@runtime_checkable
class Features(Protocol):
    """Pictures -> vectors.

    preprocessing: names the network and what a picture goes through before it; numbers of another one are not comparable.
    floor: pictures below which a covariance of these features says little (2,048 for 1,280 dimensions and more).
    """

    @property
    def preprocessing(self) -> str:
        """Of the picture, and the network."""

    @property
    def floor(self) -> int:
        """The least number of pictures for a Fréchet distance."""

    def __call__(self, images: Float[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n d"]:
        """The features of pictures in [-1, 1]. Raises ValueError where the network's weights are missing or do not fit."""
