"""Features as clean-fid makes them, on a stand-in for Inception that has its call; and what is said without it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("cleanfid.resize", reason="the extra fid is not installed")

from sdi_bench.features.base import Features
from sdi_bench.features.clip import bytes_of
from sdi_bench.features.inception import FILE, Inception, clean_fid
from sdi_bench.metrics import Context, Fd, Kd, UndefinedError

IMAGES = np.random.default_rng(0).uniform(-1.1, 1.1, (12, 3, 32, 32))
OTHERS = np.random.default_rng(1).uniform(-0.9, 1.1, (12, 3, 32, 32))


class StandIn(nn.Module):
    """A random net of Inception's call: `layers` takes [n, 3, 299, 299] to [n, 2048, 1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 23, 23), nn.ReLU(), nn.AvgPool2d(13), nn.Conv2d(8, 2048, 1), nn.ReLU())

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return self.layers(x)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / FILE
    torch.jit.script(StandIn()).save(path)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("pictures")
    for i, picture in enumerate(bytes_of(IMAGES)):
        Image.fromarray(picture).save(path / f"{i:02}.png")
    return str(path)


def test_features_are_those_of_clean_fid_on_picture_files(file, folder) -> None:
    fid = clean_fid()
    from cleanfid.inception_torchscript import InceptionV3W

    model = InceptionV3W(file.removesuffix(FILE), download=False)
    want = fid.get_folder_features(folder, model=model, num_workers=0, device=torch.device("cpu"), mode="clean", verbose=False)
    found = Inception(file)
    assert isinstance(found, Features) and found.floor == 2048
    features = found(IMAGES)
    assert features.shape == (12, 2048) and features.std(axis=0).max() > 0.01
    assert np.allclose(features, want, rtol=1e-6, atol=1e-6 * np.abs(want).max())


def test_features_are_kept_for_the_file_s_content(file, tmp_path, monkeypatch) -> None:
    first = Inception(file)(IMAGES)
    with monkeypatch.context() as patch:
        patch.setattr(Inception, "pooled", lambda *_: pytest.fail("computed again"))
        assert np.array_equal(Inception(file)(IMAGES[::-1]), first[::-1])
    torch.manual_seed(1)
    other = tmp_path / "another.pt"
    torch.jit.script(StandIn()).save(other)
    assert not np.allclose(Inception(str(other))(IMAGES), first)


def test_fid_and_kid_are_clean_fid_s(file) -> None:
    features = [Inception(file)(images) for images in (IMAGES, OTHERS)]
    context = Context(IMAGES, [None] * 12, None, None, same_law=False, real=OTHERS)
    moments = [part for some in features for part in (some.mean(axis=0), np.cov(some, rowvar=False))]
    found = Fd(Inception(file), force=True).statistic(context)(np.arange(12))
    # twelve points in 2,048 dimensions: the matrix root of clean-fid is good to 1e-5 of the traces there
    scale = np.trace(moments[1]) + np.trace(moments[3])
    assert found == pytest.approx(clean_fid().frechet_distance(*moments), abs=1e-5 * scale)
    assert found > 0.05 * scale
    kernel = Kd(Inception(file)).statistic(context)(np.arange(12))
    assert kernel == pytest.approx(clean_fid().kernel_distance(*features, num_subsets=1, max_subset_size=12), rel=1e-6)


def test_below_the_floor_it_refuses_unless_forced(file) -> None:
    context = Context(IMAGES, [None] * 12, None, None, same_law=False, real=OTHERS)
    with pytest.raises(UndefinedError, match=r"n below floor \(2048\)"):
        Fd(Inception(file)).statistic(context)


def test_a_missing_or_wrong_file_is_one_line(tmp_path, monkeypatch) -> None:
    with pytest.raises(ValueError, match=rf"metric\.fid\.features\.path='/none': FID wants {FILE}.*put it at /none"):
        Inception("/none")
    monkeypatch.delenv("SDI_BENCH_INCEPTION", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    said = rf"path=None: FID wants .*put it at {tmp_path}/\.cache/.* or {tmp_path}/{FILE}, or name it in SDI_BENCH_INCEPTION"
    with pytest.raises(ValueError, match=said):
        Inception()
    wrong = tmp_path / FILE
    wrong.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=f"path='{wrong}': not the TorchScript file"):
        Inception()(IMAGES)
    monkeypatch.setenv("SDI_BENCH_INCEPTION", str(tmp_path / "here.pt"))  # a name is not replaced by what lies elsewhere
    with pytest.raises(ValueError, match=rf"path=None: FID wants .*put it at {tmp_path}/here\.pt, or name it"):
        Inception()
