"""The shape checker is on."""

import pytest
import torch
from jaxtyping import TypeCheckError

from sdi_bench.coordinates import noisy
from sdi_bench.levels import Level
from sdi_bench.schedules import scaled_linear


def test_a_wrong_shape_is_caught() -> None:
    level = scaled_linear().level(0.5)
    noisy(torch.zeros(2, 3), torch.zeros(2, 3), level)
    with pytest.raises(TypeCheckError):
        noisy(torch.zeros(2, 3), torch.zeros(3, 2), level)
    with pytest.raises(TypeCheckError):
        Level(torch.zeros(2), torch.zeros(3), torch.zeros(2))
