"""CLIPScore, CLIP-IQA, CLIP-FID's features and rewards, on a tiny CLIP made on the spot."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pipelines import lively, tokenizer
from torch.nn import functional

from sdi_bench.features.base import Features
from sdi_bench.features.clip import ClipFeatures, bytes_of, loaded
from sdi_bench.metrics import ClipIqa, ClipScore, Context, Reward, UndefinedError

IMAGES = np.random.default_rng(0).uniform(-1.2, 1.2, (5, 3, 20, 20))
PROMPTS = ["a red sofa", "an owl", "a red sofa", "boat", "a"]
CONTEXT = Context(IMAGES, PROMPTS, None, None, same_law=False)
ALL = np.arange(5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = sizes | {"vocab_size": 514, "bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    model = CLIPModel(
        CLIPConfig(text_config=text, vision_config=sizes | {"patch_size": 56}, projection_dim=12)
    )  # another width than the towers'
    path = tmp_path_factory.mktemp("clip")
    lively(model, 0).save_pretrained(path)
    CLIPProcessor(CLIPImageProcessor(), tokenizer()).save_pretrained(path)
    return str(path)


def embedded(folder: str, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit embeddings of pictures and texts, by transformers' own joint pass."""
    from transformers import CLIPModel, CLIPProcessor

    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)
    pictures = [Image.fromarray(picture) for picture in bytes_of(IMAGES)]
    inputs = processor(text=prompts, images=pictures, return_tensors="pt", padding=True, truncation=True)
    with torch.no_grad():
        found = model(**inputs)
    assert found.image_embeds.shape == (5, 12)
    return functional.normalize(found.image_embeds, dim=1), functional.normalize(found.text_embeds, dim=1)


def test_clip_score_is_the_cosine_of_the_projected_embeddings(folder) -> None:
    pictures, texts = embedded(folder, PROMPTS)
    cosines = (pictures * texts).sum(dim=1)
    assert float(cosines.std()) > 1e-3  # the tiny model tells them apart
    statistic = ClipScore(folder).statistic(CONTEXT)
    want = 100 * cosines.clamp(min=0)
    assert statistic(ALL) == pytest.approx(float(want.mean()), rel=1e-4)  # float32, and attention padded otherwise
    assert statistic(ALL[1:3]) == pytest.approx(float(want[1:3].mean()), rel=1e-4)


def test_clip_iqa_is_the_softmax_over_its_two_texts(folder) -> None:
    pictures, _ = embedded(folder, PROMPTS)
    _, good_bad = embedded(folder, ["Good photo.", "Bad photo.", *PROMPTS[:3]])
    want = (100 * pictures @ good_bad[:2].T).softmax(dim=1)[:, 0]
    found = ClipIqa(folder).statistic(CONTEXT)
    assert found(ALL) == pytest.approx(float(want.mean()), abs=1e-4)
    assert ClipIqa(folder, prompt="sharpness").statistic(CONTEXT)(ALL) != pytest.approx(found(ALL), abs=1e-6)


def test_long_prompts_are_cut_before_their_end_mark(folder) -> None:
    """Two prompts that agree up to the limit are one; and the cut one is not read at a letter."""
    long = ["sofa " * 60 + "a", "sofa " * 60 + "b"]
    pair = Context(np.stack([IMAGES[0]] * 2), long, None, None, same_law=False)
    statistic = ClipScore(folder).statistic(pair)
    _, texts = embedded(folder, [*long, *PROMPTS[:3]])
    pictures, _ = embedded(folder, PROMPTS)
    want = float(100 * (pictures[0] @ texts[0]).clamp(min=0))
    assert [statistic(np.array([i])) for i in (0, 1)] == pytest.approx([want, want], rel=1e-4)


def test_clip_fid_s_features_are_clip_s_with_clean_fid_s_preprocessing(folder) -> None:
    found = ClipFeatures(folder)
    assert isinstance(found, Features) and found.preprocessing.startswith("clip/") and found.floor == 2048
    model, processor = loaded(folder, "cpu")
    pictures = [Image.fromarray(picture) for picture in bytes_of(IMAGES)]
    with torch.no_grad():  # transformers' own preprocessing: the same for square pictures
        want = model.get_image_features(processor(images=pictures, return_tensors="pt")["pixel_values"])
    assert np.allclose(found(IMAGES), want, rtol=1e-3, atol=1e-4)


def test_a_wrong_folder_is_one_line(folder, tmp_path) -> None:
    for make in (ClipScore, ClipIqa, ClipFeatures):
        for wrong in (None, str(tmp_path / "none")):
            with pytest.raises(ValueError, match=r"metric\.clip_\w+[.\w]*\.folder=.*must be a folder with a CLIP"):
                make(wrong)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    for made in (lambda: ClipScore(str(tmp_path)).statistic(CONTEXT)(ALL), lambda: ClipFeatures(str(tmp_path))(IMAGES)):
        with pytest.raises(ValueError, match=f"folder='{tmp_path}': is a 'bert'; must be a folder"):
            made()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text(Path(folder, "config.json").read_text())
    with pytest.raises(ValueError, match=f"folder='{broken}': must be a folder with a CLIP"):
        ClipFeatures(str(broken))(IMAGES)


def test_a_reward_is_any_function(folder) -> None:
    def length(pictures: np.ndarray, prompts: list[str]) -> list[float]:
        assert pictures.dtype == np.uint8 and pictures.shape == (5, 20, 20, 3)
        return [float(len(prompt)) for prompt in prompts]

    assert Reward(length).statistic(CONTEXT)(ALL) == pytest.approx(np.mean([len(prompt) for prompt in PROMPTS]))
    for function, said in ((lambda *_: [1.0], r"gave \(1,\) for 5 pictures"), (lambda *_: [np.nan] * 5, "not finite")):
        with pytest.raises(ValueError, match=said):
            Reward(function).statistic(CONTEXT)
    with pytest.raises(ValueError, match=r"metric\.reward\.function=None: must be a function"):
        Reward(None)


def test_without_prompts_or_colour_there_is_nothing_to_say(folder) -> None:
    alone = Context(IMAGES, [None] * 5, None, None, same_law=False)
    grey = Context(IMAGES[:, :1], PROMPTS, None, None, same_law=False)
    for metric, context in ((ClipScore(folder), alone), (ClipScore(folder), grey), (ClipIqa(folder), grey)):
        with pytest.raises(UndefinedError, match=r"[a-z]{3}"):
            metric.statistic(context)
