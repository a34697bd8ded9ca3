"""From which side an object is seen: a small classifier on EfficientNet-Lite0 features, trained by features.train."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from . import weights
from .effnet import WIDTH
from .towers import Standard

VIEWS = ("front", "side", "back", "overhead")


def classifier() -> nn.Sequential:
    """The network without weights: features -> scores of VIEWS."""
    return nn.Sequential(
        Standard(), nn.Dropout(0.2), nn.Linear(WIDTH, 64), nn.GELU(), nn.Dropout(0.3), nn.Linear(64, len(VIEWS))
    )


@cache
def loaded() -> nn.Sequential:
    """The classifier with the shipped weights."""
    net = classifier()
    net.load_state_dict(weights("views"))
    return net.eval().requires_grad_(False)


def views(features: Float[np.ndarray, "n 1280"]) -> Int[np.ndarray, " n"]:
    """The likeliest view of each picture, as its place in VIEWS."""
    return loaded()(torch.tensor(features)).argmax(dim=1).numpy()
