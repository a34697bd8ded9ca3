"""Diffusers folders: V1 holds on each, our DDIM is the pipeline's own sampling, and broken folders get one line."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pipelines
import torch
from cases import crossed, some
from commands import exit_status
from PIL import Image
from rounding import rounding
from torch import Tensor

import sdi_bench as sb
from sdi_bench import invert, run, sweeps
from sdi_bench.coordinates import Epsilon, FlowVelocity, Sample, Velocity, noisy
from sdi_bench.data.cameras import VIEWS
from sdi_bench.draws import Item, PhiloxDraws, Purpose
from sdi_bench.levels import Level
from sdi_bench.models import DiffusersFolder, HasCodec
from sdi_bench.models.checkpoints import opening, scheduler
from sdi_bench.models.checkpoints.families.pixels import Pixels
from sdi_bench.models.checkpoints.latents import Latents
from sdi_bench.models.checkpoints.opening import schedule_of
from sdi_bench.predictor import Cost, Predictor
from sdi_bench.sampling import Job
from sdi_bench.scenes import View, Voxel
from sdi_bench.schedules import Karras, RectifiedFlow, TableSchedule, cosine, scaled_linear
from sdi_bench.verify import cached
from sdi_bench.verify.rows import U, Worst

NAMES = tuple(tiny_pipelines.MAKERS)
N = 10
GRIDS = {
    "pixel": sb.Leading(N),
    "sd": sb.Leading(N, offset=1),
    "sdxl": sb.Leading(N, offset=1),
    "sd3": sb.UniformT(N, t_min=0.003 / 1.002),  # FlowMatchEuler's: from 1 to its shifted 1/1000, both shifted (again)
}
each_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("tiny")
    return {name: tiny_pipelines.save(name, home / name) for name in NAMES}


def items_for(model: DiffusersFolder) -> tuple[Item, ...]:
    return (Item(None, 0), Item(None, 1)) if isinstance(model, Pixels) else (Item("a cat", 0), Item("two dogs", 1))


def shaken(step: Callable[..., Any], h: float, seed: int) -> Callable[..., Any]:
    """A scheduler's step that is given the network's output and the latents moved by ±h of the largest, signs at random."""
    generator = torch.Generator().manual_seed(seed)

    def move(v: Tensor) -> Tensor:
        return v + h * v.abs().max() * (torch.randint(0, 2, v.shape, generator=generator).to(v) * 2 - 1)

    return lambda output, t, x, **more: step(move(output), t, move(x), **more)


def theirs(
    model: DiffusersFolder,
    guidance: sb.Guidance,
    x: Tensor,
    patch: pytest.MonkeyPatch,
    exact: bool,
    n: int = N,
    h: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """The last latents (pixels) of the pipeline's own call, from x. exact: its table is cast to float64 before.

    h: every step is shaken so much.
    """
    import diffusers

    pipe = model.pipe
    if isinstance(model, Pixels):
        pipe = diffusers.DDIMPipeline(model.network, pipe.scheduler)
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    for table in ("alphas_cumprod", "final_alpha_cumprod"):
        if exact:
            setattr(scheduler, table, getattr(scheduler, table).double())
    patch.setattr(scheduler, "step", shaken(scheduler.step, h, seed))
    patch.setattr(pipe, "scheduler", scheduler)
    pipe.set_progress_bar_config(disable=True)
    if not isinstance(model, Pixels):
        prompts = [str(item.prompt) for item in items_for(model)]
        negative = None if guidance.negative is None else [guidance.negative] * len(prompts)
        options = {"guidance_scale": guidance.scale, "num_inference_steps": n, "output_type": "latent"}
        return pipe(prompts, negative_prompt=negative, latents=x, **options).images
    steps, step = [], scheduler.step  # this pipeline takes no latents, and clips what it returns
    patch.setattr(scheduler, "step", lambda *args, **more: steps.append(step(*args, **more)) or steps[-1])
    patch.setattr(sys.modules[type(pipe).__module__], "randn_tensor", lambda *args, **more: x)
    pipe(batch_size=len(x), num_inference_steps=n, output_type="pt")
    return steps[-1].prev_sample


def gap(model: DiffusersFolder, guidance: sb.Guidance, grid: Any, patch: pytest.MonkeyPatch, exact: bool = False) -> float:
    """The largest difference between our DDIM's latents and the pipeline's, in u·(measured amplification of rounding).

    u is the unit roundoff of the network's numbers. The amplification is how far the pipeline's own sampling is led astray
    by errors of relative size h in every step's latents and network output, over h; the larger of two draws.
    """
    items = items_for(model)
    *_, last = Job(model, sb.Ddim(grid, guidance), model.schedule).states(items, Cost())
    first = grid.levels(model.schedule)[0]  # our paths start from b·eps, theirs from eps
    x = (first.b * PhiloxDraws(items).normal(Purpose.INIT, 0, model.shape)).to(model.dtype)
    u = torch.finfo(model.dtype).eps / 2
    h = u**0.7  # 8e-6 or 7e-12: well above rounding, and small enough that errors only add
    want, *moved = (theirs(model, guidance, x, patch, exact, grid.n_levels, *by) for by in ((0.0, 0), (h, 1), (h, 2)))
    amplification = max(float((one - want).abs().max()) for one in moved) / h
    return float((last.x0 - want).abs().max()) / (amplification * u)


TOLERANCE = 40.0
"""Roundings per step: of some ten operations in either's state, and of a network of some ten layers."""

GAMMAS = {"1": sb.Guidance(), "3": sb.Guidance(3.0), "3, negative": sb.Guidance(3.0, "a bird")}


@pytest.mark.parametrize(("name", "guidance"), crossed(NAMES, list(GAMMAS.values())))
def test_ddim_is_the_pipeline_s_own_sampling(folders, name: str, guidance: sb.Guidance, monkeypatch) -> None:
    if name == "pixel" and guidance.negative:
        pytest.skip("it has no prompts")
    assert gap(DiffusersFolder.of(folders[name]), guidance, GRIDS[name], monkeypatch) < TOLERANCE


@pytest.mark.parametrize("name", ["pixel", "sd", "sdxl"])  # FlowMatchEuler's step is in float32 whatever it is given
@pytest.mark.parametrize("gamma", [1.0, 3.0])
def test_in_float64_it_is_so_to_rounding(folders, name: str, gamma: float, monkeypatch) -> None:
    model = DiffusersFolder.of(folders[name], dtype="float64")
    assert gap(model, sb.Guidance(gamma), GRIDS[name], monkeypatch, exact=True) < TOLERANCE


SCHEDULERS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "pixel, x0": ("pixel", {"prediction_type": "sample"}, Sample()),
    "pixel, v": ("pixel", {"prediction_type": "v_prediction", "beta_schedule": "squaredcos_cap_v2"}, Velocity()),
    "sd, x0": ("sd", {"prediction_type": "sample"}, Sample()),
    "sd, v": ("sd", {"prediction_type": "v_prediction"}, Velocity()),
    "sdxl, v": ("sdxl", {"prediction_type": "v_prediction"}, Velocity()),
    "sd, trained betas": (
        "sd",
        {"trained_betas": np.linspace(1e-3, 0.03, 500).tolist(), "num_train_timesteps": 500},
        Epsilon(),
    ),
    "sd, zero SNR": (
        "sd",
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        Velocity(),
    ),
    "sd3, no shift": ("sd3", {"shift": 1.0}, FlowVelocity()),
    "sd3, T5": ("sd3", {"with_t5": True}, FlowVelocity()),
}


@pytest.mark.parametrize("case", some(3, SCHEDULERS))
def test_what_is_predicted_and_the_table_are_read_from_the_scheduler(case: str, tmp_path, monkeypatch) -> None:
    name, options, output = SCHEDULERS[case]
    model = DiffusersFolder.of(tiny_pipelines.save(name, tmp_path, **options))
    assert model.parametrisation == output
    grids = {"sd, zero SNR": sb.Trailing(N), "sd3, no shift": sb.UniformT(N, t_min=0.001)}
    grid = grids.get(case, GRIDS[name])
    assert gap(model, sb.Guidance(3.0), grid, monkeypatch) < TOLERANCE


# ----------------------------------------------------------------------------------------------------------- planted bugs

timestep, encode_text, rows_of = DiffusersFolder.timestep, Latents.encode_text, Latents.rows_of


class Unshifted(RectifiedFlow):
    def __init__(self, t_min: float, n_train: int, shift: float, visits: Any) -> None:
        super().__init__(t_min, n_train)


Plant = Callable[[pytest.MonkeyPatch], None]
BUGS: dict[str, tuple[str, Plant]] = {
    "timestep off by one": ("sd", lambda m: m.setattr(DiffusersFolder, "timestep", lambda s, at: timestep(s, at) + 1)),
    "timestep of the flow off by one": (
        "sd3",
        lambda m: m.setattr(DiffusersFolder, "timestep", lambda s, at: timestep(s, at) - 1),
    ),
    "conditions swapped": ("sd", lambda m: m.setattr(sb.Guidance, "conds", lambda s, p: (tuple(p), (s.negative,) * len(p)))),
    "prompts of another row": ("sdxl", lambda m: m.setattr(Latents, "rows_of", lambda s, p: rows_of(s, p[::-1]))),
    "no prompt is an empty one": ("sdxl", lambda m: m.setattr(Latents, "encode_text", lambda s, p: encode_text(s, p or ""))),
    "pooled text forgotten": (
        "sd3",
        lambda m: m.setattr(Latents, "rows_of", lambda s, p: [r * (r.ndim > 2) for r in rows_of(s, p)]),
    ),
    "size of a latent": ("sdxl", lambda m: m.setattr(Latents, "image_shape", property(lambda s: (3, 8, 8)))),
    "v read as eps": ("sd, v", lambda m: m.setitem(scheduler.OUTPUTS, "v_prediction", Epsilon())),
    "shift forgotten": ("sd3", lambda m: m.setattr(scheduler, "RectifiedFlow", Unshifted)),
}


@pytest.mark.parametrize("bug", some(3, BUGS))
def test_a_planted_bug_is_seen(bug: str, folders, tmp_path, monkeypatch) -> None:
    name, plant = BUGS[bug]
    opening.opened.cache_clear()
    plant(monkeypatch)
    name, *v = name.split(", ")
    folder = tiny_pipelines.save(name, tmp_path, prediction_type="v_prediction") if v else folders[name]
    assert gap(DiffusersFolder.of(folder), sb.Guidance(3.0), GRIDS[name], monkeypatch) > 10 * TOLERANCE
    opening.opened.cache_clear()


# -------------------------------------------------------------------------------------------------------------------- V1


def setting(model: DiffusersFolder, name: str, gamma: float) -> cached.Setting:
    items = items_for(model)
    net = Predictor(model, model.schedule, sb.Guidance(gamma), tuple(item.prompt for item in items))
    return cached.Setting(name, net, PhiloxDraws(items), sb.UniformT(6))


@each_name
def test_cached_kappa_is_ddim(folders, name: str) -> None:
    """V1a and V1b, as sdi_bench.verify judges them."""
    at, step_by_step, whole = setting(DiffusersFolder.of(folders[name], dtype="float64"), name, 3.0), Worst(), Worst()
    states, dual = cached.paths(at.net, at.draws, at.grid)
    for src, dst in zip(states, states[1:], strict=False):
        cached.local(at, src, dst, step_by_step)
    for ours, theirs, bound in zip(dual, states, cached.amplification(at), strict=True):
        for got, expected in zip(cached.coordinates_of(ours), cached.coordinates_of(theirs), strict=True):
            whole.compare(name, got, expected, bound * U)
    assert step_by_step.deviation < 16 and whole.deviation < cached.ROUNDINGS and len(states) == 6


@each_name
def test_cached_kappa_is_ddim_through_float32(folders, name: str) -> None:
    """V1c, as sdi_bench.verify judges it."""
    worst = Worst()
    cached.follow(setting(DiffusersFolder.of(folders[name]), name, 3.0), worst)
    assert worst.deviation < cached.ROUNDINGS


# -------------------------------------------------------------------------------------------------- levels and timesteps


@pytest.mark.parametrize("case", ["pixel", "sd", "sd, zero SNR"])
def test_levels_of_the_table_have_its_whole_timesteps(folders, case: str, tmp_path) -> None:
    name, options, _ = SCHEDULERS.get(case, (case, {}, None))
    model = DiffusersFolder.of(tiny_pipelines.save(name, tmp_path, **options) if options else folders[name])
    entries = torch.arange(1000, dtype=torch.float64)
    at = model.schedule.level(entries / 1000)
    assert torch.equal(model.timestep(at), entries.float())
    assert torch.equal(model.timestep(Level(3 * at.a, 3 * at.b, 0 * at.t)), entries.float())  # sigma counts, nothing else
    halfway = model.timestep(model.schedule.level((entries[:-2] + 0.5) / 1000))
    torch.testing.assert_close(halfway, entries[:-2].float() + 0.5)


@pytest.mark.parametrize(("name", "other"), crossed(NAMES, [cosine(), Karras(0.05, 10.0), RectifiedFlow(0.02)]))
def test_the_same_sigma_is_the_same_question_on_any_schedule(folders, name: str, other: Any, monkeypatch) -> None:
    model = DiffusersFolder.of(folders[name], dtype="float64")
    prompts = [item.prompt for item in items_for(model)]
    at = other.level(torch.tensor([0.3, 0.8], dtype=torch.float64))
    own = model.schedule.at_sigma(at.sigma)
    x0, eps = torch.randn(2, 2, *model.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def differ() -> float:
        pairs = zip(*(model.predict(noisy(x0, eps, level), level, [prompts]) for level in (at, own)), strict=True)
        return max(float((one - same).abs().max() / same.abs().max()) for one, same in pairs)

    assert differ() < 1e-6  # timesteps are float32, and sin(t) is felt
    monkeypatch.setattr(DiffusersFolder, "scale", lambda self, level: torch.ones_like(level.a))
    if abs(float((at.a / own.a)[0]) - 1) > 0.01:
        assert differ() > 1e-3


def test_the_schedule_is_the_checkpoint_s(folders) -> None:
    table, model = schedule_of(folders["sd"]), DiffusersFolder.of(folders["sd"])
    assert isinstance(table, TableSchedule) and isinstance(model.schedule, TableSchedule)
    assert torch.equal(table.alphas_cumprod, model.schedule.alphas_cumprod)
    torch.testing.assert_close(table.alphas_cumprod, scaled_linear().alphas_cumprod, rtol=2e-4, atol=0)  # theirs is float32
    assert schedule_of(folders["sd3"]) == RectifiedFlow(0.001, 1000, 3.0)


def test_shifted_flow_is_flow_at_another_time() -> None:
    t = torch.linspace(0.01, 1, 50, dtype=torch.float64)
    shifted = RectifiedFlow(0.001, shift=3.0).level(t)
    torch.testing.assert_close(shifted.b, 3 * t / (1 + 2 * t))
    torch.testing.assert_close(shifted.a + shifted.b, torch.ones_like(t))
    back = RectifiedFlow(0.001, shift=3.0).at_sigma(shifted.sigma[:-1])
    for one, same in ((back.a, shifted.a), (back.b, shifted.b), (back.t, shifted.t)):
        torch.testing.assert_close(one, same[:-1], rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match=r"^shift=0.0: "):
        RectifiedFlow(shift=0.0)


# ------------------------------------------------------------------------------------------------- batches, text, latents


@each_name
def test_a_row_is_a_batch_of_one_and_conditions_are_one_by_one(folders, name: str) -> None:
    model = DiffusersFolder.of(folders[name])
    prompts = [item.prompt for item in items_for(model)]
    conds = [[None, None], prompts, prompts[::-1]]
    at = model.schedule.level(torch.tensor([0.3, 0.8], dtype=torch.float64))
    x = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = model.predict(x, at, conds)
    for half in whole:
        assert half.shape == (3, *x.shape) and half.dtype == torch.float64
    for i in range(2):
        for k, half in enumerate(whole):

            def alone(c: int, i: int = i, k: int = k) -> Tensor:
                return model.predict(x[i : i + 1], at.rows(torch.tensor([i])), [[conds[c][i]]])[k][0, 0]

            assert max(float((half[c, i] - alone(c)).abs().max()) for c in range(3)) < rounding(lambda: alone(0))
    if name != "pixel":
        assert (whole.eps[0] - whole.eps[1]).abs().max() > 1e-3  # text matters


def test_a_prompt_is_encoded_once(folders, monkeypatch) -> None:
    model = opening.opened.__wrapped__(folders["sdxl"], torch.float32, "cpu", None)
    calls, encode = [], model.pipe.encode_prompt
    monkeypatch.setattr(model.pipe, "encode_prompt", lambda **args: calls.append(args["prompt"]) or encode(**args))
    sampler = sb.Ddim(sb.UniformT(3), sb.Guidance(2.0, negative="a bird"))
    sb.sample(model, sampler, ["a cat", "two dogs"], range(2))
    assert sorted(calls) == ["a bird", "a cat", "two dogs"]


@pytest.mark.parametrize("name", ["pixel", "sd3"])
def test_a_compiled_network_stands_where_the_plain_one_does(folders, name: str) -> None:
    """torch.compile's module has a length that it cannot tell: it is never asked whether it is there by its truth."""
    model = DiffusersFolder.of(folders[name])
    compiled = model.around(torch.compile(model.module))  # type: ignore[arg-type]
    assert compiled.module is not model.module and compiled.shape == model.shape


def test_what_a_network_may_be_asked_for(folders) -> None:
    for name in NAMES:
        model = DiffusersFolder.of(folders[name])
        model.check_prompt(None)
        assert isinstance(model, HasCodec) == (name != "pixel")
        if name == "pixel":
            with pytest.raises(ValueError, match=r"^prompt='a cat': this model is unconditional"):
                model.check_prompt("a cat")
        else:
            model.check_prompt("anything goes")


@pytest.mark.parametrize("name", NAMES[1:])
def test_latents_are_decoded_as_the_pipeline_does(folders, name: str, monkeypatch) -> None:
    model = DiffusersFolder.of(folders[name])
    assert isinstance(model, Latents) and model.shape == (4, 8, 8) and model.image_shape == (3, 16, 16)
    model.pipe.set_progress_bar_config(disable=True)
    x = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"latents": x, "guidance_scale": 1.0, "num_inference_steps": 1}
    latents = model.pipe(["a cat"] * 2, **options, output_type="latent").images.double()
    want = model.pipe(["a cat"] * 2, **options, output_type="pt").images.double()  # in [0, 1], clipped

    def differ() -> float:
        images = model.decode(latents)
        assert images.shape == (2, *model.image_shape) and images.dtype == torch.float64
        return float(((images + 1) / 2).clamp(0, 1).sub(want).abs().max())

    close = rounding(lambda: model.decode(latents))
    assert differ() < close and want.std() > 0.1
    monkeypatch.setattr(Latents, "affine", lambda self, like: (torch.ones(()), torch.zeros(())))
    assert differ() > 10 * close  # a bug planted: the scaling factor left out


@pytest.mark.parametrize("name", NAMES[1:])
def test_images_are_encoded_into_what_is_decoded(folders, name: str, monkeypatch) -> None:
    model = DiffusersFolder.of(folders[name])
    assert isinstance(model, Latents)
    images = torch.rand(2, *model.image_shape, dtype=torch.float64) * 2 - 1
    latents = model.encode(images)
    assert latents.shape == (2, *model.shape) and latents.dtype == torch.float64
    asked: list[Tensor] = []
    monkeypatch.setattr(model.pipe.vae, "decode", lambda z, **more: asked.append(z) or (z,))
    model.decode(latents)

    def want() -> Tensor:
        with torch.no_grad():
            return model.pipe.vae.encode(images.float()).latent_dist.mean

    assert float((torch.cat(asked) - want()).abs().max()) < rounding(want)


def test_latents_with_a_mean_and_a_deviation_each(folders) -> None:
    model = opening.opened.__wrapped__(folders["sdxl"], torch.float32, "cpu", None)
    model.pipe.vae.register_to_config(latents_mean=[0.0, 1.0, 2.0, 3.0], latents_std=[1.0, 2.0, 3.0, 4.0], scaling_factor=0.5)
    scale, shift = model.affine(torch.zeros((), dtype=torch.float64))
    assert scale.flatten().tolist() == [2.0, 4.0, 6.0, 8.0] and shift.flatten().tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_keeps_timesteps_and_vae_in_float32(folders, dtype: str) -> None:
    model, full = (DiffusersFolder.of(folders["sd"], dtype=name) for name in (dtype, "float32"))
    assert model.network.dtype == model.dtype == getattr(torch, dtype) and model.pipe.vae.dtype == torch.float32
    at = model.schedule.level(torch.tensor([0.999], dtype=torch.float64))
    assert model.timestep(at).tolist() == [999.0]
    x = torch.randn(1, *model.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    half, whole = (m.predict(x, at, [["a cat"]]).eps for m in (model, full))
    assert (half - whole).abs().max() < 0.1 * whole.abs().max()


# ------------------------------------------------------------------------------------------------------- names and errors


def test_the_fingerprint_names_the_content(folders, tmp_path) -> None:
    def copied(to: str) -> Path:
        return shutil.copytree(folders["pixel"], tmp_path / to)

    same, other = copied("same"), copied("other")
    weights = other / "unet" / "diffusion_pytorch_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    config = copied("config") / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("0.02", "0.03"))
    prints = [DiffusersFolder.of(path).fingerprint for path in (folders["pixel"], same, other, tmp_path / "config")]
    assert prints[0] == prints[1] and len(set(prints)) == 3 and len(prints[0]) == 64


def delete(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def rewrite(name: str, old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new)) and None


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-500]) and None


def empty(name: str) -> Callable[[Path], None]:
    def weights(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / name)
        save_file(dict(list(tensors.items())[3:]), folder / name, metadata={"format": "pt"})

    return weights


UNET, TEXT = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no folder": (shutil.rmtree, "no such folder; must be the folder of a diffusers pipeline"),
    "no index": (delete("model_index.json"), "has no model_index.json; must be"),
    "no json": (rewrite("model_index.json", "{", "["), "cannot be opened .JSONDecodeError"),
    "no class": (rewrite("model_index.json", "_class_name", "name"), "cannot be opened .KeyError: '_class_name'"),
    "a class unknown here": (
        rewrite("model_index.json", "StableDiffusionP", "NosuchP"),
        "is a NosuchPipeline; known are AuraFlowPipeline",
    ),
    "a pipeline of videos": (
        rewrite("model_index.json", "StableDiffusionP", "CogVideoXP"),
        "is a CogVideoXPipeline, which makes videos: a pipeline of pictures from text would do; known are",
    ),
    "a pipeline that asks for a picture": (
        rewrite("model_index.json", "StableDiffusionP", "StableDiffusionInpaintP"),
        "is a StableDiffusionInpaintPipeline, which asks for a picture beside text: .* would do; known are",
    ),
    "one of several stages": (
        rewrite("model_index.json", "StableDiffusionP", "StableCascadeDecoderP"),
        "is a StableCascadeDecoderPipeline, which is one of several stages: .* would do; known are",
    ),
    "no unet": (delete("unet"), "its component unet/ is missing"),
    "no scheduler": (delete("scheduler"), "its component scheduler/ is missing"),
    "no scheduler config": (delete("scheduler/scheduler_config.json"), "cannot be opened .*scheduler_config.json"),
    "no weights": (delete(UNET), "cannot be opened .*diffusion_pytorch_model"),
    "no text weights": (delete(TEXT), "cannot be opened .*model.safetensors"),
    "weights cut": (cut(UNET), "cannot be opened"),
    "text weights cut": (cut(TEXT), "cannot be opened"),
    "tensors missing": (empty(UNET), "cannot be opened .*conv_in.weight"),
    "text tensors missing": (empty(TEXT), "cannot be opened .*weights are missing.*token_embedding"),
    "another size": (rewrite("unet/config.json", '"cross_attention_dim": 16', '"cross_attention_dim": 24'), "cannot be opened"),
    "no vocabulary": (delete("tokenizer/tokenizer.json"), "cannot be opened .*none of .*tokenizer.json.* in tokenizer/"),
    "a scheduler unknown here": (
        rewrite("scheduler/scheduler_config.json", '"epsilon"', '"noise"'),
        "cannot be opened .*prediction_type='noise'",
    ),
}


@pytest.mark.parametrize("how", ["tensors missing", "text tensors missing"])
def test_random_weights_do_not_pass_where_the_libraries_are_silenced(how: str, folders, tmp_path, capsys) -> None:
    import diffusers
    import transformers

    folder = shutil.copytree(folders["sd"], tmp_path / "mine")
    BROKEN[how][0](folder)
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    levels = [library.get_verbosity() for library in libraries]
    try:
        for library in libraries:
            library.set_verbosity_error()
        with pytest.raises(ValueError, match=BROKEN[how][1]):
            DiffusersFolder.of(folder)
        assert [library.get_verbosity() for library in libraries] == [40, 40] and not capsys.readouterr().err
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)


@pytest.mark.parametrize("how", some(3, BROKEN))
def test_a_broken_folder_gets_one_line(how: str, folders, tmp_path) -> None:
    folder = shutil.copytree(folders["sd"], tmp_path / "mine")
    break_it, message = BROKEN[how]
    break_it(folder)
    with pytest.raises(ValueError, match=f"^model.path='{folder}': {message}") as refusal:
        DiffusersFolder.of(folder)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 700


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": None}, "model.path=None: not given; must be the folder of a diffusers pipeline"),
        ({"dtype": "float8"}, "model.dtype='float8': must be one of float32, float16"),
        ({"device": "moon"}, "model.device='moon': not to be had here"),
        ({"variant": "fp17"}, "model.path='.*': cannot be opened .*fp17"),
    ],
)
def test_bad_options_are_refused_by_name(folders, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        DiffusersFolder.of(**{"path": folders["pixel"]} | options)


def test_networks_and_schedules_that_need_more_are_refused(tmp_path) -> None:
    pipe = tiny_pipelines.sd()
    pipe.unet = tiny_pipelines.conditional_unet(cross_attention_dim=16, num_class_embeds=8)
    pipe.save_pretrained(tmp_path / "classes")
    with pytest.raises(ValueError, match="num_class_embeds=8: a network that asks for"):
        DiffusersFolder.of(tmp_path / "classes")


def test_a_text_model_without_transformers_says_so(folders, monkeypatch) -> None:
    opening.opened.cache_clear()
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"a StableDiffusionPipeline needs the package transformers \(pip install"):
        DiffusersFolder.of(folders["sd"])


# ------------------------------------------------------------------------------------------------------------ commands


def command(monkeypatch: pytest.MonkeyPatch, main: Callable[[], None], *words: str) -> int:
    return exit_status(monkeypatch, main, *words)


SMALL = ("seeds=0..1", "grid.n_levels=3", "reference.grid.n_levels=4")


@pytest.mark.slow
def test_the_main_job_keeps_and_measures_images_and_the_path_in_latents(folders, tmp_path, monkeypatch) -> None:
    words = ["-m", "sampler=ddim,sdi", "model=diffusers", f"model.path={folders['sd']}", "prompt=a cat", *SMALL]
    assert command(monkeypatch, run.main, *words, f"results={tmp_path}") == 0
    for shard in tmp_path.glob("main/*/shards/*.npz"):
        images = np.load(shard)["images"]
        assert images.shape == (2, 3, 16, 16) and images.dtype == np.uint8
    (sdi,) = tmp_path.glob("main/diffusers-sdi-*")
    kept = np.load(sdi / "trajectory.npz")["x0"]
    assert kept.shape == (3, 2, 4, 8, 8)
    model = DiffusersFolder.of(folders["sd"])
    assert isinstance(model, Latents)
    (shard,) = sdi.glob("shards/*.npz")
    last = torch.from_numpy(kept[-1])
    slack = rounding(lambda: model.decode(last))
    gap = np.abs((model.decode(last).numpy().clip(-1, 1) + 1) * 127.5 - np.load(shard)["images"])
    assert gap.max() < 0.5 + 127.5 * slack  # rounded to the nearest
    assert (sdi / "samples.png").stat().st_size > 1000


def test_the_run_has_the_checkpoint_s_schedule_unless_one_is_chosen_and_is_named_by_content(folders, tmp_path) -> None:
    def plan(*words: str) -> Any:
        return sweeps.preflight([*words, "model=diffusers", *SMALL, f"results={tmp_path}"])[0][0]

    moved = shutil.copytree(folders["pixel"], tmp_path / "moved")
    first, again = plan(f"model.path={folders['pixel']}"), plan(f"model.path={moved}")
    assert first.folder.path == again.folder.path and [item.prompt for item in first.items] == [None, None]
    torch.testing.assert_close(first.job.schedule.alphas_cumprod, first.job.model.schedule.alphas_cumprod)
    assert not torch.equal(
        plan(f"model.path={moved}", "schedule=cosine").job.schedule.alphas_cumprod, first.job.schedule.alphas_cumprod
    )
    assert plan(f"model.path={moved}", "model.dtype=float64").folder.path != first.folder.path


def test_the_command_says_what_is_missing(tmp_path, monkeypatch, capsys) -> None:
    for words in (["model=diffusers"], ["model=diffusers", f"model.path={tmp_path}"]):
        assert command(monkeypatch, run.main, *words, f"results={tmp_path}") == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("sdi_bench.run: model.path=")


def test_a_picture_is_inverted_through_latents(folders, tmp_path, monkeypatch, capsys) -> None:
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(tmp_path / "mine.png")
    words = ["model=diffusers", f"model.path={folders['sd']}", "prompt=a cat", "grid.n_levels=4", "seeds=0"]
    for image in ([], [f"image={tmp_path / 'mine.png'}"]):
        assert command(monkeypatch, invert.main, *words, *image, f"output={tmp_path}") == 0, capsys.readouterr().err
        arrays = np.load(tmp_path / "round_trip.npz")
        shapes = {"source": (1, 3, 16, 16), "noise": (1, 4, 8, 8), "back": (1, 3, 16, 16)}
        assert {name: arrays[name].shape for name in arrays} == shapes


def test_a_field_is_seen_through_the_encoder_and_its_gradient_comes_back(folders) -> None:
    """In float64, so that central differences hold: h² of the third derivative and 1e-16 / h of rounding."""
    model = opening.opened.__wrapped__(folders["sd"], torch.float64, "cpu", None)
    model.pipe.vae.to(torch.float64)
    scene = Voxel(resolutions=[4], n_samples=5, smooth=0.0, dtype=torch.float64)
    view = View.of([VIEWS[1], VIEWS[4]])
    generator = torch.Generator().manual_seed(0)
    params, slope, direction = (
        torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        for shape in ((scene.n_params,), model.shape, (scene.n_params,))
    )
    seen = scene.see(params, view, model)
    assert seen.x0.shape == (2, *model.shape)
    ahead, behind = (scene.see(params + h * direction, view, model).x0 for h in (1e-5, -1e-5))
    moved = float((slope * (ahead - behind)).sum()) / 2e-5
    assert moved == pytest.approx(float((seen.pull(slope) * direction).sum()), rel=1e-5)


@pytest.mark.slow
def test_text_to_3d_with_a_checkpoint(folders, tmp_path, monkeypatch) -> None:
    words = ["experiment=3d_paper", f"model.path={folders['sd']}", "prompt=a cat", "prompt_file=null", "grid.n_levels=4"]
    words += ["scene.resolutions=[6]", "scene.n_samples=4", "scene.n_views=4", "metric=[]", f"results={tmp_path}"]
    assert command(monkeypatch, run.main, *words) == 0
    (shard,) = tmp_path.glob("3d_paper/*/shards/*.npz")
    with np.load(shard) as kept:
        assert kept["images"].shape == (1, 4, 3, 16, 16) and kept["params"].shape == (1, 4 * 6**3)
        assert np.ptp(kept["params"]) > 0
