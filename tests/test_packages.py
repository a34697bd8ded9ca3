"""The table of our measures beside other packages': every measure is in it, our column is today's, and bugs leave it.

What changes a value here on purpose raises MEASURES_VERSION, so that values kept with runs are measured anew.
"""

import importlib.util
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

sys.path.insert(0, str(Path(__file__).parent.parent))

from analysis import packages
from sdi_bench import jobs, run
from sdi_bench.evaluate import chosen
from sdi_bench.features import frechet, kernel, lpips
from sdi_bench.metrics import contrast, diversity, energy, paired, prdc, saturation, sharpness, sliced_w2, spectrum, vendi
from sdi_bench.metrics.known import apart

ROOT = Path(__file__).parent.parent
TABLE = pd.read_csv(packages.FOLDER / "metrics.csv")
HERE = TABLE.dropna(subset=["here"]).groupby("metric")["here"].first()
NEEDED = ("skimage", "piq", "torch_fidelity", "prdc", "vendi_score", "lpips", "ot", "dcor", "sklearn", "cleanfid")
SEEN = {"lpips", "same_content", "diversity", "novelty", "shape_lpips", "vendi", "tclip"}  # through float32 networks
SEEN |= {name for name in packages.SHOWS if name.startswith(("fd_", "kd_", "density"))}
COUNTED = {"same_content": 16, "rprec": 160, "rprec5": 160, "view": 10, "janus": 12, "named": 4}  # of so many, by a network
COUNTED |= {name: 160 for name in packages.SHOWS if name.startswith(("precision", "recall", "coverage"))}


def slack(name: str) -> float:
    """How far our value may be from the table's on another processor.

    In float64 1e-9, sums in another order. Through a float32 network 1e-4: roundings of 6e-8, some 30 in a row, where kernels
    of 1 cancel to 0.007. Of what is counted one picture more or less.
    """
    return 1.001 / COUNTED[name] if name in COUNTED else (1e-4 if name in SEEN else 1e-9) * abs(HERE[name])


def test_every_metric_has_a_package_or_a_reason_and_a_test() -> None:
    assert set(TABLE["metric"]) == {path.stem for path in (ROOT / "conf" / "metric").glob("*.yaml")}
    assert not set(packages.ALONE) & {row.metric for row in packages.ROWS}
    for why, test in packages.ALONE.values():
        file, name = test.split("::")
        assert why and re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.M), test


@pytest.mark.parametrize("name", sorted(packages.SHOWS))
def test_our_column_is_what_the_code_gives_today(name: str) -> None:
    assert packages.here(name) == pytest.approx(HERE[name], abs=slack(name))


def test_nothing_is_unexplained_and_the_text_is_the_csv() -> None:
    assert not len(packages.unexplained(TABLE))
    text = (packages.FOLDER / "metrics.txt").read_text()
    assert text == packages.table(TABLE) and max(map(len, text.splitlines())) <= packages.WIDTH
    known = TABLE.dropna(subset=["there"])
    assert (known["tolerance"] <= 1.001e-6 * known["there"].abs()).all()
    for column, wrong in (("there", 1.001 * known["there"]), ("why", None), ("here", 1.001 * known["here"])):
        worse = known.assign(**{column: wrong})
        worse = worse.assign(difference=worse["there"] - worse["here"])
        worse["residual"] = (worse["there"] - worse["here_in_their_convention"]).abs()
        assert len(packages.unexplained(worse)), column


@pytest.mark.skipif(not all(map(importlib.util.find_spec, NEEDED)), reason="the extra packages is not installed")
def test_the_table_is_made_again() -> None:
    again = packages.prepare()
    assert not len(packages.unexplained(again))
    pd.testing.assert_frame_equal(again[["metric", "package", "version"]], TABLE[["metric", "package", "version"]])
    assert again["there"].to_numpy(float) == pytest.approx(TABLE["there"].to_numpy(float), rel=1e-4, nan_ok=True)


# ---------------------------------------------------------------------------------------- bugs of convention leave the table

RADII, FACTOR, SHARE = prdc.radii, frechet.factor, sharpness.high_frequency_share
PAIRWISE, KERNEL, SUMS = diversity.pairwise, kernel.kernel, kernel.sums


def in_bits(matrix: np.ndarray) -> float:
    values = np.linalg.eigvalsh(matrix / len(matrix))
    values = values[values > 0]
    return float(np.exp(-(values * np.log2(values)).sum()))


def absolute(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.array([wasserstein_distance(*pair) ** 2 for pair in zip(x.T, y.T, strict=True)])


def hsv_saturation(images: np.ndarray) -> np.ndarray:
    return (np.ptp(images, axis=1) / (images.max(axis=1) + 1 + 1e-9)).mean(axis=(1, 2))


PLANTED: dict[str, tuple[str, object, str, object]] = {
    "SSIM of [-1, 1]": ("ssim", paired, "intensities", lambda x: x.clip(-1, 1)),
    "a peak of 1 in [-1, 1]": ("psnr", paired, "intensities", lambda x: x.clip(-1, 1)),
    "rms of intensities": ("rms", paired, "rms", lambda a, b: np.sqrt(np.square(a - b).mean(axis=(1, 2, 3))) / 2),
    "LPIPS of pictures in [0, 1]": ("lpips", paired, "distance", lambda a, b: lpips.distance((a + 1) / 2, (b + 1) / 2)),
    "LPIPS without its square": ("diversity", diversity, "pairwise", lambda images: np.sqrt(PAIRWISE(images))),
    "a ball to the k + 1-th neighbour": ("density", prdc, "radii", lambda within, k: RADII(within, k + 1)),
    "a ball whose centre is a neighbour": ("recall", prdc, "radii", lambda within, k: RADII(within, k - 1)),
    "balls about the wrong set": ("precision", prdc, "inside", lambda gaps, radii: radii >= gaps.T),
    "squared distances, plain radii": ("coverage", prdc, "inside", lambda gaps, radii: gaps <= np.sqrt(radii)),
    "Vendi in bits": ("vendi", vendi, "vendi", in_bits),
    "Vendi of vectors of any length": ("vendi", vendi, "cosines", lambda x: np.cov(x)),
    "a biased kernel distance": ("kd_effnet", kernel, "sums", lambda a, b, of: SUMS(a, a if b is None else b, of)),
    "a kernel without 1 / d": (
        "kd_effnet",
        kernel,
        "kernel",
        lambda a, b: KERNEL(a * a.shape[1] ** 0.5, b * a.shape[1] ** 0.5),
    ),
    "a covariance over n, not n - 1": ("fd_effnet", frechet, "factor", lambda of: FACTOR(of) * math.sqrt(1 - 1 / 160)),
    "a covariance over n, of pixels": ("frechet", frechet, "factor", lambda of: FACTOR(of) * math.sqrt(1 - 1 / 160)),
    "squared distances": ("energy", energy, "cdist", lambda x, y: cdist(x, y, "sqeuclidean")),
    "Euclidean, not root mean square": ("energy", energy, "flat", lambda images: images.reshape(len(images), -1)),
    "sliced W1": ("sliced_w2", sliced_w2, "squared_w2", absolute),
    "over n - 1 values": ("contrast", contrast, "contrast", lambda images: images.std(axis=(1, 2, 3), ddof=1) ** 2),
    "a share above an eighth": ("sharpness", sharpness, "high_frequency_share", lambda images: SHARE(images[..., ::2, ::2])),
    "decibel of amplitudes": ("spectrum", spectrum, "decibel", lambda power: 20 * np.log10(np.maximum(power, 1e-6))),
    "Rec. 709": ("laplacian", spectrum, "LUMA", (0.2126, 0.7152, 0.0722)),
    "saturation, not chroma": ("saturation", saturation, "chroma", hsv_saturation),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_bug_of_convention_leaves_the_table(bug: str, monkeypatch) -> None:
    name, module, attribute, wrong = PLANTED[bug]
    monkeypatch.setattr(module, attribute, wrong)
    found = packages.here.__wrapped__(name)
    assert abs(found - HERE[name]) > 2 * slack(name)


# ------------------------------------------------------------------------------------------------------- own conventions


def test_ddim_s_are_the_same_metrics() -> None:
    names = [name for name in packages.ALONE if name.endswith("_ddim")]
    made = chosen([*names, *(name.removesuffix("_ddim") for name in names)])
    for name in names:
        assert made[name] == replace(made[name.removesuffix("_ddim")], against="samples")


def test_chamfer_is_the_mean_of_both_ways_of_distances_that_are_not_squared() -> None:
    a, b = np.array([[0.0, 0, 0], [1, 0, 0]]), np.array([[0.0, 3, 0]])
    assert apart(a, b) == pytest.approx(((3 + math.sqrt(10)) / 2 + 3) / 2, rel=1e-12)


def test_another_definition_is_measured_anew(monkeypatch, tmp_path) -> None:
    words = ["run", "model=mixture", "sampler=ddim", "grid.n_levels=2", "seeds=0..3", "reference=null", f"results={tmp_path}"]
    monkeypatch.setattr(sys, "argv", words)
    asked, measure = [], jobs.measure
    monkeypatch.setattr(jobs, "measure", lambda given, *more: asked.append(len(given.items)) or measure(given, *more))
    for version, n in ((1, 2), (1, 1), (2, 2)):  # of the samples if not known, of fresh data always
        asked.clear()
        monkeypatch.setattr(jobs, "MEASURES_VERSION", version)
        run.main()
        assert len(asked) == n
