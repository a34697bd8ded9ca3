"""Pictures behind a codec are kept at 8 bits: the same measures from an eighth of the room; what was lost is still known."""

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sdi_bench import Empirical, Guidance, Network, UniformT, compare, evaluate, jobs, measuring, plans, sizes, sweeps
from sdi_bench.coordinates import Velocity
from sdi_bench.draws import Item
from sdi_bench.jobs import Plan, entry_of, finished, make_shard
from sdi_bench.measuring import clustered, diverged, packed, rounded, samples_of
from sdi_bench.metrics import Clipped, Contrast, Laplacian, Lpips, Metric, Psnr, Rms, Saturation, Sharpness, Spectrum, Ssim
from sdi_bench.picture_files import read_folder
from sdi_bench.samplers import Ddim
from sdi_bench.sampling import Job
from sdi_bench.schedules import cosine
from sdi_bench.sizes import Packed, by_size
from sdi_bench.store import RunFolder, Shard

N, SIDE = 24, 32
METRICS: dict[str, Metric] = {
    "clipped": Clipped(),
    "contrast": Contrast(),
    "saturation": Saturation(),
    "sharpness": Sharpness(),
    "laplacian": Laplacian(),
    "spectrum": Spectrum(),
}
PAIRED: dict[str, Metric] = {"lpips": Lpips(), "psnr": Psnr(), "rms": Rms(), "ssim": Ssim()}
COST = {"conditional": 1, "unconditional": 0, "inversion": 0, "other": 0}
ITEMS = tuple(Item(prompt, seed) for prompt in ("a", "b") for seed in range(N // 2))


def smooth(seed: int, n: int = N) -> np.ndarray:
    """Pictures of a few blobs and a little noise, a few values beyond [-1, 1]."""
    rng = np.random.default_rng(seed)
    return np.kron(0.5 * rng.standard_normal((n, 3, 4, 4)), np.ones((8, 8))) + 0.02 * rng.standard_normal((n, 3, SIDE, SIDE))


@pytest.fixture
def images() -> np.ndarray:
    """Of smooth, one NaN in a pixel, one infinite, one beyond 100; nothing else has diverged."""
    found = smooth(0)
    found[3, 0, 0, 0], found[5, 1, 2, 3], found[7, 2, 31, 31] = np.nan, -np.inf, 101
    return found


def as_pipelines_save(images: np.ndarray, folder: Path) -> np.ndarray:
    """Pictures saved and read again: as diffusers' VaeImageProcessor makes bytes, and by Pillow."""
    for i, picture in enumerate(torch.from_numpy(images)):
        pixels = ((picture / 2 + 0.5).clamp(0, 1).permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
    return read_folder(folder, "folder").images


def test_what_is_kept_is_what_a_pipeline_would_save(tmp_path) -> None:
    images = smooth(1)
    assert np.array_equal(packed(images).whole(), as_pipelines_save(images, tmp_path))
    assert np.array_equal(packed(images).whole(), rounded(images))  # bit for bit, so that measures are the same


def test_pictures_that_are_cut_off_in_place_of_rounded_would_be_seen(tmp_path, monkeypatch) -> None:
    """A bug planted."""
    monkeypatch.setattr(measuring, "levels", lambda images: np.floor((images.clip(-1, 1) + 1) * 127.5))
    with pytest.raises(AssertionError):
        test_what_is_kept_is_what_a_pipeline_would_save(tmp_path)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_what_has_diverged_and_what_was_beyond_is_still_known(images, dtype) -> None:
    kept = packed(images, dtype)
    assert np.flatnonzero(diverged(kept)).tolist() == [3, 5, 7]
    want = [np.mean([abs(value) > 256 / 255 for value in image.ravel()]) for image in images]
    assert np.array_equal(kept.beyond, want) and max(want) > 0.01
    for i, picture in enumerate(kept):
        assert np.isnan(picture).all() if i in (3, 5, 7) else np.isfinite(picture).all()
    fine = np.delete(images, [3, 5, 7], axis=0)
    gap = np.abs(np.delete(kept.whole(), [3, 5, 7], axis=0) - (fine if dtype is np.float16 else fine.clip(-1, 1))).max()
    assert gap <= (np.abs(fine).max() * 2**-11 if dtype is np.float16 else (1 + 1e-9) / 255)  # half a step of either
    again = rounded(kept)
    assert isinstance(again, Packed) and again.values.dtype == np.uint8 and np.array_equal(again.beyond, kept.beyond)
    assert np.array_equal(again.lost, kept.lost)


def measures(images: Any, paired: Any) -> dict[str, dict[str, Any]]:
    items = ITEMS[: len(images)]
    given = samples_of(images, items, clustered(items), truth=smooth(3, 2 * len(items)), paired=paired)
    return measuring.measure(given, METRICS | PAIRED)


def test_measures_of_packed_pictures_are_those_of_exact_ones(monkeypatch) -> None:
    """An eighth of the memory, too. Sums are over other numbers of pictures at once: 1e-12 is a thousand roundings."""
    monkeypatch.setattr(sizes, "AT_ONCE", 5 * 3 * SIDE**2)
    exact, other = smooth(0), smooth(0) + 0.05 * smooth(2)
    want, found = measures(exact, other), measures(packed(exact), packed(other))
    for name in want:
        assert "point" in want[name], want[name]
        keys = ("point", "low", "high")
        assert [found[name][key] for key in keys] == pytest.approx(
            [want[name][key] for key in keys], rel=1e-6 if name == "lpips" else 1e-12
        )
        assert found[name]["n_used"] == want[name]["n_used"]


def test_clipped_values_counted_after_rounding_would_be_seen(monkeypatch) -> None:
    """A bug planted: rounded pictures end at [-1, 1]."""
    monkeypatch.setattr(measuring, "beyond", lambda images: (np.abs(rounded(images)) > 1 + 1 / 255).mean(axis=(1, 2, 3)))
    with pytest.raises(AssertionError):
        test_measures_of_packed_pictures_are_those_of_exact_ones(monkeypatch)


def test_what_is_lost_is_left_out_of_measures(images) -> None:
    found = measures(packed(images), packed(images))
    assert found["contrast"]["n_used"] == N - 3 and found["rms"] | {"point": 0} == found["rms"]
    alone = packed(smooth(0))
    assert measures(alone, packed(images))["rms"]["n_used"] == N - 3


class Whole(Metric):
    """A metric as users write them, of arrays."""

    unit = "1"

    def statistic(self, context: Any) -> Any:
        assert type(context.images) is np.ndarray
        return lambda index: float(context.images[index].mean())


def test_a_metric_that_does_not_stream_is_given_arrays() -> None:
    given = samples_of(packed(smooth(0)), ITEMS, clustered(ITEMS))
    found = measuring.measure(given, {"whole": Whole()})["whole"]["point"]
    assert found == pytest.approx(rounded(smooth(0)).mean(), rel=1e-12)


def test_pictures_are_read_a_few_at_a_time(monkeypatch) -> None:
    monkeypatch.setattr(sizes, "AT_ONCE", 5 * 3 * SIDE**2)
    seen = []

    def first(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        seen.append(len(a))
        return a[:, 0, 0, 0] - b[:, 0, 0, 0]

    a, b = rounded(smooth(0)), smooth(1)
    assert np.array_equal(by_size(first, packed(a), b), (a - b)[:, 0, 0, 0])
    assert seen == [5, 5, 5, 5, 4]


# ------------------------------------------------------------------------------------------------------------- on disk


class Stretched:
    """A codec of sorts: latents of 4 x 4, eight times as large and four times as bright; a dark corner is NaN."""

    image_shape = (3, SIDE, SIDE)
    fingerprint = "stretched"

    def decode(self, latents: Tensor) -> Tensor:
        made = 4 * torch.nn.functional.interpolate(latents, (SIDE, SIDE), mode="bicubic")
        return torch.where(latents[:, :1, :1, :1] < -0.2, torch.nan, made)

    def encode(self, images: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(images, (4, 4))


def plan(folder: Path, label: str, keep: str, items: Sequence[Item] = ITEMS, seed: int = 0) -> Plan:
    """Latents of a network that leaves half of the noise."""
    how: dict[str, Any] = {"schedule": cosine(), "times": "index", "codec": Stretched(), "fingerprint": "half"}
    model = Network(lambda x, t, prompts: x / 2, (3, 4, 4), Velocity(), **how)
    job = Job(model, Ddim(UniformT(3), Guidance(1.0)), cosine())
    config = {"model": {}, "fingerprint": "half", "metric": list(METRICS), "overwrite": False}
    return Plan(label, job, tuple(items), METRICS, RunFolder(folder / label), config, 5, keep=keep)


def made(folder: Path, keep: str, items: Sequence[Item] = ITEMS) -> Plan:
    found = plan(folder, keep, keep, items)
    for chunk in found.chunks:
        make_shard(found, chunk, tqdm(disable=True), keep_trajectory=False)
    return found


def on_disk(plan: Plan) -> int:
    return sum(path.stat().st_size for path in plan.folder.path.glob("shards/*.npz"))


def test_a_run_measures_alike_however_it_was_kept(tmp_path) -> None:
    runs = {keep: made(tmp_path, keep) for keep in ("exact", "8bit", "latents", "float16")}
    exact = finished(runs["exact"].folder, runs["exact"].chunks).images
    assert exact.dtype == np.float64 and 0 < diverged(exact).sum() < N / 2
    entries = {keep: entry_of(run, smooth(3, 2 * N)) for keep, run in runs.items()}
    for keep, entry in entries.items():
        assert np.array_equal(diverged(entry.images), diverged(exact))
        for name, values in entries["exact"].measures.items():
            tolerance = 0.02 if keep == "float16" and name != "clipped" else 1e-12  # float16 may round to the next level
            assert entry.measures[name]["point"] == pytest.approx(values["point"], rel=tolerance, abs=1e-12), (keep, name)
    assert entries["8bit"].measures["clipped"]["point"] > 0.01
    assert 8 * on_disk(runs["8bit"]) <= on_disk(runs["exact"])
    assert (runs["8bit"].folder.path / "samples.png").stat().st_size > 1000
    latents = runs["latents"]
    kept = np.concatenate([latents.folder.read_latents(chunk) for chunk in latents.chunks])
    assert np.array_equal(latents.job.model.decode(torch.from_numpy(kept)).numpy(), exact, equal_nan=True)
    with pytest.raises(ValueError, match=r"latents"):
        runs["8bit"].folder.read_latents(ITEMS)


def test_shards_of_before_stay_readable_and_are_rounded_beside_others(tmp_path) -> None:
    old, new = ITEMS[:8], ITEMS[8:]
    both = made(tmp_path, "8bit", new).folder
    pictures = smooth(5, len(old))
    both.write_shard(Shard(old, pictures, COST, 1.0, 1.0))
    assert np.array_equal(finished(both, [old]).images, pictures)
    found = finished(both, both.chunks()).images
    assert isinstance(found, Packed) and np.array_equal(found[: len(old)].whole(), rounded(pictures))


def test_a_sweep_of_packed_pictures_takes_an_eighth_of_the_memory(tmp_path, monkeypatch) -> None:
    """Bytes asked for, by tracemalloc: the same every time. AT_ONCE is as small beside these as it is beside large ones."""
    monkeypatch.setattr(sizes, "AT_ONCE", 2 * 3 * 64**2)
    monkeypatch.setattr(jobs.pictures, "side_by_side", lambda *_: None)  # what a figure takes does not hang on these
    monkeypatch.setattr(compare, "SMALLEST", 1000)  # nor is LPIPS needed, which is slow
    rng = np.random.default_rng(0)
    peaks, sized = [], []
    for keep in ("exact", "8bit"):
        runs = [plan(tmp_path / keep, label, keep) for label in ("sds", "sdi", "ddim")]
        for run in runs:
            images = np.kron(0.5 * rng.standard_normal((N, 3, 8, 8)), np.ones((8, 8)))
            images += 0.05 * rng.standard_normal(images.shape)
            run.folder.write_shard(Shard(ITEMS, packed(images) if keep == "8bit" else images, COST, 1.0, 1.0))
        sized.append(sum(map(on_disk, runs)))
        jobs.summarise([[run, runs[-1]] for run in runs[:-1]])  # what is loaded only once is none of it
        for run in runs:
            (run.folder.path / "metrics.json").unlink()
        tracemalloc.start()
        jobs.summarise([[run, runs[-1]] for run in runs[:-1]])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert 8 * sized[1] <= sized[0] and 8 * peaks[1] <= peaks[0], (sized, peaks)


# --------------------------------------------------------------------------------------------------------- what is said


def names(*words: str) -> list[str]:
    return [run.folder.path.name for pair in sweeps.preflight([*words, "reference=null", "results=x"]) for run in pair]


def test_pictures_of_another_precision_are_another_run(monkeypatch) -> None:
    digits = {keep: names("model=digits", f"keep={keep}") for keep in ("auto", "exact", "8bit", "float16")}
    assert digits["auto"] == digits["exact"] == ["digits-ddim-g1-791d73e5d99d"]  # as before there was a choice
    assert len({str(name) for name in digits.values()}) == 3
    monkeypatch.setattr(plans, "has_codec", lambda model: True)
    coded = {keep: names("model=digits", f"keep={keep}") for keep in ("auto", "exact", "8bit", "latents")}
    assert coded["auto"] == coded["8bit"] == digits["auto"] and len({str(name) for name in coded.values()}) == 3


def test_what_has_a_codec(tmp_path) -> None:
    network = plan(tmp_path, "x", "exact").job.model
    assert isinstance(network, Network) and plans.has_codec(network)
    assert not plans.has_codec(replace(network, codec=None)) and not plans.has_codec(Empirical.of())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=digits", "keep=png"], "keep='png': must be one of auto, exact, 8bit, latents, float16"),
        (["model=gaussian", "keep=8bit"], "keep='8bit': the samples are no pictures"),
        (["model=digits", "keep=latents"], "keep='latents': nothing that is sampled here is a latent"),
    ],
)
def test_what_cannot_be_kept_is_told(words: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        names(*words)


def test_what_was_rounded_cannot_be_measured_unrounded() -> None:
    run = evaluate.Finished("mine", ITEMS, packed(smooth(0)), clustered(ITEMS))
    with pytest.raises(ValueError, match="uint8=false: the pictures of mine were rounded when they were kept"):
        run.given(uint8=False)
    exact = evaluate.Finished("mine", ITEMS, smooth(0), clustered(ITEMS))
    for name in ("paired", "samples"):
        with pytest.raises(ValueError, match=f"uint8=false: the pictures of {name} were rounded when they were kept"):
            exact.given(uint8=False, **{name: packed(smooth(1))})
