"""python -m analysis.packages: our measures beside other packages' on the same real pictures. A minute.

Needs the extra `packages`. Writes results/metrics/metrics.csv and metrics.txt: for each measure of conf/metric and each package
that has it our value, theirs, and why they differ. What is said to be the reason is tried: our value in their convention is
theirs to rounding, or the command fails.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter

from sdi_bench.data.world import World
from sdi_bench.evaluate import chosen
from sdi_bench.features import lpips, towers
from sdi_bench.features.effnet import Effnet, features
from sdi_bench.features.views import VIEWS, views
from sdi_bench.measuring import rounded
from sdi_bench.metrics import Context, Fd, Sights
from sdi_bench.metrics.known import shown, truths
from sdi_bench.metrics.novelty import trained
from sdi_bench.metrics.paired import intensities, similarity
from sdi_bench.metrics.rprec import val_captions
from sdi_bench.metrics.spectrum import laplacian_variance
from sdi_bench.models import Empirical
from sdi_bench.store import write_whole

from .text import lines

FOLDER = Path(__file__).resolve().parent.parent / "results" / "metrics"
N, FEW = 160, 16
"""Pictures of a set; those of them that are paired."""
WIDTH = 110

# ---------------------------------------------------------------------------------------------------------- the pictures


@cache
def world(shift: int) -> World:
    """N val pictures spread over furniture and emoji; others for another shift."""
    val = World.open().where("val")
    return val.rows((np.linspace(0, len(val) - 1, N).astype(int) + shift) % len(val))


def spoilt(images: np.ndarray, noise: float) -> np.ndarray:
    """Blurred, paler, brighter and noisy."""
    drawn = np.random.default_rng(0).standard_normal(images.shape)
    return 0.9 * gaussian_filter(images, (0, 0, 0.6, 0.6)) + 0.08 + noise * drawn


@cache
def sets() -> Context:
    """N pictures with their captions, against N others."""
    some, others = world(0).pixels(), world(7).pixels()
    captions = list(world(0).table["caption"])
    return Context(some, captions, None, others, same_law=True, real=others, samples=others)


@cache
def few() -> Context:
    """100 pictures against N others."""
    return replace(sets(), images=sets().images[:100], prompts=sets().prompts[:100])


@cache
def small() -> Context:
    """N pictures against N others, of 8 x 8 grey pixels."""
    some, others = (world(shift).pixels(8).mean(axis=1, keepdims=True) for shift in (0, 7))
    return replace(sets(), images=some, truth=others, real=None, samples=None)


@cache
def pairs() -> Context:
    """FEW pictures that were spoilt, against themselves as they were; four of a prompt."""
    clean = world(0).pixels()[:: N // FEW].astype(np.float64)
    raw = spoilt(clean, 0.05)
    prompts = [str(i // 4) for i in range(FEW)]
    return Context(rounded(raw), prompts, None, clean, same_law=True, paired=clean, raw=raw)


@cache
def halved() -> Context:
    """The first half of `pairs` at 32 x 32 pixels."""
    images = pairs().images[: FEW // 2]
    smaller = images.reshape(len(images), 3, 32, 2, 32, 2).mean(axis=(3, 5))
    return Context(smaller, pairs().prompts[: len(images)], None, None, same_law=False)


@cache
def digits() -> Context:
    """Real digits with noise, and fresh ones."""
    model = Empirical.of()
    prompts = list(model.prompts) * 8
    images, truth = (model.sample(prompts, np.random.default_rng(seed)).numpy() for seed in (0, 1))
    return Context(images, prompts, model, truth, same_law=True)


@cache
def objects() -> Context:
    """The eight views around each of four val objects, spoilt, with their captions; training objects have the same names."""
    val, known = World.open().where("val", "object"), World.open().where("train", "object").table
    table = val.table[val.around & val.table["concept"].isin(known["concept"])]
    whole = table.groupby("instance").filter(lambda rows: len(rows) == 8)
    names = sorted(set(whole["instance"]))
    kept = whole[whole["instance"].isin(names[:: len(names) // 4][:4])].sort_values(["instance", "azimuth"])
    sights = Sights(np.repeat(np.arange(4), 8), kept["azimuth"].to_numpy(float))
    images = rounded(spoilt(val.rows(kept.index.to_numpy()).pixels().astype(np.float64), 0.015))
    return Context(images, list(kept["caption"]), None, None, same_law=False, sights=sights)


ON: dict[Callable[[], Context], str] = {
    pairs: "lpips ssim psnr rms same_content diversity vendi contrast sharpness laplacian spectrum saturation clipped",
    sets: "precision recall density coverage fd_effnet kd_effnet rprec rprec5 tclip view "
    "precision_ddim recall_ddim density_ddim coverage_ddim fd_effnet_ddim kd_effnet_ddim",
    halved: "novelty",
    few: "energy sliced_w2",
    small: "frechet",
    digits: "nearest modes",
    objects: "silhouette floaters to_shape shape_lpips to_blend mixed parted janus named",
}
"""Pictures -> the measures that are taken of them."""
SHOWS = {name: context for context, names in ON.items() for name in names.split()}


@cache
def ours() -> Mapping[str, Any]:
    """The metrics of conf/metric; Fréchet distances also below their floor."""
    found = chosen(list(SHOWS))
    return {name: replace(metric, force=True) if isinstance(metric, Fd) else metric for name, metric in found.items()}


@cache
def here(name: str) -> float:
    """Our value."""
    context = SHOWS[name]()
    return float(ours()[name].statistic(context)(np.arange(len(context.images))))


# -------------------------------------------------------------------------------------------------------------- packages


@dataclass(frozen=True)
class Row:
    """A measure by another package, called so. converted: ours in its convention, where that is another one, and why that is.

    tolerance: of what is left, relative to the value: some unit roundoffs of float64, times the terms that are summed.
    """

    metric: str
    package: str
    call: str
    there: Callable[[], float]
    why: str = ""
    converted: Callable[[], float] | None = None
    tolerance: float = 1e-10

    def record(self) -> dict[str, Any]:
        """The row of the table."""
        mine, theirs = here(self.metric), float(self.there())
        alike = mine if self.converted is None else float(self.converted())
        return {
            "metric": self.metric,
            "package": self.package,
            "version": version(self.package),
            "call": self.call,
            "here": mine,
            "there": theirs,
            "difference": theirs - mine,
            "why": self.why,
            "here_in_their_convention": alike,
            "residual": abs(theirs - alike),
            "tolerance": self.tolerance * max(abs(theirs), abs(alike)),
        }


def couple() -> tuple[np.ndarray, np.ndarray]:
    """The pictures of `pairs` and what they are paired with."""
    images, paired = pairs().images, pairs().paired
    assert paired is not None
    return images, paired


def both() -> tuple[np.ndarray, np.ndarray]:
    """Those as intensities in [0, 1]."""
    images, paired = couple()
    return intensities(images), intensities(paired)


def each(function: Callable[..., float], **settings: Any) -> float:
    """The mean over the pairs of a function of two pictures [3, h, w]."""
    return float(np.mean([function(a, b, **settings) for a, b in zip(*both(), strict=True)]))


def of_tensors(function: Callable[..., torch.Tensor], **settings: Any) -> float:
    """The mean over the pairs of a function of two batches."""
    return float(function(*map(torch.from_numpy, both()), **settings).mean())


def padded(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM averaged over all places of pictures that are continued by their mirror image."""
    return similarity(*(np.pad(x, ((0, 0), (5, 5), (5, 5)), mode="reflect") for x in (a, b)))


def psnr_of(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR with piq's 1e-8 on the mean square."""
    return float(-10 * np.log10(np.square(a - b).mean() + 1e-8))


@cache
def their_lpips() -> Any:
    """The package's network with its own heads and our backbone, which it would download."""
    from lpips import LPIPS

    net = LPIPS(net="alex", pnet_rand=True, verbose=False).double()
    layers = [layer for layer in net.net.modules() if isinstance(layer, torch.nn.Conv2d)]
    for mine, theirs in zip(lpips.loaded("cpu").layers, layers, strict=True):
        theirs.load_state_dict(mine.state_dict())
    return net.requires_grad_(False)


@cache
def our_lpips() -> lpips.Alex:
    """Ours in float64, with the package's heads, which ours are but for their rounding to float16."""
    net = lpips.Alex().double()
    heads = {f"heads.{i}": lin.model[1].weight.flatten() for i, lin in enumerate(their_lpips().lins)}
    ours = lpips.loaded("cpu").state_dict()
    assert all(torch.equal(head.half(), ours[name].half()) for name, head in heads.items())
    net.load_state_dict(ours | heads)
    return net.requires_grad_(False)


def theirs_gaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The package's LPIPS of a[i] and b[i]."""
    return their_lpips()(*(torch.tensor(x, dtype=torch.float64) for x in (a, b))).flatten().numpy()


def ours_gaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Ours in float64 with the package's heads."""
    x, y = (our_lpips()(torch.tensor(some, dtype=torch.float64)) for some in (a, b))
    return (x - y).square().sum(dim=1).numpy()


Gaps = Callable[[np.ndarray, np.ndarray], np.ndarray]


def lpips_of(gaps: Gaps) -> float:
    """`lpips`."""
    return float(gaps(*couple()).mean())


def diversity_of(gaps: Gaps) -> float:
    """`diversity`: fours of a prompt have six pairs each."""
    fours = pairs().images.reshape(-1, 4, *pairs().images.shape[1:])
    return float(np.mean([gaps(fours[:, i], fours[:, j]) for i in range(4) for j in range(i)]))


def same_content_of(gaps: Gaps) -> float:
    """`same_content`."""
    a, b = (x.reshape(-1, 4, *x.shape[1:]) for x in couple())
    found = np.array([[gaps(a[:, i], b[:, j]) for j in range(4)] for i in range(4)])  # [own, other, prompt]
    return float(np.mean([found[i].argmin(axis=0) == i for i in range(4)]))


def novelty_of(gaps: Gaps) -> float:
    """`novelty`: the nearest ten by scikit-learn."""
    from sklearn.neighbors import NearestNeighbors

    images, known = halved().images, trained(halved().images.shape[-1])
    tree = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(known.reshape(len(known), -1))
    near = tree.kneighbors(images.reshape(len(images), -1).astype(np.float32), return_distance=False)
    return float(np.min([gaps(images, known[near[:, k]]) for k in range(10)], axis=0).mean())


def shape_lpips_of(gaps: Gaps) -> float:
    """`shape_lpips`."""
    return float(np.mean([gaps(views, known).mean() for views, known in around()]))


def around() -> list[tuple[np.ndarray, np.ndarray]]:
    """(views, those of the known object that scikit-learn finds nearest) of each object."""
    from sklearn.neighbors import NearestNeighbors

    found = []
    for k in range(4):
        rows = np.flatnonzero(objects().around().objects == k)
        views, known = objects().images[rows], truths(objects(), objects().prompts[rows[0]])
        tree = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(known.reshape(len(known), -1))
        found.append((views, known[tree.kneighbors(views.reshape(1, -1), return_distance=False)[0, 0]]))
    return found


@cache
def points(principal: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Features of `sets` and of what it is held against, in float64."""
    some, others = (Effnet(principal)(images).astype(np.float64) for images in (sets().images, sets().data()))
    return some, others


def tensors(principal: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Those as tensors."""
    some, others = points(principal)
    return torch.from_numpy(some), torch.from_numpy(others)


@cache
def by_prdc(k: int) -> Mapping[str, float]:
    """Precision, recall, density, coverage by prdc."""
    from prdc import compute_prdc

    samples, real = points()
    return compute_prdc(real, samples, nearest_k=k)


@cache
def by_fidelity() -> Mapping[str, float]:
    """Precision and recall by torch-fidelity."""
    from torch_fidelity.metric_prc import prc_features_to_metric

    settings = {"prc_neighborhood": 3, "prc_batch_size": 10_000, "save_cpu_ram": False, "verbose": False}
    return prc_features_to_metric(*tensors(), **settings)


def fid_by_fidelity(samples: np.ndarray, real: np.ndarray) -> float:
    """The Fréchet distance of two sets of points by torch-fidelity."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    moments = (fid_features_to_statistics(torch.from_numpy(some)) for some in (samples, real))
    return fid_statistics_to_metric(*moments, verbose=False)["frechet_inception_distance"]


def fid_by_clean_fid() -> float:
    """By clean-fid."""
    from cleanfid.fid import frechet_distance

    return frechet_distance(*(part for some in points(True) for part in (some.mean(axis=0), np.cov(some, rowvar=False))))


def kid_by_fidelity() -> float:
    """The kernel distance over one subset that is everything, by torch-fidelity."""
    from torch_fidelity.metric_kid import kid_features_to_metric

    poly = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}
    settings = {"kid_subsets": 1, "kid_subset_size": N, "rng_seed": 0, "verbose": False}
    return kid_features_to_metric(*tensors(), **poly, **settings)["kernel_inception_distance_mean"]


def kid_by_clean_fid() -> float:
    """By clean-fid."""
    from cleanfid.fid import kernel_distance

    return kernel_distance(*points(), num_subsets=1, max_subset_size=N)


def kid_by_piq() -> float:
    """By piq."""
    from piq import KID

    return float(KID().compute_metric(*tensors()))


def pr_by_piq() -> float:
    """Precision by piq."""
    from piq import PR

    return float(PR(nearest_k=3).compute_metric(*tensors()[::-1])[0])


def vendi_by_package() -> float:
    """vendi-score's of each prompt."""
    from vendi_score.vendi import score_X

    some = Effnet()(pairs().images).astype(np.float64).reshape(-1, 4, 1280)
    return float(np.mean([score_X(one) for one in some]))


def flat(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Samples and data as vectors."""
    some, others = (images.reshape(len(images), -1).astype(np.float64) for images in (context.images, context.data()))
    return some, others


def energy_by_dcor() -> float:
    """dcor's unbiased estimate, of Euclidean distances."""
    from dcor import EstimationStatistic, energy_distance

    return energy_distance(*flat(few()), estimation_stat=EstimationStatistic.U_STATISTIC)


def sliced_by_pot() -> float:
    """POT's along the same directions."""
    from ot import sliced_wasserstein_distance

    x, y = flat(few())
    directions = np.random.default_rng(0).standard_normal((x.shape[1], 128))
    return float(sliced_wasserstein_distance(x, y, projections=directions / np.linalg.norm(directions, axis=0)))


def nearest_by_sklearn() -> float:
    """scikit-learn's nearest neighbours, Euclidean."""
    from sklearn.neighbors import NearestNeighbors

    model = digits().model
    assert isinstance(model, Empirical)
    centres = model.centres.numpy()
    tree = NearestNeighbors(n_neighbors=1).fit(centres.reshape(len(centres), -1))
    return float(tree.kneighbors(flat(digits())[0])[0].mean())


def laplacian_by_skimage() -> float:
    """scikit-image's grey pictures and Laplacian."""
    from skimage.color import rgb2gray
    from skimage.filters import laplace

    spreads = [np.mean([laplace(rgb2gray(x.transpose(1, 2, 0))).var() for x in images]) for images in both()]
    return float(np.log(spreads[0] / spreads[1]))


def laplacian_in_theirs() -> float:
    """Ours with Rec. 709 luma, the rim continued by its mirror image."""
    greys = (np.tensordot(images, (0.2125, 0.7154, 0.0721), (1, 0)) for images in both())
    spreads = [laplacian_variance(np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="symmetric")).mean() for grey in greys]
    return float(np.log(spreads[0] / spreads[1]))


def saturation_by_skimage() -> float:
    """Saturation times value of scikit-image's HSV."""
    from skimage.color import rgb2hsv

    chroma = []
    for images in both():
        hsv = rgb2hsv(images.transpose(0, 2, 3, 1))
        chroma.append((hsv[..., 1] * hsv[..., 2]).mean())
    return float(np.log(chroma[0] / chroma[1]))


def scores() -> np.ndarray:
    """[N, 100]: of each picture with its own caption, then with the 99 others."""
    vectors, pool = towers.pictures(features(sets().images)), val_captions()
    rows = [[said, *(pool[i] for i in towers.distractors(said, pool))] for said in sets().asked()]
    return np.stack([towers.texts(row) @ vector for row, vector in zip(rows, vectors, strict=True)])


def rprec_by_sklearn(top: int) -> float:
    """scikit-learn's top-k accuracy."""
    from sklearn.metrics import top_k_accuracy_score

    return float(top_k_accuracy_score(np.zeros(N), scores(), k=top, labels=np.arange(100)))


def tclip_by_torchmetrics() -> float:
    """torchmetrics' cosines."""
    from torchmetrics.functional import cosine_similarity

    vectors = towers.pictures(features(sets().images)), towers.texts(sets().asked())
    found = cosine_similarity(*(torch.from_numpy(some).double() for some in vectors), reduction="none")
    return float(100 * found.clamp(min=0).mean())


def seen(context: Context) -> tuple[list[str], list[str]]:
    """(the asked side of pictures that have one, that which is seen)."""
    asked = [next((side for side in VIEWS if f"{side} view" in said), "") for said in context.asked()]
    found = [VIEWS[k] for k in views(features(context.images))]
    kept = [i for i, side in enumerate(asked) if side]
    return [asked[i] for i in kept], [found[i] for i in kept]


def view_by_sklearn() -> float:
    """scikit-learn's balanced accuracy."""
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(*seen(sets())))


def janus_by_sklearn() -> float:
    """Of scikit-learn's confusion matrix."""
    from sklearn.metrics import confusion_matrix

    matrix = confusion_matrix(*seen(objects()), labels=VIEWS, normalize="true")
    return float(matrix[VIEWS.index("back"), VIEWS.index("front")])


def silhouette_by_sklearn() -> float:
    """scikit-learn's Jaccard index of each view."""
    from sklearn.metrics import jaccard_score

    masks = [(shown(views), shown(known)) for views, known in around()]
    return float(np.mean([jaccard_score(a.ravel(), b.ravel()) for some in masks for a, b in zip(*some, strict=True)]))


def floaters_by_skimage() -> float:
    """scikit-image's components, corners joined."""
    from skimage.measure import label

    sizes = [np.bincount(label(mask, connectivity=2).ravel())[1:] for mask in shown(objects().images)]
    return float(np.mean([1 - size.max() / size.sum() for size in sizes]))


def to_shape_by_skimage() -> float:
    """scikit-image's PSNR of all eight views at once."""
    from skimage.metrics import peak_signal_noise_ratio

    stacks = [[intensities(some) for some in pair] for pair in around()]
    return float(np.mean([peak_signal_noise_ratio(a, b, data_range=1) for a, b in stacks]))


def skimage(name: str) -> Callable[..., float]:
    """A function of skimage.metrics, imported when it is called."""

    def call(*images: np.ndarray, **settings: Any) -> float:
        from skimage import metrics

        return getattr(metrics, name)(*images, **settings)

    return call


def piq(name: str, **settings: Any) -> float:
    """A function of piq of the pairs."""
    import piq

    return of_tensors(getattr(piq, name), **settings)


def ssim_by_torchmetrics() -> float:
    """torchmetrics' SSIM."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    return of_tensors(structural_similarity_index_measure, data_range=1.0, reduction="none")


HALF = "ours has the heads rounded to float16 and is computed in float32"
ROOT = "sqrt(d) times ours: their distance is Euclidean, ours the root mean square over the d values"

GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": 0}
LPIPS_OF = {
    "lpips": lpips_of,
    "diversity": diversity_of,
    "same_content": same_content_of,
    "novelty": novelty_of,
    "shape_lpips": shape_lpips_of,
}

ROWS = (
    Row(
        *("ssim", "scikit-image", "structural_similarity, Gaussian window, population covariance"),
        lambda: each(skimage("structural_similarity"), **GAUSSIAN),
    ),
    Row("ssim", "piq", "ssim", lambda: piq("ssim", data_range=1.0, reduction="none")),
    Row(
        *("ssim", "torchmetrics", "structural_similarity_index_measure", ssim_by_torchmetrics),
        why="theirs also averages over the rim, where windows look at the picture's mirror image",
        converted=lambda: each(padded),
    ),
    Row("psnr", "scikit-image", "peak_signal_noise_ratio", lambda: each(skimage("peak_signal_noise_ratio"), data_range=1.0)),
    Row(
        *("psnr", "piq", "psnr", lambda: piq("psnr", data_range=1.0, reduction="none")),
        why="theirs adds 1e-8 to the mean square",
        converted=lambda: each(psnr_of),
    ),
    Row(
        *("rms", "scikit-image", "mean_squared_error, its root"),
        lambda: each(lambda a, b: float(np.sqrt(skimage("mean_squared_error")(a, b)))),
        why="half of ours: theirs is of intensities in [0, 1], ours of values in [-1, 1]",
        converted=lambda: here("rms") / 2,
    ),
    *(
        Row(name, "lpips", "LPIPS(net='alex'), our backbone", partial(of, theirs_gaps), HALF, partial(of, ours_gaps))
        for name, of in LPIPS_OF.items()
    ),
    *(
        Row(name, "prdc", f"compute_prdc, nearest_k={k}", partial(lambda name, k: by_prdc(k)[name], name, k))
        for name, k in (("precision", 3), ("recall", 3), ("density", 5), ("coverage", 5))
    ),
    *(
        Row(name, "torch-fidelity", "prc_features_to_metric", partial(lambda name: by_fidelity()[name], name), tolerance=1e-7)
        for name in ("precision", "recall")
    ),
    Row("precision", "piq", "PR(nearest_k=3)", pr_by_piq, tolerance=1e-7),
    Row("vendi", "vendi-score", "score_X of each prompt", vendi_by_package),
    Row("fd_effnet", "torch-fidelity", "fid_statistics_to_metric", lambda: fid_by_fidelity(*points(True)), tolerance=1e-8),
    Row("fd_effnet", "clean-fid", "frechet_distance", fid_by_clean_fid, tolerance=1e-8),
    Row("kd_effnet", "torch-fidelity", "kid_features_to_metric, one subset", kid_by_fidelity),
    Row("kd_effnet", "clean-fid", "kernel_distance, one subset", kid_by_clean_fid),
    Row("kd_effnet", "piq", "KID", kid_by_piq),
    Row("frechet", "torch-fidelity", "fid_statistics_to_metric", lambda: fid_by_fidelity(*flat(small())), tolerance=1e-7),
    Row(
        *("energy", "dcor", "energy_distance, U statistic", energy_by_dcor),
        why=ROOT,
        converted=lambda: here("energy") * np.sqrt(few().images[0].size),
    ),
    Row("sliced_w2", "POT", "sliced_wasserstein_distance, our directions", sliced_by_pot),
    Row(
        *("nearest", "scikit-learn", "NearestNeighbors", nearest_by_sklearn),
        why=ROOT,
        converted=lambda: here("nearest") * np.sqrt(digits().images[0].size),
    ),
    Row(
        *("laplacian", "scikit-image", "laplace of rgb2gray", laplacian_by_skimage),
        why="theirs has Rec. 709 luma (ours Rec. 601, as JPEG) and also counts the rim, next to its mirror image",
        converted=laplacian_in_theirs,
    ),
    Row("saturation", "scikit-image", "rgb2hsv, saturation x value", saturation_by_skimage),
    Row("rprec", "scikit-learn", "top_k_accuracy_score, k=1", lambda: rprec_by_sklearn(1)),
    Row("rprec5", "scikit-learn", "top_k_accuracy_score, k=5", lambda: rprec_by_sklearn(5)),
    Row("tclip", "torchmetrics", "cosine_similarity", tclip_by_torchmetrics, tolerance=1e-6),
    Row("view", "scikit-learn", "balanced_accuracy_score", view_by_sklearn),
    Row("janus", "scikit-learn", "confusion_matrix", janus_by_sklearn),
    Row("silhouette", "scikit-learn", "jaccard_score of each view", silhouette_by_sklearn),
    Row("floaters", "scikit-image", "label, connectivity=2", floaters_by_skimage),
    Row("to_shape", "scikit-image", "peak_signal_noise_ratio of the eight views", to_shape_by_skimage),
)

ALONE = {
    "contrast": ("our own", "tests/test_metrics.py::test_contrast_is_the_mean_over_images_of_the_spread_of_their_pixels"),
    "sharpness": ("our own", "tests/test_metrics.py::test_sharpness_is_the_share_of_power_above_half_the_nyquist_frequency"),
    "spectrum": ("our own, after log-spectral distance", "tests/test_metrics_sets.py::test_bands_are_the_naive_fourier_sums"),
    "clipped": ("our own", "tests/test_features.py::test_clipped_is_the_share_of_values_out_of_range"),
    "modes": ("our own", "tests/test_metrics.py::test_modes_compares_with_the_number_that_fair_draws_would_meet"),
    "named": ("our own, of rprec5's hits", "tests/test_fields.py::test_names_faces_and_ranks_on_real_pictures"),
    "mixed": ("our own", "tests/test_fields.py::test_known_shapes_are_told_and_mixtures_are_seen"),
    "to_blend": ("our own", "tests/test_fields.py::test_an_average_of_known_shapes_is_told_from_a_mixture_of_their_views"),
    "parted": ("our own", "tests/test_fields.py::test_an_average_of_known_shapes_is_told_from_a_mixture_of_their_views"),
    "chamfer": (
        "of an object's surface, not of pictures",
        "tests/test_packages.py::test_chamfer_is_the_mean_of_both_ways_of_distances_that_are_not_squared",
    ),
    "fd_effnet_ddim": ("fd_effnet, against other pictures", "tests/test_packages.py::test_ddim_s_are_the_same_metrics"),
    "kd_effnet_ddim": ("kd_effnet, against other pictures", "tests/test_packages.py::test_ddim_s_are_the_same_metrics"),
    "precision_ddim": ("precision, against other pictures", "tests/test_packages.py::test_ddim_s_are_the_same_metrics"),
    "recall_ddim": ("recall, against other pictures", "tests/test_packages.py::test_ddim_s_are_the_same_metrics"),
    "density_ddim": ("density, against other pictures", "tests/test_packages.py::test_ddim_s_are_the_same_metrics"),
    "coverage_ddim": ("coverage, against other pictures", "tests/test_packages.py::test_ddim_s_are_the_same_metrics"),
    "fid": ("its network does not ship; on a stand-in", "tests/fid/test_inception.py::test_fid_and_kid_are_clean_fid_s"),
    "kid": ("its network does not ship; on a stand-in", "tests/fid/test_inception.py::test_fid_and_kid_are_clean_fid_s"),
    "clip_fid": ("no CLIP ships; on a tiny random one", "tests/fid/test_clip_fid.py::test_clip_fid_is_clean_fid_s"),
    "clip_score": (
        "no CLIP ships; on a tiny random one",
        "tests/test_clip.py::test_clip_score_is_the_cosine_of_the_projected_embeddings",
    ),
    "clip_score_b": (
        "clip_score, of another CLIP",
        "tests/test_clip.py::test_clip_score_is_the_cosine_of_the_projected_embeddings",
    ),
    "clip_iqa": ("no CLIP ships; on a tiny random one", "tests/test_clip.py::test_clip_iqa_is_the_softmax_over_its_two_texts"),
    "reward": ("the user's own function", "tests/test_clip.py::test_a_reward_is_any_function"),
}
"""Measures that no package has, or not on what ships: why, and the test that holds them against an oracle."""


# ------------------------------------------------------------------------------------------------------------- the table


def prepare() -> pd.DataFrame:
    """A row for each measure and package, then those without."""
    with torch.no_grad():
        found = [row.record() for row in ROWS]
    alone = [
        {"metric": name, "package": "-", "why": why, "call": test} | ({"here": here(name)} if name in SHOWS else {})
        for name, (why, test) in ALONE.items()
    ]
    return pd.DataFrame([*found, *alone])


def unexplained(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows whose value there is neither ours to rounding nor what ours is in their convention, or differs without a reason."""
    known = frame.dropna(subset=["there"])
    silent = (known["difference"].abs() > known["tolerance"]) & known["why"].fillna("").eq("")
    return known[(known["residual"] > known["tolerance"]) | silent]


def table(frame: pd.DataFrame) -> str:
    """The table as text, with a line for each reason; at most WIDTH columns."""
    known, alone = frame[frame["package"] != "-"], frame[frame["package"] == "-"]
    whys = list(dict.fromkeys(known["why"].dropna()))
    body = []
    for row in known.to_dict("records"):
        differs = abs(row["difference"]) > row["tolerance"]
        why = f"({whys.index(row['why']) + 1})" if differs else ""
        numbers = [f"{row['here']:.9g}", f"{row['there']:.9g}", f"{row['difference']:.1e}" if why else "0"]
        body.append([row["metric"], f"{row['package']} {row['version']}", *numbers, why, f"{row['residual']:.0e}"])
    head = ["metric", "package", "here", "there", "difference", "why", "unexplained"]
    parts = [
        lines(head, body),
        "difference: 0 if equal to rounding. unexplained: theirs less ours in their convention; the largest is "
        f"{known['residual'].max():.0e}.",
        *(f"({i}) {why}." for i, why in enumerate(whys, 1)),
        "Without a package: " + "; ".join(f"{row['metric']}: {row['why']}" for row in alone.to_dict("records")) + ".",
        f"Real pictures: of val, {N} against {N} others, or {FEW} that were spoilt against themselves (analysis/packages.py).",
    ]
    return "\n\n".join([parts[0], *("\n".join(wrap(part, WIDTH)) for part in parts[1:])]) + "\n"


def main() -> None:
    """Exit status 1 where a difference is not explained."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.packages", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    asked = parser.parse_args()
    frame = prepare()
    write_whole(asked.folder / "metrics.csv", frame.to_csv(index=False, float_format="%.12g").encode())
    write_whole(asked.folder / "metrics.txt", table(pd.read_csv(asked.folder / "metrics.csv")).encode())
    print(table(pd.read_csv(asked.folder / "metrics.csv")))
    if len(unexplained(frame)):
        sys.exit(f"analysis.packages: not explained:\n{unexplained(frame)[['metric', 'package', 'here', 'there', 'residual']]}")


if __name__ == "__main__":
    main()
