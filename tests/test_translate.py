"""Other projects' configurations: the command is accepted as it is printed, and every trap is named."""

import shlex
import sys
from pathlib import Path

import pytest
import tiny_pipelines

from sdi_bench import sweeps, translate
from sdi_bench.samplers import Distillation, RandomT
from sdi_bench.update import Adam

THREESTUDIO = """
seed: 3
data: {{batch_size: 1, width: 64, elevation_range: [-5, 40]}}
system:
  guidance_type: {kind}
  prompt_processor: {{prompt: "{prompt}", use_perp_neg: {perp}}}
  guidance:
    pretrained_model_name_or_path: {model}
    guidance_scale: 7.5
    {more}
  loss: {{lambda_sparsity: 0.5}}
  geometry: {{radius: 2.0}}
  optimizer: {{name: Adam, args: {{lr: 0.02, betas: [0.9, 0.99], eps: 1.e-15}}}}
trainer: {{max_steps: 12}}
"""

TWO_D = """
seed: 1
iterations: 7
prompt: a cat
neg_prompt: ""
algorithm: {{name: {kind}, model_path: {model}, guidance_scale: 30, log_interval: 5{more}}}
rasterizer: {{name: pixels, batch_size: 4, rgb_as_latents: true, optimizer: {{name: Adam, opt_args: {{lr: 0.05}}}}}}
wt_schedule:
  name: independent
  n_steps: ${{iterations}}
  w_schedule_cfg: {{name: fantasia3d, args: {{model_path: x}}}}
  t_schedule_cfg: {{name: {t}}}
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return tiny_pipelines.save("sd", tmp_path_factory.mktemp("tiny"))


def printed(monkeypatch, capsys, path: Path, text: str) -> str:
    path.write_text(text)
    monkeypatch.setattr(sys, "argv", ["translate", str(path)])
    translate.main()
    return capsys.readouterr().out


def sampler_of(told: str, tmp_path: Path) -> Distillation:
    """What the printed line makes, as a shell would hand it over; nothing is run."""
    python, flag, module, *words = shlex.split(told.splitlines()[0])
    assert (python, flag, module) == ("python", "-m", "sdi_bench.run")
    ((plan,),) = sweeps.preflight([*words, f"results={tmp_path}"])
    assert isinstance(plan.job.sampler, Distillation)
    return plan.job.sampler


def threestudio(checkpoint: Path, kind: str, perp: str = "false", more: str = "{}", prompt: str = "a hat") -> str:
    more = "half_precision_weights: false" if more == "{}" else more
    return THREESTUDIO.format(kind=kind, model=checkpoint, perp=perp, more=more, prompt=prompt)


def test_plain_sds_of_threestudio(monkeypatch, capsys, tmp_path, checkpoint) -> None:
    more = "weighting_strategy: uniform\n    max_step_percent: [0, 0.9, 0.5, 100]"
    told = printed(monkeypatch, capsys, tmp_path / "a.yaml", threestudio(checkpoint, "stable-diffusion-guidance", more=more))
    made = sampler_of(told, tmp_path)
    assert made.guidance.scale == 8.5
    assert made.timeline == RandomT(n_steps=12, t_min=0.02, t_max=0.5)
    assert isinstance(made.update, Adam) and (made.update.lr, made.update.beta2, made.update.eps) == (0.02, 0.99, 1e-15)
    assert type(made.update.weight).__name__ == "UnitWeight"
    assert made.scene.cameras.elevations == [-5, 40] and made.scene.wording.within == 45  # type: ignore[attr-defined]
    for trap in ("gamma = s + 1", "is gamma = 8.5 here", "moves from 0.9 to 0.5", "loss: a sum", "seed: there one stream"):
        assert trap in told
    for name in ("system.geometry.radius=2.0", "system.loss.lambda_sparsity=0.5", "data.width=64"):
        assert name in told.split("no counterpart here:")[1]


@pytest.mark.parametrize("perp", ["true", "false"])
def test_the_released_sdi(monkeypatch, capsys, tmp_path, checkpoint, perp: str) -> None:
    more = "weighting_strategy: sds\n    inversion_n_steps: 5\n    min_step_percent: 0.25"
    told = printed(
        monkeypatch, capsys, tmp_path / "a.yaml", threestudio(checkpoint, "stable-diffusion-sdi-guidance", perp, more)
    )
    made = sampler_of(told, tmp_path)
    gammas = (made.guidance.scale, made.noise.guidance_scale)  # type: ignore[attr-defined]
    assert gammas == ((7.5, -7.5) if perp == "true" else (8.5, -6.5))
    assert getattr(made.guidance, "weights", None) == ("azimuth" if perp == "true" else None)
    grid = made.timeline.grid  # type: ignore[attr-defined]
    assert (grid.n_levels, grid.t_max, grid.t_min, grid.power) == (13, 0.98, 0.25, 1)
    assert (made.noise.n_steps, made.noise.tau, made.noise.entropy) == (5, 0.2, 0.3)  # type: ignore[attr-defined]
    assert type(made.update.weight).__name__ == "SigmaWeight"  # type: ignore[attr-defined]
    assert "loss: a mean" in told and "negative timestep" in told and "added at every step up" in told


def test_vsd_and_what_is_left_open_are_told(monkeypatch, capsys, tmp_path, checkpoint) -> None:
    text = threestudio(checkpoint, "stable-diffusion-vsd-guidance", prompt="???")
    told = printed(monkeypatch, capsys, tmp_path / "a.yaml", text)
    made = sampler_of(told, tmp_path)
    assert made.guidance.scale == 7.5 and type(made.direction).__name__ == "Variational"
    assert "here each item has its own" in told and "left open" in told and "VSD: gamma = s" in told


@pytest.mark.parametrize(
    ("path", "speaks"),
    [
        ("stabilityai/stable-diffusion-2-1", True),
        ("stabilityai/stable-diffusion-2-1-base", False),
        ("stabilityai/stable-diffusion-2", True),
        ("runwayml/stable-diffusion-v1-5", False),
    ],
)
def test_a_checkpoint_of_v_prediction_is_named(monkeypatch, capsys, tmp_path, path: str, speaks: bool) -> None:
    told = printed(monkeypatch, capsys, tmp_path / "a.yaml", threestudio(Path(path), "stable-diffusion-guidance"))
    assert ("predicts v, which their code reads as epsilon" in told) == speaks


def test_a_checkpoint_here_is_asked_what_it_predicts(tmp_path) -> None:
    tiny_pipelines.save("sd", tmp_path, prediction_type="v_prediction")
    assert translate.speaks_v(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "more", "t", "timeline"),
    [
        ("sds", "", "uniform, args: {low: 20, high: 981}", RandomT(n_steps=7, t_min=0.02, t_max=0.98)),
        ("ism", ", delta_s: 50, delta_t: 40", "hifa, args: {t_max: 980, t_min: 20}", None),
    ],
)
def test_2d_sds(monkeypatch, capsys, tmp_path, checkpoint, kind: str, more: str, t: str, timeline: RandomT | None) -> None:
    text = TWO_D.format(kind=kind, model=checkpoint, more=more, t=t)
    told = printed(monkeypatch, capsys, tmp_path / "a.yaml", text)
    made = sampler_of(told, tmp_path)
    assert made.guidance.scale == 30 and "gamma = s)" in told and "seeds=1..4" in told
    assert made.update.lr == 0.05  # type: ignore[attr-defined]
    assert type(made.update.weight).__name__ == "Fantasia3dWeight"  # type: ignore[attr-defined]
    assert timeline is None or made.timeline == timeline
    if kind == "ism":
        assert made.timeline.grid.power == 0.5  # type: ignore[attr-defined]
        assert (made.noise.n_steps, made.noise.interval) == (20, 0.04)  # type: ignore[attr-defined]
    assert "algorithm.log_interval=5" in told.split("no counterpart here:")[1]


@pytest.mark.parametrize("kind", ["dds", "pds"])
def test_2d_sds_edits(monkeypatch, capsys, tmp_path, checkpoint, kind: str) -> None:
    from PIL import Image

    Image.new("RGB", (16, 16), "red").save(tmp_path / "red.png")
    more = f", source_prompts: [a man, a man], target_prompts: [a clown, a king], source_images_paths: [{tmp_path}/red.png]"
    told = printed(monkeypatch, capsys, tmp_path / "a.yaml", TWO_D.format(kind=kind, model=checkpoint, more=more, t="uniform"))
    made = sampler_of(told, tmp_path)
    assert made.source is not None and made.source.prompt == "a man" and made.source.pictures is not None
    assert "2 edits" in told
    assert ("and is t + 1" in told) == (kind == "pds")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1", "neither threestudio's"),
        ("[1, 2]", "neither threestudio's"),
        ("a: [", "not yaml"),
        ("system: {guidance_type: zero123-guidance}", "system.guidance_type='zero123-guidance': known are"),
        (
            "system: {guidance_type: stable-diffusion-guidance, guidance: {guidance_scale: high}}",
            "guidance_scale='high': must be",
        ),
        ("system: {guidance_type: stable-diffusion-guidance, guidance: {weighting_strategy: x}}", "weighting_strategy='x'"),
        ("algorithm: {name: nfsd}", "algorithm.name='nfsd': known are"),
        ("algorithm: {name: dds}", "an edit has source_prompts"),
        ("rasterizer: {name: gaussian_2d}", "rasterizer.name='gaussian_2d'"),
        ("wt_schedule: {name: dreamtime}", "wt_schedule.name='dreamtime'"),
        (None, "no such file"),
        ("[" * 3000, "not yaml"),
        ("system: {guidance_type: stable-diffusion-guidance, guidance: {guidance_scale: 1e400}}", "guidance_scale=inf: must"),
        ("system: {guidance_type: stable-diffusion-guidance, optimizer: {args: [1]}}", "system.optimizer.args=[1]: must be"),
        ("system: {guidance_type: stable-diffusion-guidance, optimizer: {args: {betas: 3}}}", "args.betas=3: must be two"),
        ("system: {guidance_type: stable-diffusion-guidance, optimizer: {args: {lr: x}}}", "system.optimizer.args.lr='x'"),
        ("{system: {guidance_type: stable-diffusion-guidance}, data: {elevation_range: 3}}", "data.elevation_range=3: must"),
        ("system: {guidance_type: sdi-guidance, guidance: {inversion_n_steps: 0}}", "inversion_n_steps=0: must be at least"),
        ("algorithm: {name: ism, delta_s: 0}", "algorithm.delta_s=0: must be at least 1"),
        ("wt_schedule: {t_schedule_cfg: {name: linear}}", "wt_schedule.t_schedule_cfg.args.start=None: must be"),
        ("wt_schedule: {w_schedule_cfg: {name: constant, args: 3}}", "wt_schedule.w_schedule_cfg.args=3: must be"),
    ],
)
def test_what_is_not_known_is_one_line(monkeypatch, capsys, tmp_path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "a.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["translate", str(tmp_path / "a.yaml")])
    with pytest.raises(SystemExit) as ended:
        translate.main()
    told = capsys.readouterr().err
    assert ended.value.code == 2 and said in told and told.count("\n") == 1
