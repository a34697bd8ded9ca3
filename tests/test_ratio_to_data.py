"""Ratios to the data leave a prompt out on both sides: that prompts differ is no error of theirs."""

import numpy as np
import pytest

from sdi_bench.draws import Item
from sdi_bench.measuring import Clusters, measure, samples_of
from sdi_bench.metrics import Contrast, Laplacian, Saturation, Sharpness, Spectrum

METRICS = {"contrast": Contrast(), "sharpness": Sharpness(), "saturation": Saturation(), "laplacian": Laplacian()}


def pictures(items: list[Item], seed: int, factor: float = 1.0) -> np.ndarray:
    """Noise whose strength its prompt decides, prompts ten times apart, and each picture by a tenth."""
    rng = np.random.default_rng(seed)
    strength = np.array([factor * 0.05 * 10 ** (int(str(item.prompt)) / 11) * rng.uniform(0.9, 1.1) for item in items])
    return (strength[:, None, None, None] * rng.uniform(-1, 1, (len(items), 3, 16, 16))).clip(-1, 1)


@pytest.mark.parametrize("name", METRICS)
def test_the_interval_is_of_the_ratio_and_not_of_the_prompts(name: str) -> None:
    """Of `data` against data the ratio is known to a few percent, though prompts differ by a factor of ten."""
    items = [Item(str(prompt), seed) for seed in range(8) for prompt in range(12)]
    truth = pictures(items * 4, 1)
    clusters = Clusters(np.array([item.prompt for item in items]), "prompts")

    def found(factor: float) -> dict[str, float]:
        given = samples_of(pictures(items, 0, factor), items, clusters, truth=truth, uint8=False)
        return measure(given, {name: METRICS[name]})[name]

    same, doubled = found(1.0), found(0.5)
    assert same["low"] < 0 < same["high"] and same["high"] - same["low"] < 0.2
    if name in ("contrast", "saturation"):  # proportional to the strength
        assert doubled["low"] < np.log(0.5) < doubled["high"]
    unpaired = samples_of(pictures(items, 0), items, clusters, truth=truth, uint8=False)
    unpaired = measure(type(unpaired)(**{**vars(unpaired), "truth_prompts": ()}), {name: METRICS[name]})[name]
    assert unpaired["point"] == pytest.approx(same["point"], rel=1e-9)  # each prompt as often as the others
    if name != "sharpness":  # a share: the same for all prompts here
        assert unpaired["high"] - unpaired["low"] > 5 * (same["high"] - same["low"])


def test_what_has_diverged_is_left_out_of_the_data_too() -> None:
    items = [Item(str(prompt), seed) for seed in range(5) for prompt in range(12)]
    images, truth = pictures(items, 0), pictures(items * 20, 1)
    images[[i for i, item in enumerate(items) if int(str(item.prompt)) > 5]] = np.nan
    clusters = Clusters(np.array([item.prompt for item in items]), "prompts")
    given = samples_of(images, items, clusters, truth=truth, uint8=False)
    for name, found in measure(given, METRICS | {"spectrum": Spectrum()}).items():
        assert abs(found["point"]) < (1.0 if name == "spectrum" else 0.1)  # of six weaker prompts against all twelve: -1
