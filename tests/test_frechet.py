"""The Fréchet distance of pixels."""

import numpy as np
import pytest
import torch

from sdi_bench.metrics import Context, Frechet, UndefinedError
from sdi_bench.models import Gaussian


def context(n: int, m: int = 4000) -> Context:
    rng = np.random.default_rng(0)
    model = Gaussian.of({}, ([0.0] * 16, [1.0] * 16))
    shift, scale = rng.standard_normal(16) / 4, np.linspace(0.5, 1.5, 16)
    samples, truth = rng.standard_normal((n, 16)) * scale + shift, rng.standard_normal((m, 16))
    return Context(samples, [None] * n, model, truth, same_law=True)


def test_it_equals_the_fid_of_torchmetrics_on_the_same_features() -> None:
    here = context(500)
    ours = Frechet().statistic(here)(np.arange(500))
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Pixels(torch.nn.Module):
        num_features = 16

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    theirs = FrechetInceptionDistance(feature=Pixels(), normalize=True).set_dtype(torch.float64)
    theirs.update(torch.from_numpy(here.truth).reshape(-1, 1, 4, 4).clone(), real=True)
    theirs.update(torch.from_numpy(here.images).reshape(-1, 1, 4, 4).clone(), real=False)
    # sums of squares in float64, eigenvalues of C C'
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(UndefinedError, match="31 samples are too few for 16 pixels"):
        Frechet().statistic(context(31))
