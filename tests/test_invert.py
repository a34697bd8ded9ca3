"""python -m sdi_bench.invert: image -> noise -> image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import exit_status
from PIL import Image

from sdi_bench import Ddim, Gaussian, Guidance, UniformLogSigma, invert
from sdi_bench.predictor import Predictor
from sdi_bench.samplers.ddim import round_trip
from sdi_bench.schedules import Karras

LINE = Gaussian.of({"c": ([1.0], [[0.25]])}, ([0.0], [[1.0]]))


def test_the_round_trip_on_a_gaussian_follows_its_closed_form() -> None:
    """On N(mu, s²) both ways multiply x_bar - mu by a known factor at every step."""
    mu, variance = 1.0, 0.25
    sampler = Ddim(UniformLogSigma(30, 20.0, 0.01), Guidance())
    x0 = torch.tensor([[1.7], [0.2]], dtype=torch.float64)
    net = Predictor(LINE, Karras(), sampler.guidance, ("c", "c"))
    trip = round_trip(net, x0, sampler.grid.levels(Karras()), 1.0)
    sigmas = np.geomspace(20.0, 0.01, 30)
    up = np.prod([1 + (high - low) * low / (variance + low**2) for high, low in zip(sigmas, sigmas[1:], strict=False)])
    down = np.prod([1 + (low - high) * high / (variance + high**2) for high, low in zip(sigmas, sigmas[1:], strict=False)])
    last = variance / (variance + sigmas[-1] ** 2)
    assert trip.noise.numpy() == pytest.approx((mu + (x0.numpy() - mu) * up) / 20.0, rel=1e-12)
    assert trip.back.numpy() == pytest.approx(mu + (x0.numpy() - mu) * up * down * last, rel=1e-12)


def test_more_levels_make_a_better_round_trip() -> None:
    x0 = torch.tensor([[1.7]], dtype=torch.float64)
    errors = []
    for n in (20, 40, 80):
        net = Predictor(LINE, Karras(), Guidance(), ("c",))
        trip = round_trip(net, x0, UniformLogSigma(n, 20.0, 0.002).levels(Karras()), 1.0)
        errors.append(float((trip.back - x0).abs()))
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.2)  # first order up and down, errors add
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.2)


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    return exit_status(monkeypatch, invert.main, *words)


def test_the_command_shows_the_error_and_writes_arrays_and_a_picture(monkeypatch, tmp_path, capsys) -> None:
    assert command(monkeypatch, "seeds=0..3", "prompt=3", "grid.n_levels=30", f"output={tmp_path}") == 0
    assert "round trip, rms pixel difference" in capsys.readouterr().out
    arrays = np.load(tmp_path / "round_trip.npz")
    assert {name: arrays[name].shape for name in arrays} == dict.fromkeys(("source", "noise", "back"), (4, 1, 8, 8))
    assert (tmp_path / "round_trip.png").stat().st_size > 1000


def test_the_way_up_has_the_gamma_of_the_way_down_in_either_convention(monkeypatch, tmp_path, capsys) -> None:
    words = ("seeds=0", "prompt=3", "grid.n_levels=10", f"output={tmp_path}")
    assert command(monkeypatch, *words, "guidance.scale=1") == 0
    paper = capsys.readouterr().out
    assert command(monkeypatch, *words, "guidance.scale=0", "guidance.convention=threestudio") == 0
    assert capsys.readouterr().out == paper and "gamma 1 down, 1 up" in paper


def test_a_picture_of_ones_own_is_inverted(monkeypatch, tmp_path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    assert command(monkeypatch, f"image={tmp_path / 'mine.png'}", "prompt=3", f"output={tmp_path / 'out'}") == 0
    assert np.load(tmp_path / "out" / "round_trip.npz")["source"][0, 0] == pytest.approx(pixels / 127.5 - 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["grd.n_levels=3"], "grd.n_levels: no such setting; did you mean grid.n_levels?"),
        (["image=/nowhere.png", "prompt=3"], "image='/nowhere.png': not a readable picture"),
        (["inversion_scale=null"], "inversion_scale=None: must be a finite number"),
        (["prompt=x"], "prompt='x': this model knows"),
        (["prompt=a cat, side view"], "prompt='a cat, side view': this model knows"),
    ],
)
def test_bad_input_is_one_line(monkeypatch, tmp_path, capsys, words: list[str], said: str) -> None:
    assert command(monkeypatch, *words, f"output={tmp_path}") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sdi_bench.invert: {said}")
    assert error.count("\n") == 1


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    Image.new("L", (9, 8)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match="is 9 x 8, the model wants 8 x 8"):
        invert.read_image(str(tmp_path / "wide.png"), (1, 8, 8))
