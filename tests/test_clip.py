"""CLIPScore, CLIP-IQA, CLIP-FID's features and rewards, on a tiny CLIP made on the spot."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rounding import rounding
from safetensors.torch import load_file, save_file
from tiny_pipelines import lively, tokenizer
from torch.nn import functional

from sdi_bench.features.base import Features
from sdi_bench.features.clip import DEVIATION, MEAN, ClipFeatures, loaded, tensor
from sdi_bench.features.inception import bytes_of, mend_torchvision
from sdi_bench.metrics import ClipIqa, ClipScore, Context, Reward, UndefinedError
from sdi_bench.metrics.clip_iqa import PROMPTS as PAIRS

IMAGES = np.random.default_rng(0).uniform(-1.2, 1.2, (5, 3, 20, 20))
PROMPTS = ["a red sofa", "an owl", "a", "b", "c"]
CONTEXT = Context(IMAGES, PROMPTS, None, None, same_law=False)
ALL = np.arange(5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    mend_torchvision()
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = sizes | {"vocab_size": 514, "bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    vision = sizes | {"patch_size": 56}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))  # another width than the towers'
    path = tmp_path_factory.mktemp("clip")
    lively(model, 0).save_pretrained(path)
    CLIPProcessor(CLIPImageProcessor(), tokenizer()).save_pretrained(path)
    return str(path)


def embedded(folder: str, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit embeddings of pictures and texts by transformers' joint pass; pictures by Pillow to 224 and normalised by hand."""
    from transformers import CLIPModel, CLIPTokenizer

    model, tokens = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    pictures = [Image.fromarray(picture).resize((224, 224), Image.Resampling.BICUBIC) for picture in bytes_of(IMAGES)]
    x = (np.stack([np.asarray(picture) for picture in pictures]) / 255 - MEAN) / DEVIATION
    words = tokens(prompts, return_tensors="pt", padding=True, truncation=True)
    with torch.no_grad():
        found = model(**words, pixel_values=torch.tensor(x.transpose(0, 3, 1, 2), dtype=torch.float32))
    assert found.image_embeds.shape == (5, 12)
    return functional.normalize(found.image_embeds, dim=1), functional.normalize(found.text_embeds, dim=1)


def test_clip_score_is_the_cosine_of_the_projected_embeddings(folder) -> None:
    def of_pairs() -> torch.Tensor:
        pictures, texts = embedded(folder, PROMPTS)
        return (pictures * texts).sum(dim=1)

    cosines, close = of_pairs(), 100 * rounding(of_pairs)
    assert 0 < (cosines > 0).sum() < 5 and float(cosines.std()) > 1e-3  # the tiny model tells them apart, and 0 is a bound
    statistic = ClipScore(folder).statistic(CONTEXT)
    want = 100 * cosines.clamp(min=0)
    assert statistic(ALL) == pytest.approx(float(want.mean()), abs=close)
    assert [statistic(ALL[i : i + 1]) for i in ALL] == pytest.approx(want.tolist(), abs=close)


def test_clip_iqa_is_the_softmax_over_its_two_texts(folder) -> None:
    def good() -> torch.Tensor:
        pictures, good_bad = embedded(folder, ["Good photo.", "Bad photo.", *PROMPTS[:3]])
        return (100 * pictures @ good_bad[:2].T).softmax(dim=1)[:, 0]

    found = ClipIqa(folder).statistic(CONTEXT)
    assert [found(ALL[i : i + 1]) for i in ALL] == pytest.approx(good().tolist(), abs=rounding(good))
    assert ClipIqa(folder, prompt="sharpness").statistic(CONTEXT)(ALL) != pytest.approx(found(ALL), abs=10 * rounding(good))


def test_long_prompts_are_cut_before_their_end_mark(folder) -> None:
    """Two prompts that agree up to the limit are one; and the cut one is not read at a letter. It is said, once."""
    long = ["boat " * 60 + "a", "boat " * 60 + "b"]

    def of_long() -> torch.Tensor:
        pictures, texts = embedded(folder, [*long, *PROMPTS[:3]])
        return pictures @ texts[0]

    cosines = of_long()
    pair = Context(np.stack([IMAGES[int(cosines.argmax())]] * 3), [*long, "boat"], None, None, same_law=False)
    with pytest.warns(UserWarning, match=r"metric\.b: 2 of 3 prompts are longer than 77 tokens, and cut there") as said:
        statistic = ClipScore(folder, name="b").statistic(pair)
    assert len([warning for warning in said if "metric" in str(warning.message)]) == 1
    want = float(100 * cosines.max())
    assert want > 1
    assert [statistic(np.array([i])) for i in (0, 1)] == pytest.approx([want, want], abs=100 * rounding(of_long))


def test_a_tokenizer_that_names_no_limit_has_the_network_s(folder, tmp_path) -> None:
    edited(folder, tmp_path, "tokenizer_config.json", lambda settings: settings.pop("model_max_length"))
    assert loaded(str(tmp_path), "cpu")[1].limit == 77
    model, processor = loaded(str(tmp_path), "cpu")
    tokens = processor(text=["boat " * 60], return_tensors="pt")
    assert tokens["input_ids"].shape == (1, 77) and tokens["input_ids"][0, -1] == 513
    assert model.get_text_features(**tokens).shape == (1, 12)


def edited(folder: str, to: Path, name: str, edit: Callable[[dict[str, Any]], object]) -> None:
    """A copy of the folder with one of its files changed."""
    if folder != str(to):
        shutil.copytree(folder, to, dirs_exist_ok=True)
    if name.endswith(".json"):
        settings = json.loads((to / name).read_text())
        edit(settings)
        (to / name).write_text(json.dumps(settings))
    else:
        tensors = load_file(to / name)
        edit(tensors)
        save_file(tensors, to / name, metadata={"format": "pt"})


def test_half_precision_weights_run_in_single_precision(folder, tmp_path) -> None:
    """And what was kept for another folder of the same name is not taken for theirs."""

    def halve(tensors: dict[str, torch.Tensor]) -> None:
        tensors.update({key: value.half() for key, value in tensors.items()})

    want, half = ClipFeatures(folder)(IMAGES), tmp_path / Path(folder).name
    edited(folder, half, "model.safetensors", halve)
    edited(str(half), half, "config.json", lambda settings: settings.update(dtype="float16"))
    found = ClipFeatures(str(half))(IMAGES)
    assert np.allclose(found, want, atol=1e-2) and not np.array_equal(found, want)  # weights to 2**-11
    assert {p.dtype for p in loaded(str(half), "cpu")[0].parameters()} == {torch.float32}


def test_embeddings_are_tensors_whatever_transformers_gives() -> None:
    wanted = torch.ones(2, 3)
    assert tensor(wanted) is wanted and tensor(SimpleNamespace(pooler_output=wanted, last_hidden_state=None)) is wanted


def test_pictures_are_rounded_to_bytes_and_clipped() -> None:
    values = np.array([-1.2, -1, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 1 - 0.51 / 127.5, 1.2]).reshape(1, 1, 2, 3)
    assert np.array_equal(bytes_of(values.repeat(3, axis=1))[0, ..., 1].ravel(), [0, 0, 0, 1, 254, 255])


def test_clip_fid_s_features_are_clip_s_with_clean_fid_s_preprocessing(folder) -> None:
    found = ClipFeatures(folder)
    assert isinstance(found, Features) and found.preprocessing.startswith("clip/") and found.floor == 2048
    model, processor = loaded(folder, "cpu")
    for images in (IMAGES, IMAGES[:, :, :12], IMAGES[..., :13]):
        pictures = [Image.fromarray(picture) for picture in bytes_of(images)]
        x = processor(images=pictures, return_tensors="pt")[
            "pixel_values"
        ]  # transformers' own is the same, but for an odd pixel
        with torch.no_grad():
            want, close = model.get_image_features(x), rounding(lambda x=x: model.get_image_features(x))
        assert np.abs(found(images) - want.numpy()).max() < close


def test_a_wrong_folder_is_one_line(folder, tmp_path) -> None:
    for make in (ClipScore, ClipIqa, ClipFeatures):
        for wrong in (None, str(tmp_path / "none")):
            with pytest.raises(ValueError, match=r"metric\.clip_\w+[.\w]*\.folder=.*must be a folder with a CLIP"):
                make(wrong)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    for made in (lambda: ClipScore(str(tmp_path)).statistic(CONTEXT)(ALL), lambda: ClipFeatures(str(tmp_path))(IMAGES)):
        with pytest.raises(ValueError, match=f"folder='{tmp_path}': is a 'bert'; must be a folder"):
            made()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=f"clip_iqa.folder='{tmp_path}': its config.json cannot be read; must be"):
        ClipIqa(str(tmp_path))
    with pytest.raises(ValueError, match=r"^metric\.clip_iqa\.prompt='nice': must be one of quality, "):
        ClipIqa(folder, prompt="nice")


@pytest.mark.parametrize("lost", ["model.safetensors", "processor_config.json", "tokenizer.json", "visual_projection.weight"])
def test_a_folder_that_lacks_a_part_is_one_line(folder, tmp_path, lost: str) -> None:
    """transformers would make up a projection at random, and a tokenizer that knows no word."""
    if lost.endswith(".weight"):
        edited(folder, tmp_path, "model.safetensors", lambda tensors: tensors.pop(lost))
    else:
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        (tmp_path / lost).unlink()
    with pytest.raises(ValueError, match=rf"folder='{tmp_path}': (has no tok|its weights lack {lost}|must be).* a folder with"):
        ClipScore(str(tmp_path)).statistic(CONTEXT)


def test_the_prompts_of_clip_iqa_are_torchmetrics_s() -> None:
    mend_torchvision()
    from torchmetrics.functional.multimodal.clip_iqa import _PROMPTS

    assert set(PAIRS) == set(_PROMPTS)


def test_a_reward_is_any_function(folder) -> None:
    def length(pictures: np.ndarray, prompts: list[str]) -> list[float]:
        assert pictures.dtype == np.uint8 and pictures.shape == (5, 20, 20, 3)
        return [float(len(prompt)) for prompt in prompts]

    assert Reward(length).statistic(CONTEXT)(ALL) == pytest.approx(np.mean([len(prompt) for prompt in PROMPTS]))
    scores = torch.arange(5.0, requires_grad=True)
    assert Reward(lambda *_: scores).statistic(CONTEXT)(ALL) == 2
    assert Reward(lambda *_: [0.1] * 5).statistic(CONTEXT)(ALL) == pytest.approx(0.1, abs=1e-15)
    for function, said in (
        (lambda *_: [1.0], r"gave \(1,\), must be \(5,\)"),
        (lambda *_: [0, 0, 0, np.nan, np.inf], "gave 2 of 5 values that are not finite"),
        (lambda *_: None, "gave None, must be numbers"),
    ):
        with pytest.raises(ValueError, match=rf"^metric\.reward\.function=.*: {said}"):
            Reward(function).statistic(CONTEXT)
    with pytest.raises(ValueError, match=r"metric\.reward\.function=None: must be a function"):
        Reward(None)


def test_without_prompts_or_colour_there_is_nothing_to_say(folder) -> None:
    alone = Context(IMAGES, [None] * 5, None, None, same_law=False)
    grey = Context(IMAGES[:, :1], PROMPTS, None, None, same_law=False)
    for metric, context in ((ClipScore(folder), alone), (ClipScore(folder), grey), (ClipIqa(folder), grey)):
        with pytest.raises(UndefinedError, match=r"[a-z]{3}"):
            metric.statistic(context)
