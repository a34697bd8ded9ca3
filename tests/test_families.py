"""Every family of checkpoints: ours is the pipeline's own sampling, V1 holds, sds and sdi make pictures."""

import family_rows
import pytest
import torch
from families import Family, each, families

import sdi_bench as sb
from sdi_bench.draws import PhiloxDraws
from sdi_bench.models.base import HasCodec, images_of
from sdi_bench.predictor import Cost, Predictor
from sdi_bench.sampling import Job
from sdi_bench.verify import cached
from sdi_bench.verify.rows import Worst

USUAL = ("SD", "FLUX.1 dev", "Qwen-Image", "Kandinsky 2.2")
"""What differs most: text and pictures, packed and not, tables and flows."""


@each()
def test_it_is_the_pipeline_s_own_sampling(family: Family) -> None:
    line = family_rows.row(family, family.gammas[-1])
    assert not family_rows.is_red(line), line


@pytest.mark.slow
@each(*(family.name for family in families()))
def test_it_is_so_at_every_guidance_scale(family: Family) -> None:
    for gamma in family.gammas[:-1]:
        line = family_rows.row(family, gamma)
        assert not family_rows.is_red(line), line


@each(*USUAL)
def test_its_pictures_are_the_pipeline_s(family: Family) -> None:
    model, gamma = family_rows.opened(family), family.gammas[-1]
    latents, images = family_rows.called(family, gamma, 0.0, "pt")
    found = (images_of(model, latents) / 2 + 0.5).clamp(0, 1)
    assert found.shape == images.shape and float((found - images).abs().max()) < 1e-4
    if isinstance(model, HasCodec):
        assert model.image_shape == tuple(images.shape[1:])
        assert model.encode(torch.zeros(1, *model.image_shape, dtype=torch.float64)).shape == (1, *model.shape)


@each(*USUAL)
def test_carried_noise_is_ddim(family: Family) -> None:
    """V1c, as sdi_bench.verify judges it."""
    model, worst = family_rows.opened(family), Worst()
    net = Predictor(model, model.schedule, sb.Guidance(family.gammas[-1]), tuple(item.prompt for item in family.items))
    cached.follow(cached.Setting(family.name, net, PhiloxDraws(family.items), sb.UniformT(6, t_max=0.97)), worst)
    assert worst.deviation < cached.ROUNDINGS


@each(*USUAL)
@pytest.mark.parametrize("noise", [sb.Fresh(), sb.Inversion(n_steps=2)], ids=["sds", "sdi"])
def test_score_distillation_makes_pictures(family: Family, noise) -> None:
    model = family_rows.opened(family)
    sampler = sb.Distillation(sb.Annealed(sb.UniformT(5, t_max=0.97)), noise, sb.Guidance(family.gammas[-1]))
    job = Job(model, sampler, model.schedule)
    job.check(family.items)
    *_, last = job.states(family.items, Cost())
    pictures = job.pictures(last)
    assert bool(pictures.isfinite().all()) and len(pictures) == len(family.items)
    assert pictures.shape[1:] == (model.image_shape if isinstance(model, HasCodec) else model.shape)
