"""Families that are asked otherwise than most: DiT (classes), distilled ones (a guidance scale), IF (pixels), flat folders."""

import json
from pathlib import Path
from typing import Any

import families.deepfloyd_if
import families.dit
import families.pixels
import families.stable_diffusion
import pytest
import tiny_pipelines

from sdi_bench.models import DiffusersFolder
from sdi_bench.models.base import HasCodec


def saved(pipe: Any, folder: Path, **changes: Any) -> Path:
    """A folder of which fields are rewritten: "transformer__out_channels" and the like; without a part, model_index.json's."""
    pipe.save_pretrained(folder)
    for key, value in changes.items():
        part, _, field = key.rpartition("__")
        path = folder / part / "config.json" if part else folder / "model_index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    return folder


def test_dit_knows_its_classes_by_name(tmp_path) -> None:
    model = DiffusersFolder.of(saved(families.dit.Published(), tmp_path))
    assert isinstance(model, HasCodec) and model.image_shape == (3, 16, 16)
    assert model.prompts == ("Carassius auratus", "Tinca tinca", "golden retriever", "goldfish", "tench")
    for prompt in (None, *model.prompts):
        model.check_prompt(prompt)
    with pytest.raises(ValueError, match=r"^prompt='goldfisch': did you mean 'goldfish'\? .*knows 5 names .*'Tinca tinca'"):
        model.check_prompt("goldfisch")


def test_classes_without_names_go_by_number(tmp_path) -> None:
    model = DiffusersFolder.of(saved(families.dit.Published(), tmp_path, id2label=None))
    assert len(model.prompts) == 1000 and model.prompts[207] == "207"
    model.check_prompt("999")
    with pytest.raises(ValueError, match=r"^prompt='1000': .*knows 1000 names"):
        model.check_prompt("1000")


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"id2label": {"1000": "nothing"}}, {}, "id2label: names a class 1000, and num_embeds_ada_norm=1000"),
        ({}, {"height": 32}, "model.height=32: DiTPipeline makes pictures of 16 x 16 only"),
        ({}, {"width": 6}, "model.width=6: must be a multiple of 4"),
        ({}, {"embedded_guidance": 2.0}, "model.embedded_guidance=2: this network is told no guidance scale"),
        ({"vae__shift_factor": 0.5}, {}, "shift_factor=0.5 of the VAE"),
    ],
)
def test_dit_refuses_by_name(changes: dict[str, Any], settings: dict[str, Any], message: str, tmp_path) -> None:
    folder = saved(families.dit.Published(), tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as refusal:
        DiffusersFolder.of(folder, **settings)
    assert "\n" not in str(refusal.value)


def test_a_distilled_network_is_told_the_user_s_scale_or_the_pipeline_s_own(tmp_path) -> None:
    folder = saved(families.stable_diffusion.distilled(), tmp_path / "sd")
    assert DiffusersFolder.of(folder).embedded_guidance == 7.5
    assert DiffusersFolder.of(folder, embedded_guidance=2.0).embedded_guidance == 2.0
    assert DiffusersFolder.of(saved(families.stable_diffusion.lcm(), tmp_path / "lcm")).embedded_guidance == 8.5
    with pytest.raises(ValueError, match=r"model.embedded_guidance=2: this network is told no guidance scale"):
        DiffusersFolder.of(saved(tiny_pipelines.sd(), tmp_path / "plain"), embedded_guidance=2.0)


def test_if_has_no_codec_and_needs_a_variance(tmp_path) -> None:
    folder = saved(families.deepfloyd_if.tiny("DDPMScheduler"), tmp_path, watermarker=["gone", "Watermarker"])
    model = DiffusersFolder.of(folder)
    assert not isinstance(model, HasCodec) and model.shape == (3, 8, 8) and model.prompts == ()
    model.pipe.unet.register_to_config(out_channels=3)
    with pytest.raises(ValueError, match=r"^out_channels=3: must be twice in_channels=3"):
        model.check()


def test_if_s_captions_are_cleaned_as_its_call_does_by_default(tmp_path, monkeypatch) -> None:
    model = DiffusersFolder.of(saved(families.deepfloyd_if.tiny("DDPMScheduler"), tmp_path))
    told: list[bool] = []
    real = type(model.pipe)._text_preprocessing

    def heard(self: Any, text: Any, clean_caption: bool = False) -> Any:
        told.append(clean_caption)
        return real(self, text)

    monkeypatch.setattr(type(model.pipe), "_text_preprocessing", heard)
    model.encode_text("A <b>cat</b>")
    model.encode_text(None)
    assert told and all(told)


def test_the_oldest_folders_need_their_index(tmp_path) -> None:
    families.pixels.Flat().save_pretrained(tmp_path)
    assert DiffusersFolder.of(tmp_path).shape == (3, 8, 8)
    (tmp_path / "model_index.json").unlink()
    with pytest.raises(ValueError, match=r"has no model_index[.]json, as diffusers wants one, beside its network"):
        DiffusersFolder.of(tmp_path)
