"""The world that ships: what is in it, that its splits are clean, and that damage is named."""

import re
import shutil

import numpy as np
import pytest

from sdi_bench.data import shipped
from sdi_bench.data import world as data_world
from sdi_bench.data.build.attribution import LICENCES, attribution
from sdi_bench.data.build.captions import caption
from sdi_bench.data.build.pack import LIMIT
from sdi_bench.data.meshes import open_meshes
from sdi_bench.data.world import DIGEST, DOMAINS, SPLITS, STEP, TABLE, World, read


@pytest.fixture(scope="module")
def world() -> World:
    return World.open()


def test_both_domains_have_every_split(world):
    assert len(world) == len(world.images) == len(world.table) > 14_000
    for domain in DOMAINS:
        assert set(world.where(domain=domain).table["split"]) == set(SPLITS)
    assert len(world.where(split="val")) >= 2048
    assert 500 <= len(world.where(split="tune")) <= 520
    assert world.where(split="heldout").table.groupby("domain")["concept"].nunique().ge(30).all()


def test_no_model_and_no_drawing_is_in_two_splits(world):
    assert world.table.groupby("instance")["split"].nunique().max() == 1
    assert not world.table.duplicated(["instance", "azimuth", "elevation"]).any()


def test_every_object_is_seen_from_the_same_angles(world):
    angles = (
        world.where(domain="object")
        .table.groupby("instance")[["azimuth", "elevation"]]
        .apply(lambda of: tuple(map(tuple, of.values)))
    )
    assert angles.nunique() == 1 and len(angles.iloc[0]) >= 8


def test_val_and_tune_show_known_words_and_heldout_unknown_ones(world):
    concepts = {split: set(world.where(split=split).table["concept"]) for split in SPLITS}
    assert concepts["val"] | concepts["tune"] <= concepts["train"]
    assert not concepts["heldout"] & (concepts["train"] | concepts["val"] | concepts["tune"])
    train = world.where(split="train").table
    for column in ("style", "view", "colour"):
        assert set(world.where(split="val").table[column]) <= set(train[column])
    emoji = train[train["domain"] == "emoji"].groupby("concept")["style"].nunique()
    asked = world.where(split="val", domain="emoji").table
    assert emoji[asked["concept"]].min() >= 3
    seen = set(zip(train["concept"], train["style"], strict=True))
    assert not [pair for pair in zip(asked["concept"], asked["style"], strict=True) if pair in seen]


def test_half_of_the_meshes_are_not_in_train(world):
    split = world.table.drop_duplicates("instance").set_index("instance")["split"]
    of_meshes = [split[mesh.instance] for mesh in open_meshes().values()]
    assert len(of_meshes) >= 20 and 2 * of_meshes.count("train") <= len(of_meshes)


def test_captions_say_what_the_columns_say(world):
    for row in world.table.itertuples():
        assert row.caption == caption(row.domain, row.concept, row.style, row.view, row.colour)
    said = {domain: world.where(domain=domain).table["caption"] for domain in DOMAINS}
    assert said["object"].str.fullmatch(r"an? [a-z' -]+(, (front|side|back|overhead) view)?").all()
    assert said["emoji"].str.fullmatch(r"[a-z0-9' -]+, [a-z0-9 ]+ emoji").all()
    assert not world.table["concept"].str.contains(r"[^a-z0-9' -]").any()


def test_pictures_stand_on_white(world):
    corners = world.images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).mean() > 0.99
    assert ((255 - world.images.min(axis=(1, 2, 3))) > 20).all()
    assert set(np.unique((255 - world.images[::50]) % STEP)) == {0}


def test_every_licence_is_permitted_and_told(world):
    assert set(world.table["licence"]) <= set(LICENCES)
    assert not [name for name in LICENCES if re.search("SA|GPL|NC|ND", name)]
    page = (shipped.HERE / "ATTRIBUTION.md").read_text("utf-8")
    assert page == attribution(world.table)
    models = world.where(domain="object").table
    for title, creator in set(zip(models["title"], models["creator"], strict=True)):
        assert title in page and creator in page


def test_it_is_small_enough():
    packed = [shipped.HERE / TABLE, *(shipped.HERE / "world").glob("*.webp"), shipped.HERE / "meshes.npz"]
    assert sum(path.stat().st_size for path in packed if path.exists()) <= LIMIT


def test_the_decoded_pictures_are_those_that_were_packed(world):
    assert world.digest() == shipped.shipped(DIGEST).read_text().strip()


def test_opening_twice_is_opening_once(world):
    assert World.open() is world and not world.images.flags.writeable


def test_pictures_are_unpacked_once_and_believed_afterwards_only_if_they_are_whole(world, tmp_path, monkeypatch):
    monkeypatch.setenv("SDI_BENCH_CACHE", str(tmp_path))
    unpacked = []
    monkeypatch.setattr(data_world, "unpacked", lambda paths, table: unpacked.append(paths) or world)

    def harm(cut: int | None) -> None:
        (kept,) = tmp_path.iterdir()
        content = bytearray(kept.read_bytes())
        content[-1] ^= cut is None
        kept.write_bytes(content[:cut])

    for times, harmed in ((1, None), (1, "flipped"), (2, "cut off"), (3, "emptied"), (4, None)):
        again = read()
        assert len(unpacked) == times and again.digest() == world.digest() and not again.images.flags.writeable
        if harmed:
            harm({"flipped": None, "cut off": -1, "emptied": 0}[harmed])
    shutil.rmtree(tmp_path)
    tmp_path.write_bytes(b"")  # no folder can be made here
    assert read() is world and len(unpacked) == 5


def test_smaller_pixels_are_means_over_squares(world):
    some = World(world.images[::500], world.table[::500])
    whole, half = some.pixels(), some.pixels(32)
    assert whole.dtype == half.dtype == np.float32 and half.shape[1:] == (3, 32, 32)
    assert whole.min() >= -1 and whole.max() == 1
    # float32 means of four numbers up to 1 and one rounding each
    np.testing.assert_allclose(
        half, (whole[..., ::2, ::2] + whole[..., 1::2, ::2] + whole[..., ::2, 1::2] + whole[..., 1::2, 1::2]) / 4, atol=2.0**-20
    )


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda world: world.where(split="test"), r"^split='test': must be one of train, val, tune, heldout$"),
        (lambda world: world.where(domain="photo"), r"^domain='photo': must be one of object, emoji$"),
        (lambda world: world.pixels(48), r"^size=48: must be 64, 32, 16 or 8$"),
    ],
)
def test_a_wrong_setting_is_named(world, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(world)


@pytest.mark.parametrize("name", ["world/00.webp", TABLE])
@pytest.mark.parametrize("harm", ["flip", "remove"])
def test_damage_is_named(tmp_path, monkeypatch, name, harm):
    shutil.copytree(shipped.HERE / "world", tmp_path / "world")
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content) if harm == "flip" else path.unlink()
    monkeypatch.setattr(shipped, "HERE", tmp_path)
    shipped.shipped.cache_clear()
    try:
        with pytest.raises(ValueError, match=rf"{re.escape(name)}: (damaged|missing)"):
            read()
    finally:
        shipped.shipped.cache_clear()
