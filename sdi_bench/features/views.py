"""From which side an object is seen: a linear classifier on EfficientNet-Lite0 features, trained by features.train."""

import numpy as np
from jaxtyping import Float, Int

from . import weights

VIEWS = ("front", "side", "back", "overhead")


def views(features: Float[np.ndarray, "n 1280"]) -> Int[np.ndarray, " n"]:
    """The likeliest view of each picture, as its place in VIEWS."""
    net = {key: value.numpy() for key, value in weights("views").items()}
    return (features @ net["weight"].T + net["bias"]).argmax(axis=1)
