"""Edits: where they start from, what they are refused, and that every kind of model can be asked for one."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import tiny_pipelines
import torch
from PIL import Image

import sdi_bench as sb
from sdi_bench import sweeps
from sdi_bench.directions import DeltaDenoising, PosteriorSampling
from sdi_bench.draws import items_of
from sdi_bench.jobs import Plan
from sdi_bench.predictor import Cost
from sdi_bench.samplers import Annealed, Distillation, State
from sdi_bench.sampling import Job
from sdi_bench.schedules import Karras, RectifiedFlow, Schedule, scaled_linear
from sdi_bench.sources import Source

FEW = ["grid.n_levels=3", "reference=null", "metric=[]", "seeds=0..2"]


def plan_of(tmp_path: Path, *words: str) -> Plan:
    ((plan,),) = sweeps.preflight([*FEW, f"results={tmp_path}", *words])
    return plan


def states(plan: Plan, rows: slice = slice(None)) -> list[State]:
    return list(plan.job.states(plan.items[rows], Cost()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four grey pictures of 8 x 8, each of one level."""
    place = tmp_path_factory.mktemp("pictures")
    for k in range(4):
        Image.new("RGB", (8, 8), (60 * k,) * 3).save(place / f"{k}.png")
    return place


@pytest.mark.parametrize("name", ["dds", "pds"])
def test_an_edit_starts_from_pictures_of_a_folder_row_by_row(tmp_path, folder, name: str) -> None:
    plan = plan_of(tmp_path, f"sampler={name}", "model=digits", f"source={folder}", "prompt=3", "seeds=0..7")
    first, *_, last = states(plan)
    levels = {round(float(value), 6) for value in first.x0.flatten(1).unique()}
    wanted = {round(60 * k / 127.5 - 1, 6) for k in range(4)}
    assert levels <= wanted and len(levels) > 1  # each draws one, and not all the same
    assert all(float(row.max() - row.min()) < 1e-12 for row in first.x0)
    for i in (0, 5):
        alone = states(plan, slice(i, i + 1))
        assert torch.equal(alone[0].x0[0], first.x0[i])
        assert float((alone[-1].x0[0] - last.x0[i]).abs().max()) <= 1e-12 * max(1, float(last.x0.abs().max()) ** 2)


def test_the_model_s_own_data_are_what_the_source_prompt_means(tmp_path) -> None:
    """Of two Gaussians far apart: the mean of 400 sources is known to .05 (the class has std .5, .32)."""
    model = sb.Gaussian.of({"a": ([5.0, -5.0], [0.25, 0.1]), "b": ([0.0, 0.0], [1.0, 1.0])}, ([0.0, 0.0], [1.0, 1.0]))
    plan = plan_of(tmp_path, "sampler=dds", "model=digits", "prompt=3")
    assert isinstance(plan.job.sampler, Distillation)
    sampler = plan.job.sampler.__class__(plan.job.sampler.timeline, direction=plan.job.sampler.direction, source=Source("a"))
    job = plan.job.__class__(model, sampler, plan.job.schedule)
    start = next(job.states(items_of(["b"], range(400)), Cost())).x0
    np.testing.assert_allclose(start.mean(0), [5.0, -5.0], atol=4 * 0.5 / 400**0.5)
    np.testing.assert_allclose(start.std(0), [0.5, 0.1**0.5], rtol=0.15)


def test_an_interrupted_edit_goes_on_with_the_same_bits(tmp_path, folder) -> None:
    plan = plan_of(tmp_path, "sampler=pds", "model=digits", f"source={folder}", "prompt=3", "grid.n_levels=5")
    whole = states(plan)
    rest = list(plan.job.states(plan.items, Cost(), whole[2]))
    assert torch.equal(rest[-1].x0, whole[-1].x0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return tiny_pipelines.save("sd", tmp_path_factory.mktemp("tiny"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dds", "pds"])
def test_a_pipeline_is_asked_from_pictures_through_its_codec(tmp_path, checkpoint, name: str) -> None:
    Image.new("RGB", (16, 16), "red").save(tmp_path / "red.png")
    words = ["model=diffusers", f"model.path={checkpoint}", f"source={tmp_path / 'red.png'}", "source_prompt=a cat"]
    plan = plan_of(tmp_path, f"sampler={name}", *words, "prompt=a dog", "guidance.scale=3", "seeds=0")
    first, *_, last = states(plan)
    model = plan.job.model
    red = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64).reshape(1, 3, 1, 1).expand(1, 3, 16, 16)
    assert torch.allclose(first.x0, model.encode(red).double())  # type: ignore[attr-defined]
    assert bool(last.x0.isfinite().all()) and not torch.equal(last.x0, first.x0)


def test_what_a_source_shows_is_encoded_with_the_rest_before_the_first_call() -> None:
    asked: list[str | None] = []

    class Reader(sb.Gaussian):
        def read(self, prompts) -> None:
            asked.extend(prompts)

    model = sb.Gaussian.of({"king": ([0.0], [[1.0]]), "man": ([1.0], [[1.0]])}, ([0.0], [[1.0]]))
    model = Reader(**{field.name: getattr(model, field.name) for field in dataclasses.fields(model) if field.init})
    sampler = Distillation(Annealed(sb.UniformT(3)), direction=DeltaDenoising(), source=Source("man"))
    Job(model, sampler, scaled_linear()).read(items_of(["king"], [0]))
    assert {*asked} == {None, "king", "man"}


@pytest.mark.parametrize("schedule", [RectifiedFlow(), scaled_linear(), Karras()])
def test_weights_of_pds_are_finite_down_to_the_lowest_level(schedule: Schedule) -> None:
    """With lag = 1 psi is 0 wherever it is asked (its definition cancels); a flow's table begins above t = 0."""
    times = torch.linspace(0, 0.95, 39, dtype=torch.float64)
    psi, chi = PosteriorSampling(lag=1).coefficients(schedule.level(times), schedule)
    assert float(psi.abs().max()) < 1e-6 * float(chi.abs().max()) and bool((chi > 0).all() and chi.isfinite().all())


def test_results_are_named_by_what_the_pictures_are(tmp_path) -> None:
    def folder_of(colour: str) -> Path:
        Image.new("RGB", (8, 8), colour).save(tmp_path / "one.png")
        return plan_of(tmp_path, "sampler=dds", "model=digits", f"source={tmp_path}/one.png", "prompt=3").folder.path

    red = folder_of("red")
    assert red == folder_of("red") != folder_of("blue")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sampler=dds", "source=nowhere.png"], "source='nowhere.png': not a readable picture"),
        (["sampler=dds", "source={folder}/wide.bmp"], "source: is 9 x 8, the model wants 8 x 8"),
        (["sampler=dds", "source_prompt=12"], "source_prompt='12': "),
        (["sampler=sds", "source_prompt=3"], "sampler=sds does not read source_prompt; it edits no picture"),
        (["sampler=sds", "direction@sampler.direction=dds"], "an edit needs a picture to start from"),
        (["sampler=dds", "scene=pixels", "update@sampler.update=adam"], "scene=Pixels: an edit starts from a picture"),
        (["sampler=pds", "sampler.direction.lag=0"], "direction.lag=0: must be a whole number >= 1"),
        (["sampler=pds", "sampler.direction.lag=1000"], "direction.lag=1000: must be less than the timesteps of the schedule"),
        (["sampler=pds", "update@sampler.update=full"], "sampler.update.weight: sdi_bench.update.FullStep has no such setting"),
    ],
)
def test_what_cannot_be_had_is_one_line_before_the_first_call(tmp_path, words: list[str], said: str) -> None:
    Image.new("RGB", (9, 8)).save(tmp_path / "wide.bmp")
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        plan_of(tmp_path, "model=digits", "prompt=3", *(word.format(folder=tmp_path) for word in words))
    assert "\n" not in str(error.value)


def test_a_checkpoint_without_data_says_that_it_needs_a_picture(tmp_path, checkpoint) -> None:
    with pytest.raises(ValueError, match="source=null: this model has no data of its own; name a picture of 16 x 16"):
        plan_of(tmp_path, "sampler=dds", "model=diffusers", f"model.path={checkpoint}", "prompt=a dog")
