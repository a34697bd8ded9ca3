"""CLIP beside torchvision: CLIP-FID as clean-fid makes it, and scores that are what they are without torchvision."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from test_clip import folder  # noqa: F401

pytest.importorskip("cleanfid.resize", reason="the extra fid is not installed")

from test_clip import (
    test_clip_iqa_is_the_softmax_over_its_two_texts,  # noqa: F401
    test_clip_score_is_the_cosine_of_the_projected_embeddings,  # noqa: F401
)

from sdi_bench.features.clip import ClipFeatures
from sdi_bench.features.frechet import between
from sdi_bench.features.inception import bytes_of, clean_fid


@pytest.mark.parametrize("shape", [(20, 20), (20, 17), (12, 20), (300, 257)])
def test_clip_fid_is_clean_fid_s(folder, tmp_path, monkeypatch, shape: tuple[int, int]) -> None:  # noqa: F811
    """clean-fid's own path, where the package `clip` would load OpenAI's network and here gives the folder's."""
    fid = clean_fid()
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(folder)
    network = SimpleNamespace(
        encode_image=lambda x: model.visual_projection(model.vision_model(x).pooler_output), eval=lambda: None
    )
    monkeypatch.setitem(sys.modules, "clip", SimpleNamespace(load=lambda name, device: (network, None)))
    monkeypatch.delitem(sys.modules, "cleanfid.clip_features", raising=False)
    from cleanfid.clip_features import CLIP_fx, img_preprocess_clip

    rng = np.random.default_rng(0)
    sets = [rng.uniform(low, 1.1, (20, 3, *shape)) for low in (-1.1, -0.8)]
    for name, images in zip("ab", sets, strict=True):
        (tmp_path / name).mkdir()
        for i, picture in enumerate(bytes_of(images)):
            Image.fromarray(picture).save(tmp_path / name / f"{i:02}.png")
    here = {"device": torch.device("cpu"), "num_workers": 0, "verbose": False}
    found = [ClipFeatures(folder)(images) for images in sets]
    fx = CLIP_fx("ViT-B/32", "cpu")
    want = fid.get_folder_features(str(tmp_path / "a"), model=fx, custom_fn_resize=img_preprocess_clip, **here)
    assert want.std(axis=0).min() > 1e-3
    assert np.allclose(found[0], want, atol=1e-5)  # float32 of about 1, bytes divided by 255 twice there
    theirs = fid.compute_fid(str(tmp_path / "a"), str(tmp_path / "b"), model_name="clip_vit_b_32", **here)
    assert between(*found) == pytest.approx(theirs, rel=1e-4)  # of a sum about 1 of features good to 1e-6


def test_a_fresh_process_can_score_beside_torchvision(folder) -> None:  # noqa: F811
    """Torchvision has been imported in this one."""
    program = f"""
import numpy as np
from sdi_bench.metrics import ClipIqa, ClipScore, Context
context = Context(np.zeros((1, 3, 20, 20)), ["b"], None, None, same_law=False)
for metric in (ClipIqa({folder!r}), ClipScore({folder!r})):
    print(metric.statistic(context)(np.array([0])))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.split()) == 2, done.stderr
