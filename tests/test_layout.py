"""A trained folder has the layout that releases of diffusers from 0.30 and of transformers from 4 on read, whole.

tests/benchmarks/releases.py opens what ships in some of these; here it is looked at without them.
"""

import json
from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import instantiate
from safetensors.torch import load_file

from sdi_bench.data.shipped import HERE
from sdi_bench.models.trained import RECIPE
from sdi_bench.train import parts
from sdi_bench.train.recipe import Recipe

ENDS = ("weight", "bias")


def clip_4(n_layers: int) -> set[str]:
    """The weights of CLIPTextModel in transformers 4 (modeling_clip.py of 4.57), by hand."""
    layer = ["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2", *(f"self_attn.{k}_proj" for k in ("k", "out", "q", "v"))]
    names = {f"embeddings.{kind}_embedding.weight" for kind in ("token", "position")}
    names |= {f"final_layer_norm.{end}" for end in ENDS}
    names |= {f"encoder.layers.{i}.{part}.{end}" for i in range(n_layers) for part in layer for end in ENDS}
    return {f"text_model.{name}" for name in names}


def save(folder: Path) -> Path:
    """A pipeline of what ships' recipe, not trained, as sdi_bench.train saves it."""
    recipe: Recipe = instantiate(yaml.safe_load((HERE / "trained" / RECIPE).read_text()), _convert_="all")
    words = parts.tokenizer(recipe.text, ["a brown sofa, side view"])
    codec, unet = parts.codec(recipe), parts.unet(recipe)
    parts.save(parts.pipeline(codec, parts.text_encoder(recipe.text, words), words, unet), folder)
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(params=["what ships", "what is trained"])
def folder(request: pytest.FixtureRequest, fresh: Path) -> Path:
    return HERE / "trained" if request.param == "what ships" else fresh


def test_text_weights_have_the_names_of_transformers_4(folder: Path) -> None:
    said = json.loads((folder / "text_encoder" / "config.json").read_text())
    assert set(load_file(folder / "text_encoder" / "model.safetensors")) == clip_4(said["num_hidden_layers"])
    assert (said["model_type"], said["architectures"]) == ("clip_text_model", ["CLIPTextModel"])


def test_the_names_of_transformers_5_would_be_noticed(monkeypatch, tmp_path) -> None:
    """A bug planted: the text encoder as the library at hand writes it."""
    monkeypatch.setattr(parts, "old_names", lambda path: None)
    assert set(load_file(save(tmp_path) / "text_encoder" / "model.safetensors")).isdisjoint(clip_4(2))


def test_every_weight_is_found_by_the_release_at_hand(folder: Path) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    for name, kind in (("text_encoder", CLIPTextModel), ("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        options = {"local_files_only": True, "output_loading_info": True}
        net, info = kind.from_pretrained(folder / name, **options)
        assert not any(info[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")), name
        files = [load_file(path) for path in (folder / name).glob("*.safetensors")]
        assert len(files) == 1
        kept = {key.removeprefix("text_model."): value for key, value in files[0].items()}
        held = dict(net.named_parameters())
        assert kept.keys() == held.keys()
        assert all(torch.equal(kept[key].float(), value) for key, value in held.items())


def test_the_tokenizer_is_also_in_the_files_of_transformers_4(folder: Path) -> None:
    whole = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]
    assert json.loads((folder / "tokenizer" / "vocab.json").read_text()) == whole["vocab"]
    lines = (folder / "tokenizer" / "merges.txt").read_text().splitlines()
    assert lines[0].startswith("#version") and [line.split(" ") for line in lines[1:]] == [list(m) for m in whole["merges"]]
    said = json.loads((folder / "tokenizer" / "tokenizer_config.json").read_text())
    text = json.loads((folder / "text_encoder" / "config.json").read_text())
    assert said["model_max_length"] == text["max_position_embeddings"]
    for name in ("bos_token", "eos_token", "pad_token"):
        assert text[f"{name}_id"] == whole["vocab"][said[name]]


def test_the_last_step_of_the_pipeline_ends_at_the_clean_picture(folder: Path) -> None:
    """As our samplers do; without it the pipeline's pictures differed by 1.6 % of the largest latent."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    assert float(scheduler.final_alpha_cumprod) == 1
    assert json.loads((folder / "model_index.json").read_text())["scheduler"] == ["diffusers", "DDIMScheduler"]
