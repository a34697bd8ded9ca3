"""How people keep weights: cached ids, single files, LoRAs, variants, precisions, switches, hashes that are remembered."""

import inspect
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import huggingface_hub
import pytest
import tiny_pipelines
import torch
from original_layout import original
from safetensors.torch import load_file, save_file
from torch import Tensor

import sdi_bench as sb
from sdi_bench import sweeps
from sdi_bench.models import DiffusersFolder
from sdi_bench.models.checkpoints import adapted, opening, prints, remembered
from sdi_bench.models.checkpoints.latents import Prompted
from sdi_bench.models.checkpoints.opening import schedule_of

SAMPLER = sb.Ddim(sb.UniformT(3), sb.Guidance(2.0))
ID = "someone/tiny-sd"
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipelines.save("sd", tmp_path_factory.mktemp("tiny") / "sd")


@pytest.fixture(scope="module")
def single(folder: Path) -> Path:
    """The same weights in one file, in the layout in which Stable Diffusion was published."""
    path = folder.parent / "sd.safetensors"
    save_file(original(folder), path)
    return path


@pytest.fixture(scope="module")
def bare(folder: Path) -> Path:
    """The configuration alone."""
    return Path(shutil.copytree(folder, folder.parent / "bare", ignore=shutil.ignore_patterns("*.safetensors")))


@pytest.fixture(scope="module")
def lora(folder: Path) -> Path:
    return written(folder.parent / "lora" / "pytorch_lora_weights.safetensors", drawn(folder))


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Puts a copy of a folder into a Hugging Face cache of its own, as that library lays it out."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))

    def put(folder: Path, name: str = ID) -> Path:
        place = cache / f"models--{name.replace('/', '--')}"
        snapshot = place / "snapshots" / ("0" * 40)
        for path in filter(Path.is_file, folder.rglob("*")):
            blob, link = place / "blobs" / str(abs(hash(path))), snapshot / path.relative_to(folder)
            blob.parent.mkdir(parents=True, exist_ok=True)
            link.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, blob)
            link.symlink_to(blob)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("0" * 40)
        return snapshot

    return put


def drawn(
    folder: Path, rank: int = 2, module: str = "unet.down_blocks.0.attentions.0.transformer_blocks.0"
) -> dict[str, Tensor]:
    """A LoRA at random, on the attention of one block and on the text encoder, with the keys that diffusers saves."""
    generator = torch.Generator().manual_seed(7)
    unet = load_file(folder / UNET)
    found = {}
    for attention in ("attn1.to_q", "attn2.to_k", "attn2.to_v"):
        out, inside = unet[f"{module.removeprefix('unet.')}.{attention}.weight"].shape
        found[f"{module}.{attention}.lora_A.weight"] = torch.randn(rank, inside, generator=generator)
        found[f"{module}.{attention}.lora_B.weight"] = torch.randn(out, rank, generator=generator)
    return found


def written(path: Path, tensors: dict[str, Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def pictures(model: DiffusersFolder) -> Tensor:
    return sb.sample(model, SAMPLER, ["a cat"])


def aged(folder: Path, seconds: float = 60.0) -> Path:
    """A copy of which the files were written a while ago."""
    for path in filter(Path.is_file, [folder, *folder.rglob("*")]):
        os.utime(path, (time.time() - seconds,) * 2)
    return folder


# -------------------------------------------------------------------------------------------------------------- cached ids


def test_an_id_in_the_local_cache_is_the_folder_that_is_there(hub, folder, tmp_path, monkeypatch) -> None:
    hub(folder)
    model, same = DiffusersFolder.of(ID), DiffusersFolder.of(folder)
    assert model.fingerprint == same.fingerprint and torch.equal(pictures(model), pictures(same))
    shutil.copytree(tiny_pipelines.save("pixel", tmp_path / "pixel"), tmp_path / ID)
    monkeypatch.chdir(tmp_path)
    assert type(DiffusersFolder.of(ID)).__name__ == "Pixels"  # a folder of that name wins


def test_what_is_not_in_the_cache_is_told_with_the_command_that_fetches_it(hub, folder, monkeypatch) -> None:
    asked: list[dict[str, Any]] = []
    real = huggingface_hub.snapshot_download
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **more: asked.append(more) or real(name, **more))
    with pytest.raises(
        ValueError, match=f"^model.path='{ID}': no such folder, and no .* cache; must .*; `hf download {ID}` "
    ) as no:
        DiffusersFolder.of(ID)
    assert "\n" not in str(no.value) and asked and all(more["local_files_only"] for more in asked)
    snapshot = hub(folder)
    shutil.rmtree(snapshot / "unet")
    with pytest.raises(ValueError, match=f"^model.path='.*': its component unet/ is missing; `hf download {ID}` fetches"):
        DiffusersFolder.of(ID)
    (snapshot / "model_index.json").unlink()
    with pytest.raises(ValueError, match=f"no pipeline of this name .*`hf download {ID}`"):
        DiffusersFolder.of(ID)


def test_the_command_that_is_told_is_one_of_the_library() -> None:
    from huggingface_hub.cli.hf import app

    assert "download" in getattr(app, "commands", ()) or "download" in {one.name for one in app.registered_commands}


# ------------------------------------------------------------------------------------------------------------ single files


def test_a_single_file_gives_the_pictures_of_its_folder(single, folder, bare, hub) -> None:
    alone = DiffusersFolder.of(single, config=bare)
    assert schedule_of(single, config=bare) is alone.schedule
    whole = DiffusersFolder.of(folder)
    assert type(alone) is type(whole) and alone.fingerprint == whole.fingerprint
    assert torch.equal(pictures(alone), pictures(whole))
    hub(bare)
    assert DiffusersFolder.of(single, config=ID).fingerprint == whole.fingerprint
    half = DiffusersFolder.of(single, dtype={"default": "bfloat16", "text_encoder": "float16"}, config=bare)
    assert half.network.dtype == torch.bfloat16 and half.pipe.text_encoder.dtype == torch.float16
    assert half.pipe.vae.dtype == torch.float32 and pictures(half).isfinite().all()


KEYS = {"unet": "model.diffusion_model.out.2.weight", "vae": "first_stage_model.decoder.conv_in.weight"}
KEYS["text"] = "cond_stage_model.transformer.text_model.final_layer_norm.weight"


@pytest.mark.parametrize("part", KEYS)
def test_weights_that_a_single_file_lacks_are_not_made_up(part: str, single, bare, tmp_path) -> None:
    tensors = load_file(single)
    del tensors[KEYS[part]]
    lacking = written(tmp_path / "lacking.safetensors", tensors)
    with pytest.raises(ValueError, match=f"^model.path='{lacking}': cannot be opened .*weights are missing") as refusal:
        DiffusersFolder.of(lacking, config=bare)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("beginning", ["model.diffusion_model.", "first_stage_model.", "cond_stage_model."])
def test_a_whole_part_that_a_single_file_lacks_is_not_made_up(beginning: str, single, bare, tmp_path) -> None:
    tensors = {key: tensor for key, tensor in load_file(single).items() if not key.startswith(beginning)}
    with pytest.raises(ValueError, match=r"^model.path='.*': cannot be opened"):
        DiffusersFolder.of(written(tmp_path / "lacking.safetensors", tensors), config=bare)


def test_without_the_check_weights_that_are_missing_would_be_made_up(single, bare, tmp_path, monkeypatch) -> None:
    """A bug planted: without accelerate the library fills a text encoder up with random numbers, and says nothing."""
    from diffusers.loaders import single_file_utils

    tensors = load_file(single)
    del tensors[KEYS["text"]]
    lacking = written(tmp_path / "lacking.safetensors", tensors)
    monkeypatch.setattr(single_file_utils, "is_accelerate_available", lambda: False)
    assert anew(lacking, config=bare) is not None


def test_a_single_file_is_refused_by_name(single, folder, bare, tmp_path, monkeypatch) -> None:
    def refused(match: str, path: Path, **more: Any) -> None:
        with pytest.raises(ValueError, match=match) as refusal:
            DiffusersFolder.of(path, **more)
        assert "\n" not in str(refusal.value)

    refused("^model.config=null: a single file does not say", single)
    refused("^model.config='.*nowhere': no such folder", single, config=tmp_path / "nowhere")
    refused("^model.config='.*': only a single .safetensors file", folder, config=bare)
    refused("^model.path='.*none.safetensors': no such file", tmp_path / "none.safetensors", config=bare)
    refused("^model.path='.*old.ckpt': may run code", Path(shutil.copy(single, tmp_path / "old.ckpt")), config=bare)
    refused("^model.variant='fp16': a single file has none", single, config=bare, variant="fp16")
    pixel = tiny_pipelines.save("pixel", tmp_path / "pixel")
    refused("a DDPMPipeline is not read from a single file", single, config=pixel)
    broken = Path(shutil.copytree(bare, tmp_path / "broken"))
    shutil.rmtree(broken / "vae")
    refused("^model.config='.*broken': its component vae/ is missing", single, config=broken)
    real = opening.find_spec
    monkeypatch.setattr(opening, "find_spec", lambda name: None if name == "accelerate" else real(name))
    opening.opened.cache_clear()
    refused("a single file needs the package accelerate", single, config=bare)


# -------------------------------------------------------------------------------------------------------------------- LoRA


def test_a_lora_at_scale_one_is_the_pipeline_s_own(folder, lora, monkeypatch) -> None:
    plain, model = DiffusersFolder.of(folder), DiffusersFolder.of(folder, lora=lora)
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, local_files_only=True, safety_checker=None)
    pipe.load_lora_weights(str(lora), local_files_only=True)
    x = torch.randn(1, *model.shape, generator=torch.Generator().manual_seed(0))
    at = model.schedule.level(torch.tensor([0.5], dtype=torch.float64))
    t = model.timestep(at)
    r = model.scale(at)
    with torch.no_grad():
        words = pipe.encode_prompt("a cat", "cpu", 1, False)[0]
        want = pipe.unet((x.double() / r).float(), t, encoder_hidden_states=words).sample
    asked: list[Tensor] = []
    monkeypatch.setattr(type(model), "forward", spied(type(model).forward, asked))
    other = plain.predict(x.double(), at, [["a cat"]]).eps
    found = model.predict(x.double(), at, [["a cat"]]).eps
    assert torch.equal(asked[1], want) and not torch.equal(asked[0], want) and not torch.equal(found, other)
    pipe.set_progress_bar_config(disable=True)
    ours = pictures(model)
    assert float((ours - pictures(plain)).abs().max()) > 1e-2
    assert torch.equal(ours, pictures(DiffusersFolder.of(folder, lora=lora.parent)))  # of a folder, the file


def spied(forward: Callable[..., Tensor], kept: list[Tensor]) -> Callable[..., Tensor]:
    def listening(*args: Any, **more: Any) -> Tensor:
        kept.append(forward(*args, **more))
        return kept[-1]

    return listening


@pytest.mark.slow
def test_a_lora_at_scale_zero_gives_the_bits_without_it(folder, lora) -> None:
    plain, zero = DiffusersFolder.of(folder), DiffusersFolder.of(folder, lora=lora, lora_scale=0.0)
    assert torch.equal(pictures(plain), pictures(zero))
    assert not torch.equal(pictures(DiffusersFolder.of(folder, lora=lora, lora_scale=0.5)), pictures(plain))


@pytest.mark.slow
def test_a_lora_is_another_model_and_another_run(folder, lora, tmp_path) -> None:
    moved = Path(shutil.copytree(lora.parent, tmp_path / "moved"))
    tensors = load_file(lora)
    edited = {key: tensor * 1.5 for key, tensor in tensors.items()}
    other = written(tmp_path / "edited.safetensors", edited)
    found = [
        DiffusersFolder.of(folder, **more).fingerprint
        for more in ({}, {"lora": lora}, {"lora": lora, "lora_scale": 0.5}, {"lora": lora, "lora_scale": 0.0}, {"lora": other})
    ]
    assert len(set(found)) == 5 and DiffusersFolder.of(folder, lora=moved).fingerprint == found[1]

    def path(*words: str) -> Path:
        words = ("model=diffusers", f"model.path={folder}", "prompt=a cat", "seeds=0", f"results={tmp_path}", *words)
        return sweeps.preflight(list(words))[0][0].folder.path

    assert path(f"model.lora={lora}") == path(f"model.lora={moved}") != path(f"model.lora={other}")


def test_a_lora_in_float64_stays_in_float64(folder, lora) -> None:
    model = DiffusersFolder.of(folder, dtype="float64", lora=lora)
    assert {tensor.dtype for _, tensor in prints.tensors_of(model.pipe) if tensor.is_floating_point()} == {torch.float64}


@pytest.mark.parametrize("which", ["one key", "all keys", "another size", "no lora"])
def test_a_lora_that_fits_nothing_is_refused(which: str, folder, tmp_path) -> None:
    tensors = drawn(folder)
    first = next(iter(tensors))
    changed = {
        "one key": lambda: {key.replace("attn1", "attn7"): tensor for key, tensor in tensors.items()},
        "all keys": lambda: {key.replace("down_blocks", "single_blocks"): tensor for key, tensor in tensors.items()},
        "another size": lambda: tensors | {first: torch.zeros(2, tensors[first].shape[1] + 1)},
        "no lora": lambda: {"unet.conv_in.weight": torch.zeros(3)},
    }
    path = written(tmp_path / "other.safetensors", changed[which]())
    message = r"of its 6 tensors 4 fit .*attn7.to_q; a LoRA made for" if which == "one key" else "cannot be opened"
    with pytest.raises(ValueError, match=rf"^model.lora='{path}': {message}") as refusal:
        DiffusersFolder.of(folder, lora=path)
    assert "\n" not in str(refusal.value)


def test_a_key_that_nothing_takes_would_pass_unseen_without_the_check(folder, tmp_path, monkeypatch) -> None:
    """A bug planted: the check left out."""
    tensors = {key.replace("attn1", "attn7"): tensor for key, tensor in drawn(folder).items()}
    monkeypatch.setattr(adapted, "check_fit", lambda pipe, file, given: None)
    assert DiffusersFolder.of(folder, lora=written(tmp_path / "other.safetensors", tensors)) is not None


def test_loras_are_refused_by_name(folder, lora, tmp_path, monkeypatch) -> None:
    def refused(match: str, path: Path = folder, **more: Any) -> None:
        with pytest.raises(ValueError, match=match) as refusal:
            DiffusersFolder.of(path, **more)
        assert "\n" not in str(refusal.value)

    refused("^model.lora='.*none': no such file; must be a .safetensors file", lora=tmp_path / "none")
    refused("^model.lora='.*': has none; must be", lora=tmp_path)
    for name in ("a", "b"):
        shutil.copy(lora, tmp_path / f"{name}.safetensors")
    refused("^model.lora='.*': has several, a.safetensors, b.safetensors: name one", lora=tmp_path)
    (tmp_path / "old.bin").write_bytes(b"")
    refused("^model.lora='.*old.bin': is no .safetensors file", lora=tmp_path / "old.bin")
    refused("^model.lora_scale=nan: must be a finite number", lora=lora, lora_scale=float("nan"))
    refused("^model.lora='.*': a DDPMPipeline takes none", tiny_pipelines.save("pixel", tmp_path / "pixel"), lora=lora)
    monkeypatch.setattr(adapted, "find_spec", lambda name: None)
    opening.opened.cache_clear()
    refused(r"^model.lora='.*': needs the package peft \(pip install peft\)", lora=lora)


# ---------------------------------------------------------------------------------------------------- variants, precision


def renamed(folder: Path, variant: str, *keep: str) -> Path:
    for path in folder.rglob("*.safetensors"):
        if path.parent.name not in keep:
            path.rename(path.with_suffix(f".{variant}.safetensors"))
    return folder


@pytest.mark.slow
def test_the_only_variant_there_is_opens_unsaid(folder, tmp_path, monkeypatch) -> None:
    one = renamed(Path(shutil.copytree(folder, tmp_path / "one")), "fp16")
    assert DiffusersFolder.of(one).fingerprint == DiffusersFolder.of(folder).fingerprint
    assert DiffusersFolder.of(one, variant="fp16").fingerprint == DiffusersFolder.of(folder).fingerprint
    sharded = Path(shutil.copytree(folder, tmp_path / "sharded"))
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, local_files_only=True, safety_checker=None)
    shutil.rmtree(sharded)
    pipe.save_pretrained(sharded, variant="fp16", max_shard_size="60KB")
    assert list((sharded / "unet").glob("*-of-*")) and DiffusersFolder.of(sharded).fingerprint
    several = renamed(Path(shutil.copytree(folder, tmp_path / "several")), "fp16")
    for path in several.rglob("*.fp16.safetensors"):
        shutil.copy(path, str(path).replace(".fp16.", ".ema."))
    with pytest.raises(
        ValueError, match=r"^model.variant=null: the weights are there as several variants: .*unet/ as ema and fp16"
    ):
        DiffusersFolder.of(several)
    assert DiffusersFolder.of(several, variant="ema").fingerprint == DiffusersFolder.of(folder).fingerprint
    monkeypatch.setattr(opening.weights, "variant_of", lambda folder, parts: None)
    with pytest.raises(ValueError, match=r"^model.path='.*': cannot be opened"):
        anew(one)  # a bug planted: only what is said is looked for
    monkeypatch.undo()
    part = renamed(Path(shutil.copytree(folder, tmp_path / "part")), "fp16", "vae")
    with pytest.raises(ValueError, match=r"^model.path='.*': cannot be opened"):
        DiffusersFolder.of(part)


@pytest.mark.slow
def test_each_part_has_its_precision(folder, monkeypatch) -> None:
    said = {"default": "bfloat16", "vae": "float64", "text_encoder": "float16"}
    model = DiffusersFolder.of(folder, dtype=said)
    pipe = model.pipe
    assert (pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype) == (torch.bfloat16, torch.float64, torch.float16)
    assert model.dtype == torch.bfloat16 and pictures(model).isfinite().all()
    assert DiffusersFolder.of(folder, dtype={"unet": "float16"}).dtype == torch.float16
    same = DiffusersFolder.of(folder, dtype={"default": "float16"})
    assert same.fingerprint == DiffusersFolder.of(folder, dtype="float16").fingerprint
    assert DiffusersFolder.of(folder, dtype={"vae": "bfloat16"}).pipe.vae.dtype == torch.bfloat16  # as said
    monkeypatch.setattr(Prompted, "mixed", False)
    model.forget()
    with pytest.raises(RuntimeError, match="dtype"):
        pictures(model)  # a bug planted: words in another precision than the network


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ({"default": "float8"}, "model.dtype.default='float8': must be one of float32"),
        ({"vea": "float32"}, "model.dtype.vea: the pipeline has no such network; did you mean 'vae'"),
        ({"scheduler": "float32"}, "model.dtype.scheduler: the pipeline has no such network; there are default, text_encoder"),
        ({"safety_checker": "float32"}, "model.dtype.safety_checker: "),
    ],
)
def test_a_precision_is_refused_by_name(dtype: dict[str, str], message: str, folder) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        DiffusersFolder.of(folder, dtype=dtype)


# --------------------------------------------------------------------------------------------------------------- switches


def test_the_examples_of_the_readme_are_settings_there_are() -> None:
    page = (Path(__file__).parent.parent / "sdi_bench/models/README.md").read_text()
    readme = page.split("Weights are opened however")[1].split("The hash")[0]
    said = set(re.findall(r"[ `'](model[.]\w+)=", readme))
    names = ("path", "config", "lora", "lora_scale", "variant", "dtype", "switches", "max_rows", "offload_text")
    assert said == {f"model.{name}" for name in names}
    assert said <= {f"model.{name}" for name in inspect.signature(inspect.unwrap(DiffusersFolder.of)).parameters}


def test_switches_are_called_once(folder, monkeypatch) -> None:
    calls: list[str] = []
    real = diffusers.StableDiffusionPipeline.enable_attention_slicing
    monkeypatch.setattr(diffusers.StableDiffusionPipeline, "enable_attention_slicing", counted(real, calls))
    plain, model = (
        DiffusersFolder.of(folder, switches=names) for names in ((), ("enable_attention_slicing", "vae.enable_slicing"))
    )
    assert calls == ["called"] and model.pipe.vae.use_slicing
    assert not plain.pipe.vae.use_slicing and model.fingerprint != plain.fingerprint
    assert float((pictures(model) - pictures(plain)).abs().max()) < 1e-4
    DiffusersFolder.of(folder, switches=["enable_attention_slicing", "vae.enable_slicing"])
    assert len(calls) == 1


def counted(real: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def method(self: Any) -> Any:
        calls.append("called")
        return real(self)

    return method


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        (["vae.enable_tilling"], "model.switches: 'vae.enable_tilling' is none of .*; did you mean 'vae.enable_tiling'"),
        (["enable_vae_tiling"], "model.switches: 'enable_vae_tiling' is none of .*; did you mean 'vae.enable_tiling'"),
        (["save_pretrained"], "model.switches: 'save_pretrained' is none of"),
        (["enable_freeu"], "model.switches: 'enable_freeu' asks for s1, s2, b1, b2; only"),
        (["enable_model_cpu_offload"], "model.switches: 'enable_model_cpu_offload' moves .*; set device=cuda, or leave it out"),
        (["enable_sequential_cpu_offload"], "model.switches: .* use enable_model_cpu_offload"),
        ("vae.enable_tiling", "model.switches='vae.enable_tiling': must be a list"),
        (["vae.enable_tiling"] * 2, "model.switches=.*: must be distinct"),
    ],
)
def test_switches_are_refused_by_name(switches: Any, message: str, folder) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        DiffusersFolder.of(folder, switches=switches)
    assert "\n" not in str(refusal.value)


def test_an_offload_is_not_undone(folder, monkeypatch) -> None:
    """Without an accelerator: the pipeline is told `cpu` as the device that weights are moved to."""
    moved: list[Any] = []
    monkeypatch.setattr(adapted, "check_switches", lambda *args: None)
    monkeypatch.setattr(opening, "check_switches", lambda *args: None)
    to = diffusers.StableDiffusionPipeline.to
    monkeypatch.setattr(diffusers.StableDiffusionPipeline, "to", lambda self, *a, **m: moved.append(a) or to(self, *a, **m))
    opening.opened.cache_clear()
    plain = DiffusersFolder.of(folder)
    assert moved == [("cpu",)]
    moved.clear()
    model = DiffusersFolder.of(folder, switches=["enable_model_cpu_offload"])
    assert moved and all(hasattr(part, "_hf_hook") for _, part in prints.modules_of(model.pipe))
    assert torch.equal(pictures(model), pictures(plain)) and model.fingerprint == plain.fingerprint
    assert all(hasattr(part, "_hf_hook") for _, part in prints.modules_of(model.pipe))
    assert DiffusersFolder.of(folder, switches=["enable_model_cpu_offload"]) is model
    assert model.codec_device == torch.device("cpu")


# ----------------------------------------------------------------------------------------------------- remembered hashes


@pytest.fixture
def hashed(tmp_path, monkeypatch) -> list[str]:
    """What is hashed, in a cache of its own."""
    monkeypatch.setenv("SDI_BENCH_CACHE", str(tmp_path / "cache"))
    found, real = [], prints.weights_print
    monkeypatch.setattr(prints, "weights_print", lambda pipe: found.append(real(pipe)) or found[-1])
    return found


def anew(folder: Path, **more: Any) -> DiffusersFolder:
    """As another process opens it."""
    opening.opened.cache_clear()
    return DiffusersFolder.of(folder, **more)


def test_another_process_need_not_hash_again(folder, hashed, tmp_path) -> None:
    mine = aged(Path(shutil.copytree(folder, tmp_path / "mine")))
    first = anew(mine).fingerprint
    assert len(hashed) == 1 and anew(mine).fingerprint == first and len(hashed) == 1
    assert anew(mine, height=16, width=16).fingerprint == first and len(hashed) == 1
    assert anew(mine, dtype="float16").fingerprint != first and len(hashed) == 2
    weights = mine / UNET
    about, data = weights.stat(), weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(weights, (time.time() - 30,) * 2)
    second = anew(mine).fingerprint
    assert second != first and len(hashed) == 3  # another time
    weights.write_bytes(data)
    os.utime(weights, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert anew(mine).fingerprint == first


def test_a_change_that_only_the_time_tells_would_be_missed_without_it(folder, hashed, tmp_path, monkeypatch) -> None:
    """A bug planted: files are known by their names and sizes alone."""
    real = remembered.stamps_of
    monkeypatch.setattr(opening, "stamps_of", lambda files: [(path, size, 0, 0) for path, size, *_ in real(files)])
    mine = aged(Path(shutil.copytree(folder, tmp_path / "mine")))
    first = anew(mine).fingerprint
    data = (mine / UNET).read_bytes()
    (mine / UNET).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert anew(mine).fingerprint == first


def test_what_was_just_written_is_not_remembered(folder, hashed, tmp_path) -> None:
    """Its time would not tell whether it is written again."""
    mine = Path(shutil.copytree(folder, tmp_path / "mine", copy_function=shutil.copy))
    prints_of = [anew(aged(mine, 0)).fingerprint for _ in range(2)]
    assert len(hashed) == 2 and len(set(prints_of)) == 1


def test_what_is_changed_in_memory_is_hashed(folder, hashed, tmp_path) -> None:
    mine = aged(Path(shutil.copytree(folder, tmp_path / "mine")))
    first = anew(mine).fingerprint
    model = anew(mine)
    with torch.no_grad():
        next(model.network.parameters()).mul_(1.5)
    assert model.fingerprint != first and len(hashed) == 2
    assert anew(mine).fingerprint == first and len(hashed) == 2


def test_a_damaged_memory_is_not_believed(folder, hashed, tmp_path) -> None:
    mine = aged(Path(shutil.copytree(folder, tmp_path / "mine")))
    first = anew(mine).fingerprint
    (kept,) = remembered.folder().iterdir()
    said = kept.read_text()
    for damaged in ("", "f" * 64 + said[64:], said[:-2]):
        kept.write_text(damaged)
        assert anew(mine).fingerprint == first
    assert len(hashed) == 4 and anew(mine).fingerprint == first and len(hashed) == 4
    kept.write_text(f"{'f' * 64} {remembered.checked(kept.name, 'f' * 64)}\n")
    assert anew(mine).fingerprint != first  # it is what is there that is read


def test_where_nothing_can_be_kept_it_is_hashed(folder, hashed, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SDI_BENCH_CACHE", str(tmp_path / "file"))
    mine = aged(Path(shutil.copytree(folder, tmp_path / "mine")))
    assert anew(mine).fingerprint == anew(mine).fingerprint and len(hashed) == 2


# --------------------------------------------------------------------------------------------------------------- commands


@pytest.mark.slow
def test_the_schedule_opens_no_second_model(folder, lora, tmp_path, monkeypatch) -> None:
    opening.opened.cache_clear()
    read, real = [], opening.loaded
    monkeypatch.setattr(opening, "loaded", lambda *about: read.append(about) or real(*about))
    words = [f"model.path={folder}", f"model.lora={lora}", "model.lora_scale=0.5", "model.switches=[vae.enable_slicing]"]
    words += ["model.dtype={default: float16, vae: float32}", "model=diffusers", "prompt=a cat", f"results={tmp_path}"]
    plan = sweeps.preflight(words)[0][0]
    assert len(read) == 1 and plan.job.model.dtype == torch.float16
    assert plan.job.model.pipe.get_active_adapters() == [adapted.ADAPTER]
    assert plan.config["model"]["lora"] == str(lora) and json.dumps(plan.config["model"])
    opening.opened.cache_clear()
    sweeps.preflight([*words, "schedule.lora=null"])
    assert len(read) == 3  # a bug planted: the schedule is not told of the LoRA


def test_every_setting_of_the_model_is_one_of_the_schedule() -> None:
    """Else two models would be opened; its precision as the sampler's guidance is no matter of the schedule."""
    import yaml

    conf = Path(__file__).parent.parent / "conf"
    model = yaml.safe_load((conf / "model" / "diffusers.yaml").read_text().split("_self_")[1])["model"]
    schedule = yaml.safe_load((conf / "schedule" / "diffusers.yaml").read_text())
    assert set(model) - set(schedule) == {"embedded_guidance", "max_rows"}
    assert all(value == f"${{model.{key}}}" for key, value in schedule.items() if key != "_target_")
