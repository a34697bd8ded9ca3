"""Folders of pictures as people have them: pairs by name, mixed sizes, prompts, paths of any character."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import exit_status
from PIL import Image

from sdi_bench import evaluate, invert, trust
from sdi_bench.data.world import World
from sdi_bench.features.effnet import pooled
from sdi_bench.measuring import Clusters
from sdi_bench.metrics import Sharpness, UndefinedError
from sdi_bench.metrics.base import Context
from sdi_bench.sizes import by_size, sizes, together
from sdi_bench.words import literal

BYTES = np.round((World.open().where("val").pixels(64)[:24] + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    return exit_status(monkeypatch, evaluate.main, *words)


def measured(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> pd.DataFrame:
    """measure -> its row."""
    table = folder.parent / "table.csv"
    assert command(monkeypatch, str(folder), *words, f"output={table}") == 0
    return pd.read_csv(table).set_index("measure")


def written(folder: Path, names: list[str], pictures: list[np.ndarray] | np.ndarray) -> Path:
    for name, picture in zip(names, pictures, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / name)
    return folder


def noisy(pictures: np.ndarray, amount: int) -> np.ndarray:
    moved = pictures.astype(int) + np.random.default_rng(0).integers(-amount, amount + 1, pictures.shape)
    return moved.clip(0, 255).astype(np.uint8)


# -------------------------------------------------------------------------------------------------------------- pairs


def test_numbers_in_names_pair_by_value(monkeypatch, tmp_path) -> None:
    """By sorted names 10.png would meet 002.png: LPIPS .4 and more, where the pictures are the same."""
    a = written(tmp_path / "a", [f"{i}.png" for i in range(12)], BYTES[:12])
    b = written(tmp_path / "b", [f"{i:03}.bmp" for i in range(12)], BYTES[:12])
    found = measured(monkeypatch, a, f"paired={b}", "metric=[lpips,rms]")
    assert found.loc["lpips", "point"] == found.loc["rms", "point"] == 0


def test_pairs_in_subfolders_go_by_their_path(monkeypatch, tmp_path) -> None:
    a = written(tmp_path / "a", ["x/1.png", "y/1.png", "y/2.png"], BYTES[:3])
    b = written(tmp_path / "b", ["x/01.png", "y/01.png", "y/02.png"], BYTES[:3])
    assert measured(monkeypatch, a, f"paired={b}", "metric=[rms]", "recursive=true").loc["rms", "point"] == 0


def test_what_has_no_mate_is_named_both_ways_and_shifts_nothing(monkeypatch, tmp_path, capsys) -> None:
    a = written(tmp_path / "a", [f"{i}.png" for i in range(8)], BYTES[:8])
    b = written(tmp_path / "b", [f"{i}.png" for i in (0, 1, 3, 4, 5, 6, 7, 9)], BYTES[[0, 1, 3, 4, 5, 6, 7, 9]])
    (b / "4.png").write_bytes(b"broken")
    assert measured(monkeypatch, a, f"paired={b}", "metric=[rms]").loc["rms", "point"] == 0
    said = capsys.readouterr().err
    assert "2 of a have no mate: 2.png, 4.png" in said and "1 of b have no mate: 9.png" in said and "4.png (not a pic" in said


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["1.png", "01.png"], "01.png and 1.png have the same name but for suffix and leading zeros"),
        (["1.png", "1.bmp"], "1.bmp and 1.png have the same name but for suffix and leading zeros"),
        (["7.png", "8.png"], "no file has the name of one of a: 7.png, not 1.png"),
    ],
)
def test_pairs_that_cannot_be_told_are_refused(monkeypatch, tmp_path, capsys, names: list[str], said: str) -> None:
    a = written(tmp_path / "a", ["1.png", "2.png"], BYTES[:2])
    b = written(tmp_path / "b", names, BYTES[:2])
    for words in ([str(a), f"paired={b}"], [str(b), f"paired={a}"])[: 1 if "7.png" in names else 2]:
        assert command(monkeypatch, *words) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_pairs_of_unlike_size_are_refused_by_name(monkeypatch, tmp_path, capsys) -> None:
    a = written(tmp_path / "a", ["1.png", "2.png"], BYTES[:2])
    b = written(tmp_path / "b", ["1.png", "2.png"], [BYTES[0], BYTES[1][:32, :48]])
    assert command(monkeypatch, str(a), f"paired={b}") == 2
    assert "pairs must be of one size: 2.png is 64 x 64, 2.png 48 x 32\n" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------- mixed sizes


def test_pairs_of_several_sizes_are_measured_pair_by_pair(monkeypatch, tmp_path) -> None:
    whole = [BYTES[i][: 64 - 2 * (i % 3), : 64 - 4 * (i % 2)] for i in range(9)]
    moved = [noisy(picture, 8) for picture in whole]
    names = [f"{i}.png" for i in range(9)]
    a, b = written(tmp_path / "a", names, whole), written(tmp_path / "b", names, moved)
    found = measured(monkeypatch, a, f"paired={b}", "metric=[rms,psnr,ssim,lpips]")
    errors = [np.square(x / 255 - y / 255).mean() for x, y in zip(whole, moved, strict=True)]
    assert found.loc["rms", "point"] == pytest.approx(2 * np.sqrt(errors).mean(), rel=1e-12)
    # torchmetrics takes ln 10 in float32, off by 2^-24 at most
    assert found.loc["psnr", "point"] == pytest.approx(np.mean([-10 * np.log10(error) for error in errors]), rel=2**-23)
    assert 0 < found.loc["lpips", "point"] < 0.3 and 0.5 < found.loc["ssim", "point"] < 1


def test_sets_of_several_sizes_go_through_the_networks_own_resizing(monkeypatch, tmp_path) -> None:
    """Kernel distance by its definition, on features of one picture at a time."""
    whole = [BYTES[i][: 64 - 8 * (i % 3)] for i in range(10)]
    other = [BYTES[10 + i][:, : 64 - 16 * (i % 2)] for i in range(8)]
    names = [f"{i}.png" for i in range(10)]
    a, b = written(tmp_path / "a", names, whole), written(tmp_path / "b", names[:8], other)
    found = measured(monkeypatch, a, f"real={b}", "metric=[kd_effnet,contrast,saturation,sharpness,precision]")
    x, y = ([pooled(p.transpose(2, 0, 1)[None] / 127.5 - 1)[0].astype(float) for p in some] for some in (whole, other))

    def mean(s: list[np.ndarray], t: list[np.ndarray], apart: bool) -> float:
        return np.mean([(p @ q / 1280 + 1) ** 3 for i, p in enumerate(s) for j, q in enumerate(t) if not apart or i != j])

    want = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    # float32 features of other batches: 1e-6 of each term
    assert found.loc["kd_effnet", "point"] == pytest.approx(want, abs=1e-4 * mean(x, x, True))
    spread = [np.mean([p.std() for p in some]) for some in (whole, other)]
    assert found.loc["contrast", "point"] == pytest.approx(np.log(spread[0] / spread[1]), rel=1e-9)
    chroma = [np.mean([np.ptp(p.astype(int), axis=2).mean() for p in some]) for some in (whole, other)]
    assert found.loc["saturation", "point"] == pytest.approx(np.log(chroma[0] / chroma[1]), rel=1e-9)
    assert "of pictures of one size" in found.loc["sharpness", "undefined"]
    assert 0 <= found.loc["precision", "point"] <= 1


def test_by_size_puts_every_row_in_its_place() -> None:
    pictures = together([np.full((3, 2 + i % 3, 4), float(i)) for i in range(7)])
    asked = []

    def mean(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return images.mean(axis=(1, 2, 3))

    assert list(by_size(mean, pictures)) == list(range(7)) and asked == [3, 2, 2]
    doubled = by_size(lambda images: 2 * images, pictures)
    assert [image.shape for image in doubled] == [image.shape for image in pictures] and doubled[6].max() == 12
    assert sizes(pictures) == [(2, 4), (3, 4), (4, 4)]
    assert list(by_size(mean, together(list(pictures[[0, 3, 6]])))) == [0, 3, 6]
    context = Context(together(list(pictures[[0, 3]])), [None] * 2, None, None, False, real=pictures[[1, 4]])
    with pytest.raises(UndefinedError, match="these are 4 x 2 to 4 x 3"):
        Sharpness().statistic(context)


# ------------------------------------------------------------------------------------------------------------ prompts


NAMES = ["1.png", "2.png", "10.png"]


def asked(folder: Path, source: Path) -> list[str | None]:
    (run,) = evaluate.told([evaluate.open_folder(folder, "folder", True)], str(source))
    return [item.prompt for item in run.items]


ROWS = [
    {"file_name": "10.png", "text": "c, and more"},
    {"text": "b", "file_name": "2.png"},
    {"file_name": "1.png", "text": "a"},
]
COCO = {
    "images": [{"id": i, "file_name": f"{name}.png"} for i, name in ((5, 10), (6, 1), (7, 2))],
    "annotations": [
        {"id": i, "image_id": image, "caption": text}
        for i, image, text in ((4, 5, "another"), (3, 5, "c, and\nmore"), (1, 7, "b"), (2, 6, "a"))
    ],
}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'file_name,caption\n10.png,"c, and more"\n1.png,a\n2.png,b\n'),
        ("a.csv", '\ufeffPrompt,Image\r\na,01.jpg\r\nb,./2.png\r\n"c, and more",10.png\r\n'),
        ("a.csv", 'path,text\n/data/x/2.png,b\n/data/x/1.png,a\n/data/x/10.png,"c, and more"\n'),
        ("a.TSV", "file\tprompt\n2\tb\n1\ta\n10\tc, and more\n"),
        ("a.csv", "caption;file_name\nc, and more;10.png\na;1.png\nb;2.png\n"),
        ("a.jsonl", "\n\n".join(map(json.dumps, ROWS))),
        ("a.json", json.dumps(ROWS)),
        ("coco.json", json.dumps(COCO)),
        ("a.txt", "a\nb\nc, and more\n"),
        ("texts/1.txt", "a"),
    ],
)
def test_prompts_find_their_pictures(tmp_path, name: str, text: str) -> None:
    pictures = written(tmp_path / "p", NAMES, BYTES[:3])
    source = tmp_path / name
    source.parent.mkdir(exist_ok=True)
    source.write_text(text, encoding="utf-8")
    if name == "texts/1.txt":
        (tmp_path / "texts/02.txt").write_text("b\n")
        (tmp_path / "texts/10.txt").write_text("c, and\nmore")
        source = tmp_path / "texts"
    assert asked(pictures, source) == ["a", "b", "c, and more"]


def test_a_prompt_is_no_file_name_and_zero_is(tmp_path) -> None:
    folder = written(tmp_path / "of", ["0.png", "1.png", "2.png"], BYTES[:3])
    (tmp_path / "d.csv").write_text("prompt\n2\n0\n1\n")
    assert asked(folder, tmp_path / "d.csv") == ["2", "0", "1"]
    records = [{"id": k, "prompt": f"p{k}"} for k in (2, 0, 1)]
    (tmp_path / "d.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    assert asked(folder, tmp_path / "d.jsonl") == ["p0", "p1", "p2"]


def test_folders_of_one_name_are_told_apart(monkeypatch, tmp_path, capsys) -> None:
    few, many = (
        written(tmp_path / name / "images", [f"{k}.png" for k in range(n)], BYTES[:n]) for name, n in (("a", 2), ("b", 3))
    )
    assert command(monkeypatch, str(few), str(many), "metric=[contrast]", f"real={many}", f"output={tmp_path / 't.csv'}") == 0
    frame = pd.read_csv(tmp_path / "t.csv")
    assert frame.groupby("run")["n"].first().to_dict() == {str(few): 2, str(many): 3}
    monkeypatch.chdir(few)
    assert evaluate.told_apart(["."]) == ["images"]
    with pytest.raises(ValueError, match="is given twice"):
        evaluate.told_apart([".", str(few)])


def test_prompts_of_pictures_are_read_as_those_of_a_run(tmp_path) -> None:
    """JSON Lines end at LF alone, and a byte-order mark says which text follows."""
    pictures = written(tmp_path / "p", ["1.png"], BYTES[:1])
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"file": "1.png", "text": "one\u2028line"}, ensure_ascii=False), encoding="utf-8"
    )
    (tmp_path / "a.csv").write_text("file;prompt\n1.png;one\u2028line\n", encoding="utf-16")
    (tmp_path / "t").mkdir()
    (tmp_path / "t/1.txt").write_text("one line", encoding="utf-16")
    assert [asked(pictures, tmp_path / name) for name in ("a.jsonl", "a.csv", "t")] == [["one\u2028line"]] * 2 + [["one line"]]


def test_prompts_of_pictures_in_subfolders(tmp_path) -> None:
    pictures = written(tmp_path / "p", ["x/1.png", "y/1.png"], BYTES[:2])
    (tmp_path / "a.csv").write_text("file,prompt\ny/1.png,why\nx/1.png,ex\n")
    assert asked(pictures, tmp_path / "a.csv") == ["ex", "why"]
    (tmp_path / "b.csv").write_text("file,prompt\n1.png,why\n")
    with pytest.raises(ValueError, match=r"x/1.png and y/1.png have the same name|1.png and 1.png have the same name"):
        asked(pictures, tmp_path / "b.csv")


def test_a_picture_that_cannot_be_read_takes_its_prompt_with_it(tmp_path) -> None:
    pictures = written(tmp_path / "p", NAMES, BYTES[:3])
    (pictures / "2.png").write_bytes(b"")
    (tmp_path / "a.txt").write_text("a\nb\nc\n")
    (tmp_path / "a.csv").write_text("file,prompt\n1.png,a\n2.png,b\n10.png,c\n11.png,d\n")
    for name in ("a.txt", "a.csv"):
        with pytest.warns(UserWarning, match=r"1 of 3 files left out: 2.png \(empty\)") as caught:
            assert asked(pictures, tmp_path / name) == ["a", "c"]
    assert "1 of 4 have no picture in p: 11.png" in str(caught[-1].message)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "a\nb\n", "holds 2 prompts for the 3 pictures of p"),
        ("a.csv", "file,prompt\n1.png,a\n", "no prompt for 2 of the pictures of p: 2.png, 10.png"),
        ("a.csv", "file,prompt\n1.png,a\n2.png,\n10.png,c\n", "line 3 has no prompt"),
        ("a.csv", "file,prompt\n1.png,a\n01.jpg,b\n2.png,c\n10.png,d\n", "1.png and 01.jpg have the same name"),
        ("a.jsonl", "{", "cannot be read"),
        ("none", "", "cannot be read"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(monkeypatch, tmp_path, capsys, name: str, text: str, said: str) -> None:
    pictures = written(tmp_path / "p", NAMES, BYTES[:3])
    if text:
        (tmp_path / name).write_text(text)
    assert command(monkeypatch, str(pictures), f"prompts={tmp_path / name}") == 2
    error = capsys.readouterr().err
    assert f"prompts='{tmp_path / name}': {said}" in error and error.count("\n") == 1


# -------------------------------------------------------------------------------------------------------------- words


ODD = [
    "sampler=sdi,seed=0",
    "a b, c",
    "[x]{y}",
    "it's",
    'say "so"',
    "é漢 ${x}",
    "-dash",
    "per cent %s",
    "real=val",
    "$HOME",
    "a\\b",
]


@pytest.mark.parametrize("name", ODD)
def test_folders_and_files_of_any_name(monkeypatch, tmp_path, capsys, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder = written(tmp_path / name, ["0.png", "1.png", "2.png"], BYTES[:3])
    (folder / "prompts.txt").write_text("a\nb\nc\n")
    words = [f"{key}={name}" for key in ("real", "paired", "samples")]
    table = f"{name}.csv"
    assert (
        command(monkeypatch, "metric=[rms,contrast]", *words, f"prompts={name}/prompts.txt", f"output={table}", "--", name) == 0
    )
    found = pd.read_csv(tmp_path / table)
    assert list(found["run"]) == [name] * 2 and list(found["point"]) == [0, 0]
    if name != "real=val":  # the name of a setting is taken for that, but after --
        assert command(monkeypatch, name, "metric=[rms]", f"paired={literal(name)}") == 0, capsys.readouterr().err


def test_invert_reads_what_others_read_from_any_path(monkeypatch, tmp_path, capsys) -> None:
    path = tmp_path / "a, [b]=c's.png"
    array = np.dstack([np.arange(64, dtype=np.uint8).reshape(8, 8)] * 3 + [np.full((8, 8), 255, np.uint8)])
    array[0, 0, 3] = 0
    Image.fromarray(array).save(path)
    monkeypatch.setattr(
        sys, "argv", ["invert", f"image={path}", "prompt=3", "grid.n_levels=3", f"output={tmp_path / 'out, =1'}"]
    )
    invert.main()
    want = np.arange(64).reshape(8, 8) / 127.5 - 1
    want[0, 0] = 1
    np.testing.assert_allclose(np.load(tmp_path / "out, =1" / "round_trip.npz")["source"][0, 0], want, rtol=0, atol=1e-12)
    assert "with transparency, put on white" in capsys.readouterr().err


def test_help_has_usage_settings_examples_and_metrics(monkeypatch, capsys) -> None:
    for word in ("--help", "-h"):
        assert command(monkeypatch, word) == 0
        said = capsys.readouterr().out
        assert all(
            part in said for part in ("python -m sdi_bench.evaluate FOLDER", "recursive: false", "prompts=", "fd_effnet")
        )


def test_prompts_for_runs_and_bad_recursive_are_refused(monkeypatch, tmp_path, capsys) -> None:
    folder = written(tmp_path / "p", ["0.png", "1.png"], BYTES[:2])
    assert command(monkeypatch, str(folder), "recursive=maybe") == 2
    assert "recursive='maybe': must be true or false" in capsys.readouterr().err
    run = evaluate.Finished("r", (), BYTES / 255, Clusters(np.arange(24), "pictures"))
    with pytest.raises(ValueError, match="finished runs have prompts of their own"):
        evaluate.told([run], "a.txt")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "sdi_bench.store.shutil.rmtree",
        "sdi_bench.models.base.torch.load",
        "sdi_bench.store.write_whole",
        "builtins.print",
    ],
)
def test_a_runs_configuration_calls_nothing_but_models_and_scenes(monkeypatch, tmp_path, capsys, target) -> None:
    (tmp_path / "shards").mkdir()
    part = {"_target_": "sdi_bench.models.Empirical.of", "labelled": [{"_target_": target, "_args_": ["x"]}]}
    (tmp_path / "config.yaml").write_text(json.dumps({"model": part, "sampler": {"guidance": {"scale": 1}}}))
    assert command(monkeypatch, str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert f"its configuration would call {target!r}, which is none of" in error and error.count("\n") == 1
    trust.trusted(part, [str(target).split(".")[0]], "here")


# ---------------------------------------------------------------------------------------------------------- all of it


def test_two_hundred_ordinary_pictures(monkeypatch, tmp_path, capsys) -> None:
    """Mixed sizes, modes and suffixes; of what is left out every file is named, and there is a table."""
    rng = np.random.default_rng(0)
    kinds = [("RGB", ".png"), ("RGB", ".JPG"), ("L", ".jpeg"), ("RGBA", ".png"), ("P", ".gif"), ("1", ".bmp"), ("LA", ".PNG")]
    kinds += [("CMYK", ".tif"), ("I;16", ".png"), ("RGB", ".webp"), ("F", ".tiff"), ("RGB", ".avif"), ("L", ".pgm")]
    mine, theirs = tmp_path / "my pictures", tmp_path / "real=ones"
    for folder, n in ((mine, 200), (theirs, 40)):
        folder.mkdir()
        for i in range(n):
            mode, suffix = kinds[i % len(kinds)]
            picture = Image.fromarray(BYTES[i % 24]).resize(tuple(32 + 8 * rng.integers(0, 4, 2)))
            if mode == "I;16":
                picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
            elif mode == "F":
                picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.float32) / 255)
            else:
                picture = picture.convert(mode)
            picture.save(folder / f"img_{i}{suffix}")
    lost = {"cut.png": (mine / "img_0.png").read_bytes()[:900], "empty.jpg": b"", "notes.png": b"hello", "film.mov": b"x"}
    for name, data in lost.items():
        (mine / name).write_bytes(data)
    for name in (".DS_Store", "._img_0.png", "Thumbs.db", "img_0.txt"):
        (mine / name).write_bytes(b"x")
    rows = "".join(f"img_{i:05},a chair number {i % 20}\n" for i in range(200))
    (tmp_path / "prompts.csv").write_text("file,prompt\n" + rows)
    had, not_had = ["contrast", "saturation", "kd_effnet", "recall", "vendi"], ["tclip", "sharpness"]
    words = [f"real={theirs}", f"prompts={tmp_path / 'prompts.csv'}", f"metric=[{','.join(had + not_had)}]"]
    found = measured(monkeypatch, mine, *words)
    said = capsys.readouterr()
    assert set(found["n"]) == {200} and found.loc[had, "point"].notna().all()
    assert found.loc[not_had, "undefined"].notna().all()
    assert "4 of 204 files left out" in said.err and all(f"{name} (" in said.err for name in lost)
    assert "Traceback" not in said.err and "img_0.txt" not in said.err and "kd_effnet" in said.out
    assert abs(found.loc["contrast", "point"]) < 0.2  # the same pictures, but for their sizes
