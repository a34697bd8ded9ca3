"""Presets and deviations: what a command line makes of them; nothing is computed."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sdi_bench import sweeps
from sdi_bench.command_line import options
from sdi_bench.explain import explain
from sdi_bench.guidance import gamma_said
from sdi_bench.noise import Inversion, Previous, ReleasedInversion
from sdi_bench.samplers import Distillation


def planned(tmp_path: Path, *words: str) -> list[tuple[str, Distillation, str]]:
    """(label, sampler, folder) of each run."""
    pairs = sweeps.preflight([*words, "prompt=[red sofa]", "seeds=0", f"results={tmp_path}"])
    return [(plan.label, plan.job.sampler, plan.folder.path.name) for plan, *_ in pairs]


def differing(one: Any, other: Any, name: str = "") -> set[str]:
    """The settings in which two objects differ."""
    if not dataclasses.is_dataclass(one) or type(one) is not type(other):
        return set() if one == other else {name}
    fields = [field.name for field in dataclasses.fields(one)]
    return set().union(*(differing(getattr(one, f), getattr(other, f), f"{name}.{f}".lstrip(".")) for f in fields))


TAKES_BACK = {
    "convention": "guidance.convention",
    "levels": "noise.levels",
    "first_call": "noise.rolled",
    "start": "noise.unscaled",
    "noise": "noise.each_step",
    "renoise": "noise.as_found",
    "codec": "scene.project",
    "posterior": "scene.posterior",
    "words": "scene.words",
    "timesteps": "timeline.truncated",
    "last_target": "update.n_steps",
}


def test_each_deviation_takes_one_setting_back(tmp_path) -> None:
    listed = ",".join(f"[{name}]" for name in TAKES_BACK)
    (_, released, _), *others = planned(tmp_path, "-m", "preset=released_2d", f"deviation=[],{listed}")
    assert {label for label, _, _ in others} == {f"released_2d deviation=[{name}]" for name in TAKES_BACK}
    assert [differing(released, sampler) for _, sampler, _ in others] == [{setting} for setting in TAKES_BACK.values()]
    assert sorted(TAKES_BACK) == options("deviation")
    assert len({folder for _, _, folder in others}) == len(TAKES_BACK)


def test_without_brackets_it_is_one_and_several_are_jobs(tmp_path) -> None:
    ((_, one, folder),) = planned(tmp_path, "preset=released_2d", "deviation=levels")
    assert isinstance(one.noise, ReleasedInversion)
    assert one.noise.levels == "uniform"
    several = planned(tmp_path, "-m", "preset=released_2d", "deviation=levels,start")
    assert [label for label, _, _ in several] == ["released_2d deviation=levels", "released_2d deviation=start"]
    assert several[0][2] == folder
    ((_, both, _),) = planned(tmp_path, "preset=released_2d", "deviation=[levels,words]")
    assert (both.noise.levels, both.scene.words) == ("uniform", "")


def test_what_the_presets_are(tmp_path) -> None:
    found = planned(tmp_path, "-m", "preset=paper,released_2d,released_2d_cached,threestudio_sds,dreamfusion")
    assert [label for label, _, _ in found] == ["paper", "released_2d", "released_2d_cached", "threestudio_sds", "dreamfusion"]
    assert [sampler.guidance.gamma for _, sampler, _ in found] == [7.5, 8.5, 8.5, 101, 101]
    assert [folder.split("-g")[1].split("-")[0] for _, _, folder in found] == ["7.5", "8.5", "8.5", "101", "101"]
    paper, released, cached, *_ = (sampler for _, sampler, _ in found)
    assert paper.noise == Inversion()
    assert released.guidance.gamma_of(released.noise.guidance_scale) == -6.5
    assert cached.noise == Previous()
    assert (cached.scene.project, released.scene.project) == (False, True)
    ((_, solid, _),) = planned(tmp_path, "preset=released_3d", "scene.resolutions=[6]")
    assert solid.guidance.gamma == 7.5  # its Perp-Neg branch
    assert (solid.guidance.weights, solid.scene.wording.within) == ("azimuth", 45)
    assert (solid.n_states, float(solid.timeline.times(1000)[-1])) == (10001, 0.25)


def test_another_sampler_keeps_the_rest_of_a_preset(tmp_path) -> None:
    found = planned(tmp_path, "-m", "preset=released_2d", "sampler=sds,sdi")
    assert all(sampler.scene.project and sampler.guidance.gamma == 8.5 for _, sampler, _ in found)
    assert [label for label, _, _ in found] == ["sds", "sdi"]


@pytest.mark.parametrize(("guidance", "gamma"), [("cfg", 8.5), ("perp_neg", 7.5)])
def test_the_scale_of_a_direction_is_gamma_whatever_the_convention(tmp_path, guidance: str, gamma: float) -> None:
    words = ("sampler=csd,nfsd,bridge", f"guidance={guidance}", "guidance.scale=7.5", "guidance.convention=threestudio")
    assert [sampler.direction.scale for _, sampler, _ in planned(tmp_path, "-m", *words)] == [gamma] * 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["preset=dreamfusion", "deviation=levels"], "deviation=levels: preset=dreamfusion has none"),
        (
            ["preset=released_2d_cached", "deviation=levels"],
            "deviation=levels: preset=released_2d_cached has convention, words, ",
        ),
        (["deviation=[words]"], "deviation=words: needs a preset"),
        (["preset=dreamfusion", "deviation=[levels,words]"], "deviation=levels: preset=dreamfusion has none"),
        (["preset=released_2d", "deviation=lvls"], "deviation=lvls: did you mean levels?"),
        (["preset=published"], "preset=published: "),
        (["scene.project=true"], "scene.project: sampler=ddim has no scene; sampler=sds noise@sampler.noise=previous is DDIM"),
        (["scene.posterior=mean"], "scene.posterior: sampler=ddim has no scene"),
        (["preset=released_2d", "scene=pixels"], "scene.project: sdi_bench.scenes.Pixels has no such setting; leave it out: ~"),
        (["preset=released_2d", "sampler=sdi", "deviation=levels"], "sampler.noise.levels: sdi_bench.noise.Inversion has no"),
        (["sampler=csd", "guidance.scale=x"], "sampler.direction.scale='x': must be a number"),
        (["sampler=csd", "guidance.convention=x"], "guidance.convention='x': must be paper or threestudio"),
        (["sampler=sdi", "guidance.scale=x"], "sampler.noise.guidance_scale='x': must be a number"),
        (["sampler=ism", "guidance.convention=threestudio"], "guidance.convention=threestudio: ISM asks without a prompt"),
    ],
)
def test_what_does_not_go_together_is_a_line(tmp_path, words: list[str], said: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        planned(tmp_path, *words)
    assert explain(caught.value, words).startswith(said)


def test_gamma_as_a_run_s_configuration_has_it() -> None:
    cfg, perp = "sdi_bench.guidance.Guidance", "sdi_bench.guidance.PerpNeg"
    assert gamma_said({"_target_": cfg, "scale": 7.5}) == 7.5
    assert gamma_said({"_target_": cfg, "scale": 7.5, "convention": "threestudio"}) == 8.5
    assert gamma_said({"_target_": perp, "scale": 7.5, "convention": "threestudio"}) == 7.5
