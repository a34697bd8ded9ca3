"""The build of the world on small made-up pictures and with made-up clients."""

import hashlib
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sdi_bench.data import shipped
from sdi_bench.data.build import emoji, fetch, pack, splits
from sdi_bench.data.build.attribution import attribution
from sdi_bench.data.build.captions import caption, variants
from sdi_bench.data.build.picture import Picture
from sdi_bench.data.world import STEP, World, read


def picture(seed: int, **fields: object) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    plain = Picture(
        pixels=pixels,
        domain="emoji",
        concept="dog face",
        instance=f"noto/{seed}",
        style="noto",
        view="",
        azimuth=math.nan,
        elevation=math.nan,
        colour="",
        words=("pet", "puppy", "animals nature"),
        source="noto",
        title="dog face",
        creator="Google Inc",
        licence="Apache-2.0",
    )
    return replace(plain, **fields)


def made_up() -> list[Picture]:
    """60 nouns with one to four models of three views, 80 labels in five styles; "thing 7" is a name in both domains."""
    furniture = {"domain": "object", "style": "", "elevation": 15.0, "colour": "red", "source": "SweetHome3D Scopia"}
    models = [
        picture(
            1000 * noun + 10 * model + view,
            concept=f"thing {noun}",
            instance=f"Scopia/{noun}-{model}",
            view=name,
            azimuth=90.0 * view,
            licence="CC-BY-3.0",
            **furniture,
        )
        for noun in range(60)
        for model in range(1 + noun % 4)
        for view, name in enumerate(("front", "side", "back"))
    ]
    drawings = [
        picture(
            10**6 + 10 * label + i,
            concept="thing 7" if label == 7 else f"face {label}",
            instance=f"{style}/{label}",
            style=style,
        )
        for label in range(80)
        for i, style in enumerate(("noto", "twemoji", "fxemoji", "streamline", "emojione"))
    ]
    return models + drawings


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(splits, "HELDOUT", {"object": 5, "emoji": 10})
    monkeypatch.setattr(splits, "WANTED", {"val": 150, "tune": 40})
    monkeypatch.setattr(splits, "TUNE_MODELS", 4)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "HERE", tmp_path)
    monkeypatch.setattr(shipped, "SUMS", tmp_path / "SHA256SUMS")
    shipped.shipped.cache_clear()
    yield tmp_path
    shipped.shipped.cache_clear()


def test_splits(small):
    pictures = made_up()
    split = splits.splits(pictures)
    concepts = {name: {p.concept for p, s in zip(pictures, split, strict=True) if s == name} for name in set(split)}
    assert concepts["val"] | concepts["tune"] <= concepts["train"]
    assert len(concepts["heldout"]) in (14, 15) and not concepts["heldout"] & concepts["train"]
    assert Counter(split)["val"] == 150 and Counter(split)["tune"] == 40
    by_instance = {(p.instance, s) for p, s in zip(pictures, split, strict=True)}
    assert len(by_instance) == len({p.instance for p in pictures})
    left = Counter(p.concept for p, s in zip(pictures, split, strict=True) if s == "train" and p.domain == "emoji")
    assert all(left[p.concept] >= 3 for p, s in zip(pictures, split, strict=True) if s == "val" and p.domain == "emoji")
    of_val = Counter(
        (p.concept, p.instance) for p, s in zip(pictures, split, strict=True) if s == "val" and p.domain == "object"
    )
    assert set(of_val.values()) == {3} and len({concept for concept, _ in of_val}) == len(of_val)


def test_splits_do_not_depend_on_the_order(small):
    pictures = made_up()
    order = np.random.default_rng(0).permutation(len(pictures))
    split = splits.splits(pictures)
    assert splits.splits([pictures[i] for i in order]) == [split[i] for i in order]


def test_near_twins_stay_together(small):
    pictures = [p for p in made_up() if p.domain == "object"]
    twin = {p.view: p.pixels for p in pictures if p.instance == "Scopia/3-0"}
    pictures = [
        replace(p, pixels=np.minimum(twin[p.view], 250)) if p.instance in {"Scopia/3-1", "Scopia/6-2"} else p for p in pictures
    ]
    group = splits.twins(pictures)
    assert group["Scopia/3-0"] == group["Scopia/3-1"] == group["Scopia/6-2"] != group["Scopia/3-2"]
    split = splits.models(pictures, 4)
    assert len({split[name] for name in ("Scopia/3-0", "Scopia/3-1", "Scopia/6-2")}) == 1


def test_every_value_is_kept_to_two_levels_and_white_and_black_exactly():
    values = np.arange(256, dtype=np.uint8)
    kept = STEP * pack.steps(values).astype(int)
    assert np.abs(kept - values).max() == 2 and kept[0] == 0 and kept[255] == 255


def test_packed_pictures_come_back(elsewhere):
    pictures = made_up()[:40] + made_up()[-40:]
    world = pack.pack(pictures, ["train"] * 79 + ["val"])
    assert len(world) == 80 and list(world.where(split="val").table["instance"]) == ["emojione/79"]
    for image, row, p in zip(world.images, world.table.itertuples(), pictures, strict=True):
        assert np.abs(image.transpose(1, 2, 0).astype(int) - p.pixels).max() <= 2
        assert (row.concept, row.instance, row.style, row.view, row.words) == (
            p.concept,
            p.instance,
            p.style,
            p.view,
            "; ".join(p.words),
        )
        assert row.azimuth == p.azimuth or (math.isnan(row.azimuth) and math.isnan(p.azimuth))
    files = {path.name: path.read_bytes() for path in (elsewhere / "world").iterdir()}
    again = pack.pack(pictures, ["train"] * 79 + ["val"])
    assert again.digest() == world.digest() == (elsewhere / pack.DIGEST).read_text().strip()
    assert {path.name: path.read_bytes() for path in (elsewhere / "world").iterdir()} == files
    assert "Scopia" in attribution(world.table) and "[Noto Emoji]" in attribution(world.table)


def test_more_than_fits_is_refused_and_leaves_the_old_world(elsewhere, monkeypatch):
    pack.pack(made_up()[:20], ["train"] * 20)
    monkeypatch.setattr(pack, "LIMIT", 1000)
    with pytest.raises(ValueError, match=r"^pictures=40: packed they and the meshes take \d+ bytes; 1000 would do$"):
        pack.pack(made_up()[:40], ["train"] * 40)
    assert len(read()) == 20


def test_attribution_refuses_share_alike(elsewhere):
    world = pack.pack([picture(1, domain="object", source="SweetHome3D Scopia", licence="CC-BY-SA-4.0")], ["train"])
    with pytest.raises(ValueError, match=r"^licence='CC-BY-SA-4\.0': must be one of"):
        attribution(world.table)


def test_difference_is_counted(elsewhere):
    build = pytest.importorskip("sdi_bench.data.build.__main__", reason="needs the extra [build]", exc_type=ImportError)
    pictures = made_up()[:30]
    old = pack.pack(pictures, ["train"] * 30)
    assert build.difference(old, old) == "same pictures as before"
    new = pack.pack(
        [picture(5, instance="new"), *pictures[1:-1], replace(pictures[-1], pixels=pictures[0].pixels)],
        ["val"] * 30,
    )
    assert build.difference(old, new) == "1 pictures differ from before, 1 are new, 1 are gone"
    assert build.difference(old, World(old.images, old.table.assign(split="val"))).endswith("the table differs")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (("object", "sofa", "", "side", "red"), "a red sofa, side view"),
        (("object", "armchair"), "an armchair"),
        (("object", "sofa", "", "", "orange"), "an orange sofa"),
        (("emoji", "dog face", "old noto"), "dog face, old noto emoji"),
    ],
)
def test_captions(said, words):
    assert caption(*said) == words


def test_variants():
    assert variants("object", "sofa", "", "side", "red") == ("sofa", "red sofa", "sofa, side view")
    assert variants("object", "stool") == ("stool",)
    label, more = variants("emoji", "dog face", "noto", words=("pet", "puppy", "animal", "nose"))
    assert label == "dog face" and more.startswith("dog face, ") and 1 <= more.count(",") <= 3
    assert variants("emoji", "dog face", "noto", words=("nose", "animal", "puppy", "pet")) == (label, more)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("woman: beard", "woman with beard"),
        ("man: bald", "bald man"),
        ("kiss: woman, man", "kiss of woman and man"),
        ("person running: facing right", "person running facing right"),
        ("Mrs. Claus", "mrs claus"),
        ("three o’clock", "three o'clock"),
        ("piñata", "pinata"),
    ],
)
def test_labels_in_plain_words(label, words):
    assert emoji.natural(label) == words


def test_a_drawing_is_framed_on_white_and_twins_are_dropped():
    resvg = pytest.importorskip("resvg_py")
    box = '<rect x="40" y="50" width="60" height="30" fill="#f00"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 128 128">{box}</svg>'
    drawn = emoji.Image.open(emoji.io.BytesIO(resvg.svg_to_bytes(svg_string=svg, width=emoji.DRAWN))).convert("RGBA")
    pixels = emoji.framed(drawn)
    m = emoji.MARGIN
    assert (pixels[32, m:-m] == (255, 0, 0)).all() and (pixels[:, :m] == 255).all() and (pixels[:, -m:] == 255).all()
    assert (pixels == pixels[::-1]).all()
    first, other = picture(1, pixels=pixels), picture(2)
    near = picture(3, pixels=np.maximum(pixels, 2))
    assert emoji.distinct([first, other, near]) == [first, other]


def test_a_set_without_code_points_is_matched_by_name():
    def of(code: str, **names: str) -> emoji.Emoji:
        given = {source: (names[source],) if source in names else () for source in emoji.NAMES}
        return emoji.Emoji(code, names["label"], "animals nature", (), given)

    wanted = [
        of("1", label="dog", cldr="puppy"),
        of("2", label="dog face", iamcal="dog"),
        of("3", label="cat", unicode="CAT SIDE"),
    ]
    icons = {name: name for name in ("dog", "dog-face", "catside")}
    assert emoji.by_name(wanted, emoji.NAMES, icons) == {"1": "dog", "2": "dog-face", "3": "catside"}
    assert emoji.by_name(wanted, ("iamcal", *emoji.NAMES), icons) == {"2": "dog", "3": "catside"}


def fake(folder, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_wrong_hash_names_the_file(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    fake(tmp_path / "bin", "npm", "echo another > iconify-json-noto-1.2.9.tgz")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(
        ValueError, match=r"iconify-json-noto-1\.2\.9\.tgz: its hash is sha512-.* where sha512-DQiuXENbun41… is pinned"
    ):
        fetch.npm(tmp_path / "cache")


def test_a_failing_client_is_quoted_and_a_missing_one_named(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ValueError, match=r"^apt-get: not installed"):
        fetch.debian(tmp_path / "cache")
    fake(tmp_path / "bin", "apt-get", "echo unable to locate package >&2; exit 100")
    with pytest.raises(ValueError, match=r"^apt-get download sweethome3d-furniture=1\.8-1: failed: unable to locate package$"):
        fetch.debian(tmp_path / "cache")
    fake(tmp_path / "bin", "apt-get", "exit 0")
    with pytest.raises(ValueError, match=r"left no sweethome3d-furniture_1\.8-1_all\.deb"):
        fetch.debian(tmp_path / "cache")


def test_what_is_there_is_checked_and_not_fetched_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    (tmp_path / "there").write_bytes(b"known")
    pinned = f"sha256-{hashlib.sha256(b'known').hexdigest()}"
    assert fetch.fetched(["npm", "pack"], tmp_path, "there", pinned) == tmp_path / "there"
