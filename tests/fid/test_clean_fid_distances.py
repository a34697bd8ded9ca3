"""Fréchet and kernel distance, where clean-fid is installed (the extra `fid`)."""

import numpy as np
import pytest

pytest.importorskip("cleanfid.resize", reason="the extra fid is not installed")

from sdi_bench.features import frechet, kernel
from sdi_bench.features.inception import clean_fid

RNG = np.random.default_rng(0)
MIX = RNG.standard_normal((32, 32)) / 32**0.5
A, B = RNG.standard_normal((200, 32)) @ MIX + 0.2, RNG.standard_normal((200, 32)) @ MIX * 1.1


@pytest.mark.parametrize(("n", "m"), [(200, 200), (200, 20), (32, 32), (20, 200), (20, 12)])
def test_the_frechet_distance_is_clean_fid_s(n: int, m: int) -> None:
    """Of singular covariances too, n or m <= 32: there roots of rounding errors are 1e-7 of the whole, in theirs as in ours."""
    a, b = A[:n], B[:m]
    want = clean_fid().frechet_distance(a.mean(axis=0), np.cov(a, rowvar=False), b.mean(axis=0), np.cov(b, rowvar=False))
    assert frechet.between(a, b) == pytest.approx(want, rel=1e-6)


def test_the_kernel_distance_is_clean_fid_s() -> None:
    """Over one subset that is everything."""
    assert kernel.between(A, B) == pytest.approx(clean_fid().kernel_distance(A, B, 1, 200), rel=1e-6)
