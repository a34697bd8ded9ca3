"""V8: the oracles hold, none is missing, and they would notice."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sdi_bench.draws import Purpose
from sdi_bench.noise import Fresh, Inversion
from sdi_bench.samplers import Annealed, Ddim, Distillation
from sdi_bench.verify import oracles
from sdi_bench.verify.oracles.basis import BasisDraws, NoDraws
from sdi_bench.verify.oracles.gaussians import Affine, Case, Moments, deviation

CONF = Path(__file__).parent.parent / "conf"


@pytest.fixture(scope="module")
def case() -> Case:
    return oracles.cases(full=False)[0]


@pytest.mark.slow  # V8 in tests/test_verify.py
def test_every_claim_holds_with_every_shape_checked(case):
    for worst in oracles.claims_of([case]):
        assert worst.compared > 0
        assert worst.deviation <= 1, worst.where


def test_every_yaml_has_an_oracle_and_every_oracle_a_yaml():
    assert oracles.missing(CONF) == []
    named = {f"{group}/{path.stem}" for group in ("sampler", "noise") for path in (CONF / group).glob("*.yaml")}
    assert set(oracles.ORACLES) <= named


def test_a_yaml_without_an_oracle_is_named(tmp_path):
    for group in ("sampler", "noise"):
        shutil.copytree(CONF / group, tmp_path / group)
    (tmp_path / "noise" / "brown.yaml").write_text("")
    (tmp_path / "sampler" / "_shared.yaml").write_text("")
    assert oracles.missing(tmp_path) == ["noise/brown"]


def test_basis_draws_give_the_exact_moments_of_a_linear_map():
    draws = BasisDraws({(Purpose.INIT, 0): (2,), (Purpose.KAPPA, 3): (1, 2)})
    first, second = draws.normal(Purpose.INIT, 0, (2,)), draws.normal(Purpose.KAPPA, 3, (1, 2))[:, 0]
    rows = 5 + 3 * first - 2 * second
    assert draws.n_rows == 5
    assert torch.equal(rows[0], torch.tensor([5.0, 5.0], dtype=torch.float64))
    assert torch.equal((rows - rows[:1]).square().sum(0), torch.tensor([13.0, 13.0], dtype=torch.float64))
    assert torch.equal(draws.uniform(Purpose.TAU, 1), draws.uniform(Purpose.TAU, 1)[:1].expand(5))


def test_basis_draws_refuse_what_was_not_announced():
    asked = NoDraws()
    asked.normal(Purpose.INIT, 0, (2,))
    with pytest.raises(KeyError):
        BasisDraws(asked.shapes).normal(Purpose.KAPPA, 1, (2,))
    with pytest.raises(ValueError, match="INIT"):
        BasisDraws(asked.shapes).normal(Purpose.INIT, 0, (3,))


@pytest.mark.parametrize("part", ["mean", "variance"])
def test_moments_a_billionth_off_are_noticed(case, part):
    sampler = Distillation(Annealed(case.grid), Fresh(), case.guidance)
    right, _ = case.moments(sampler)
    assert float(deviation(case, Affine("", sampler, right)).max()) == 0
    wrong = Moments(*(value * (1 + 1e-9 * (name == part)) for name, value in right._asdict().items()))
    assert float(deviation(case, Affine("", sampler, wrong)).max()) > 1


def test_divergence_has_to_be_mutual(case):
    growing = Distillation(Annealed(case.grid), Inversion(1e12, 4, tau=None, entropy=0.0), case.guidance)
    with np.errstate(over="ignore", invalid="ignore"):
        moments, _ = case.moments(growing)
        assert not np.isfinite(moments.variance).all()
        assert float(deviation(case, Affine("", growing, moments)).max()) == 0
        steady = Ddim(case.grid, case.guidance)
        assert float(deviation(case, Affine("", steady, moments)).max()) == np.inf
        nothing = Moments(moments.mean * np.nan, moments.variance * np.nan)
        assert not bool(deviation(case, Affine("", growing, nothing)).isfinite().all())
