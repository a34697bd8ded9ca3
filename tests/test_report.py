"""The page of a folder: what it shows is what the files say, it fetches nothing, and it works in a browser by keyboard."""

import base64
import colorsys
import fcntl
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import exit_status
from matplotlib.colors import to_rgb
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdi_bench import run
from sdi_bench.compare import cell
from sdi_bench.draws import Item
from sdi_bench.store import DIGEST, RUN, RunFolder, Shard, read_index

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from sdi_bench import reading, report  # noqa: E402
from sdi_bench.plotting.style import COLOURS, FIXED, NAMES  # noqa: E402
from sdi_bench.report import __main__, films, grids, plots, tables, turntables  # noqa: E402

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EVIL = '</script><script>document.title="caught"</script>'


def sweep(folder: Path, *words: str) -> Path:
    """Run the main job in this process; where its results are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["run", "-m", "grid.n_levels=6", "reference.grid.n_levels=9", f"results={folder}", *words])
        run.main()
    return folder / "main"


def handmade(folder: Path, name: str, images: np.ndarray, items: list[Item], scale: float = 1.0, **config: Any) -> RunFolder:
    """A finished run of no sampler."""
    made = RunFolder(folder / name)
    made.write_shard(Shard(tuple(items), images, {}, 1.0, 1.0))
    made.write_text("config.yaml", yaml.safe_dump({"sampler": {"guidance": {"scale": scale}}, **config}))
    made.write_json("provenance.json", {"command": f"make {name}", "results_version": 2, "versions": {"torch": "9"}})
    return made


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """Two samplers at two guidance scales, on three items of the digits."""
    words = [
        "model=digits",
        "sampler=sds,ddim",
        "guidance.scale=1,3",
        "prompt=[3,8]",
        "seeds=0..7",
        "metric=[contrast,sharpness]",
    ]
    return sweep(tmp_path_factory.mktemp("digits"), *words)


def objects(folder: Path) -> Path:
    """Two runs of three objects, each seen from six sides: a white square on grey that moves to the right, higher by item."""
    items = [Item(prompt, 0) for prompt in ("a sofa", "a table", "a lamp")]
    images = np.full((3, 6, 3, 32, 32), -0.5)
    for item in range(3):
        for view in range(6):
            images[item, view, :, 20 - 8 * item : 28 - 8 * item, 4 * view : 4 * view + 8] = 1
    x0 = images[:, :4].swapaxes(0, 1)
    for name in ("sds", "sdi"):
        made = handmade(folder, f"{name}-1", images, items)
        made.write_arrays("trajectory.npz", x0=x0, kappa=x0, sigma=np.ones((4, 3)), index=np.arange(4))
    return folder


@pytest.fixture(scope="module")
def page(digits: Path) -> str:
    """Its page."""
    return report.draw(report.prepare(digits))


class Outline(HTMLParser):
    """Tags that open, with their attributes, and the text of each kind of tag."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")

    def handle_data(self, data: str) -> None:
        if self.tags:
            self.texts[self.tags[-1][0]][-1] += data


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Write a page in this process; the exit status."""
    return exit_status(monkeypatch, __main__.main, *map(str, words))


# ---------------------------------------------------------------------------------------------------------- what it says


def test_the_page_is_one_file_and_asks_for_nothing(monkeypatch, digits, tmp_path, capsys) -> None:
    assert command(monkeypatch, digits, "--output", tmp_path / "page.html") == 0
    assert "written: " in capsys.readouterr().out
    html = (tmp_path / "page.html").read_text()
    assert len(html) < 1e6 and not re.search(r"@import|url\(", html)
    outline = Outline(html)
    targets = {attrs["id"] for _, attrs in outline.tags if attrs.get("id")}
    for tag, attrs in outline.tags:
        assert tag not in ("link", "iframe", "object", "base")
        assert not {"srcset", "data", "action", "poster"} & attrs.keys() and not any(name.startswith("on") for name in attrs)
        assert (attrs.get("src") or "data:").startswith("data:image/webp;base64,"[: len(attrs.get("src") or "data:")])
        assert tag != "a" or (attrs["href"] or "")[1:] in targets
        assert tag != "script" or "src" not in attrs
    assert not re.search(r"https?://", re.sub(r"<details.*?</details>", "", html, flags=re.S))


def test_headings_are_in_order_and_pictures_have_words(page) -> None:
    tags = Outline(page).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))
    assert all("alt" in attrs for tag, attrs in tags if tag == "img")
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in tags}


def test_numbers_commands_and_hashes_are_those_of_the_files(digits, page) -> None:
    frame = pd.read_csv(next(digits.glob("sweep-*.csv")))
    assert len(list(digits.glob("sweep-*.csv"))) == 1
    for row in frame.dropna(subset=["point"]).to_dict("records"):
        assert cell(row["point"], row["low"], row["high"]) in page
    for path in digits.glob("*/config.yaml"):
        assert f'id="run-{path.parent.name}"' in page
    assert "-m grid.n_levels=6 reference.grid.n_levels=9" in page
    made = report.prepare(digits)
    assert {grid.title for grid in made.grids} == {"γ 1", "γ 3"}
    assert [list(grid.labels) for grid in made.grids] == [
        [f"sds scale={k}", f"ddim scale={k}", f"ddim-9 scale={k}"] for k in (1, 3)
    ]
    assert made.grids[0].items[:3] == ["3 · 0", "8 · 0", "3 · 1"] and made.lacking == []
    assert report.draw(made) == page


def test_pictures_and_films_are_the_shards_and_trajectories(digits) -> None:
    made = report.prepare(digits)
    folder = next(digits.glob("digits-sds-fresh-g1-*"))
    images = next(iter(np.load(path)["images"] for path in folder.glob("shards/*.npz")))
    path = np.load(folder / "trajectory.npz")

    def decoded(uri: str) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))[..., 0]

    for i in range(3):
        shown = np.round(np.clip((images[i, 0] + 1) / 2, 0, 1) * 255)
        assert np.array_equal(decoded(made.grids[0].pictures[0][i]), shown)
        film = made.films[0].runs[0]
        assert film["label"] == "sds scale=1" and film["index"] == [0, 1, 2, 3, 4, 5] and film["last"] == 5
        frames = decoded(film["x0"][i]).reshape(8, 6, 8).transpose(1, 0, 2)
        assert np.array_equal(frames, np.round(np.clip((path["x0"][:, i, 0] + 1) / 2, 0, 1) * 255))
        assert film["std"][i] == [None, *(f"{k.std():.3g}" for k in path["kappa"][1:, i])]
        assert film["sigma"][i] == [f"{s:.3g}" for s in path["sigma"][:, i]]


def test_words_of_others_are_text(tmp_path) -> None:
    items = [Item(EVIL, seed) for seed in range(2)]
    images = np.linspace(-1, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    made = handmade(tmp_path, "a-1", images, items, prompt=EVIL)
    path = np.repeat(images[None], 3, axis=0)
    made.write_arrays("trajectory.npz", x0=path, kappa=np.full_like(path, np.nan), sigma=np.ones((3, 2)), index=np.arange(3))
    (tmp_path / "notes.txt").write_text(EVIL)
    frame = pd.DataFrame([{"run": EVIL, "measure": EVIL, "point": 1.0, "low": 0.5, "high": 1.5, "unit": EVIL}] * 2)
    frame.assign(gamma=[1.0, 2.0]).to_csv(tmp_path / "sweep-1.csv", index=False)
    html = report.draw(report.prepare(tmp_path))
    assert EVIL not in html and "<script>document" not in html
    assert html.count("<script") == 2 and html.count("&lt;script&gt;document") > 5


def test_csv_alone_gives_tables_plots_and_figures(tmp_path) -> None:
    row = {"tier": "test", "n": 9, "diverged": 0, "unit": "share", "ideal": np.inf, "results": "x-1", "command": "c"}
    points = [{"run": name, "gamma": gamma, "point": gamma / 10} for name in ("sds", "ddim") for gamma in (1.0, 7.5)]
    measures = [row | p | {"measure": m, "low": p["point"] - 0.01, "high": p["point"] + 0.01} for p in points for m in "ab"]
    measures[0] |= {"point": np.nan, "low": np.nan, "high": np.nan, "undefined": "too few"}
    measures[1] |= {"flagged": True}
    measures.append(row | {"run": "data", "measure": "b", "point": 0.5, "low": 0.4, "high": 0.6})
    pd.DataFrame(measures).to_csv(tmp_path / "measures.csv", index=False)
    pair = {"a": "sds", "b": "ddim", "gamma": 1.0, "measure": "a", "unit": "share", "point": 0.3, "low": 0.2, "high": 0.4}
    pair |= {"effect": 1.5, "p_holm": 0.02, "verdict": "higher"}
    pd.DataFrame([pair | {"claim": "it rises", "expected": "equal"}]).to_csv(tmp_path / "claims.csv", index=False)
    (tmp_path / "differences.csv").write_text("\n")
    picture, caption = Image.fromarray(np.full((5, 7, 3), 200, np.uint8)), PngInfo()
    picture.save(tmp_path / "gamma.png")
    caption.add_itxt("Description", "κ stays")
    (tmp_path / "plots").mkdir()
    picture.save(tmp_path / "plots" / "paths.png", pnginfo=caption)
    (tmp_path / "broken.png").write_text("no picture")
    made = report.prepare(tmp_path)
    test, claims = made.tables
    assert [(line.label, line.cells[0].text) for line in test.lines] == [
        ("sds", "1"),
        ("sds", "7.5"),
        ("ddim", "1"),
        ("ddim", "7.5"),
        ("data", "–"),
    ]
    assert test.lines[0].cells[2] == tables.Cell("–", None, "too few")
    assert test.lines[0].cells[3].text == "0.100 ±0.010!" and "no a for sds: too few." in test.notes
    assert test.columns[3].about == "share; higher is better"
    assert [c.text for c in claims.lines[0].cells] == [
        "sds − ddim",
        "1",
        "a",
        "0.30 ±0.10",
        "share",
        "1.50",
        "0.02",
        "higher",
        "equal",
    ]
    assert [[dot.label for dot in panel.dots] for panel in made.plots[0].panels] == [
        ["ddim γ 1", "sds γ 7.5", "ddim γ 7.5"],
        ["sds γ 1", "ddim γ 1", "sds γ 7.5", "ddim γ 7.5", "data"],
    ]
    assert [(figure.name, figure.seen, figure.width, figure.height) for figure in made.figures] == [
        ("gamma.png", "The figure gamma.png", 7, 5),
        ("plots/paths.png", "κ stays", 7, 5),
    ]
    assert made.lacking == ["differences.csv", "runs, so there are no pictures", "figures left out: broken.png"]
    assert "Not here: differences.csv; runs" in report.draw(made)


def test_points_of_a_plane_have_tables_and_no_pictures(tmp_path) -> None:
    folder = sweep(tmp_path, "model=mixture", "sampler=sds,ddim", "seeds=0..7")
    made = report.prepare(folder)
    assert made.tables and made.plots and not made.grids and not made.films
    assert made.lacking == ["pictures of 3 runs (points, not pictures)"]
    assert "points, not pictures" in report.draw(made)


def test_a_latent_is_shown_by_three_channels_and_large_pictures_are_made_smaller(tmp_path) -> None:
    rng, items = np.random.default_rng(0), [Item(None, seed) for seed in range(3)]
    made = handmade(tmp_path, "l-1", rng.uniform(-1, 1, (3, 3, 256, 192)), items)
    x0 = rng.normal(size=(5, 2, 4, 32, 24))
    made.write_arrays("trajectory.npz", x0=x0, kappa=9 * x0, sigma=np.ones((5, 2)), index=np.arange(5))
    page = report.prepare(tmp_path)
    (film,), (grid,) = page.films, page.grids
    assert film.latent and film.items == ["no prompt · 0", "no prompt · 1"] and not grid.sharp
    assert film.runs[0]["std"][0] == [f"{9 * x.std():.3g}" for x in x0[:, 0]]
    assert grid.side == 96 and "first three channels" in report.draw(page)


def test_objects_turn_and_their_way_is_what_each_step_saw(tmp_path) -> None:
    rng, items = np.random.default_rng(0), [Item("a sofa", 0), Item("a sofa", 1)]
    objects = np.round(rng.uniform(0, 1, (2, 40, 3, 16, 16)) * 255) / 127.5 - 1
    made = handmade(tmp_path, "v-1", objects, items)
    x0 = rng.uniform(-0.2, 0.2, (3, 2, 3, 16, 16))
    made.write_arrays("trajectory.npz", x0=x0, kappa=x0, sigma=np.ones((3, 2)), index=np.arange(3))
    page = report.prepare(tmp_path)
    (grid,), (film,) = page.grids, page.films
    assert film.turning and not film.latent  # a latent would be divided by its own spread
    assert (grid.sides, grid.degrees, grid.side, grid.sharp) == (20, 18.0, 96, True)  # 40 sides by twos
    with Image.open(io.BytesIO(base64.b64decode(grid.pictures[0][1].partition(",")[2]))) as file:
        strip = np.asarray(file.convert("RGB"))
    for k, side in enumerate(np.split(strip, 20, axis=1)):
        assert np.array_equal(side, np.round((objects[1, 2 * k].transpose(1, 2, 0) + 1) * 127.5))
    assert "Objects turn together" in report.draw(page) and "seen from another side at every step" in report.draw(page)


def test_objects_stand_in_rows_of_runs_and_columns_of_items(tmp_path) -> None:
    page = report.prepare(objects(tmp_path))
    (grid,), (film,) = page.grids, page.films
    assert list(grid.labels) == ["sdi", "sds"] and grid.items == ["a sofa · 0", "a table · 0", "a lamp · 0"]
    assert [len(row) for row in grid.pictures] == [3, 3] and page.lacking == ["tables of measures (sweep-*.csv, measures.csv)"]
    assert len(set(grid.pictures[0])) == 3 and film.items == grid.items and film.turning
    tags = Outline(report.draw(page)).tags
    windows = [tags[k + 1][1]["alt"] for k, (_, attrs) in enumerate(tags) if attrs.get("class") == "frame turntable"]
    assert windows == [f"{run}: {item}" for run in grid.labels for item in grid.items]


def test_objects_lose_quality_before_they_are_left_out(tmp_path, monkeypatch) -> None:
    rng, items = np.random.default_rng(0), [Item("a", seed) for seed in range(4)]
    views = rng.uniform(-1, 1, (4, 8, 3, 16, 16))
    handmade(tmp_path, "v-1", views, items)
    whole, reduced = (len(turntables.turntable(views[0], lossy)) for lossy in (False, True))
    assert whole > 1.2 * reduced
    for room, n_items, size in ((12 * whole, 4, whole), (3.5 * reduced, 3, reduced), (1, 1, reduced)):
        monkeypatch.setattr(turntables, "TURN_BYTES", room)
        (grid,) = report.prepare(tmp_path).grids
        assert len(grid.pictures[0]) == n_items and len(grid.pictures[0][0]) == size


def test_objects_and_pictures_of_one_tier_stand_apart(tmp_path) -> None:
    handmade(tmp_path, "flat-1", np.zeros((1, 3, 8, 8)), [Item("a", 0)])
    handmade(tmp_path, "solid-1", np.zeros((1, 6, 3, 8, 8)), [Item("a", 0)])
    grids_made = report.prepare(tmp_path).grids
    assert [(grid.title, grid.sides) for grid in grids_made] == [("γ 1 · 8 × 8", 1), ("γ 1 · 8 × 8, 6 views", 6)]


def test_an_animated_figure_moves(tmp_path) -> None:
    pd.DataFrame([{"run": "a", "measure": "b", "point": 1.0, "low": 0.5, "high": 1.5}]).to_csv(tmp_path / "sweep-1.csv")
    first, *others = (Image.fromarray(np.full((6, 8, 3), shade, np.uint8)) for shade in (0, 120, 240))
    first.save(tmp_path / "turntable.gif", save_all=True, append_images=others, duration=200, loop=0)
    page = report.prepare(tmp_path)
    (figure,) = page.figures
    with Image.open(io.BytesIO(base64.b64decode(figure.uri.partition(",")[2]))) as file:
        file.load()  # it says how long a frame is shown once it has one
        assert file.n_frames == 3 and file.info["duration"] == 200
    assert (figure.name, figure.moving, figure.width, figure.height) == ("turntable.gif", True, 8, 6)
    assert '<details class="moving" open>' in report.draw(page)


def test_runs_that_share_no_item_stand_apart_and_many_are_parted(tmp_path) -> None:
    images = np.zeros((2, 1, 4, 4))
    for k in range(reading.RUNS + 2):
        handmade(tmp_path, f"r{k:02d}-1", images, [Item("a", 0), Item("b", 0)])
    handmade(tmp_path, "s-1", images, [Item("c", 0), Item("d", 0)])
    grids = report.prepare(tmp_path).grids
    assert [len(grid.labels) for grid in grids] == [reading.RUNS, 2, 1]
    assert [grid.title for grid in grids] == [f"γ 1 ({k} of 3)" for k in (1, 2, 3)]


def test_an_index_names_the_runs_and_tiers_stand_apart(tmp_path) -> None:
    images, items = np.zeros((1, 1, 4, 4)), [Item("a", 0)]
    for name in ("x-1", "y-2"):
        handmade(tmp_path, name, images, items, scale=7.5)
    rows = [{"tier": tier, "row": "r", "label": "r t=2", "gamma": 7.5, "folder": "x-1"} for tier in ("tune", "test")]
    RunFolder(tmp_path).write_json("index.json", {"runs": rows})
    assert len(read_index(tmp_path)) == 2
    grids = report.prepare(tmp_path).grids
    assert {(grid.title, *grid.labels) for grid in grids} == {
        ("γ 7.5", "y"),
        ("test · γ 7.5", "r t=2"),
        ("tune · γ 7.5", "r t=2"),
    }


def test_fewer_states_where_there_is_no_room(digits, monkeypatch) -> None:
    monkeypatch.setattr(films, "FILM_BYTES", 5000.0)
    monkeypatch.setattr(grids, "GRID_BYTES", 5000.0)
    made = report.prepare(digits)
    assert len(made.films[0].items) < 8 and len(made.grids[0].items) < 12


def test_what_is_damaged_is_named_and_the_rest_is_shown(digits, tmp_path) -> None:
    folder = tmp_path / "main"
    shutil.copytree(digits, folder)
    paths = sorted(folder.glob("digits-*"))
    shard = next(paths[0].glob("shards/*.npz"))
    shard.write_bytes(shard.read_bytes()[:200])
    (paths[1] / "config.yaml").unlink()
    (paths[2] / "trajectory.npz").write_bytes(b"PK")
    (paths[3] / "trajectory.npz").unlink()
    with np.load(paths[4] / "trajectory.npz") as kept:  # as earlier versions wrote it, without a seal
        np.savez(paths[5] / "trajectory.npz", **{name: kept[name] for name in kept.files if name not in (RUN, DIGEST)})
    said = "; ".join(report.prepare(folder).lacking)
    assert f"{shard.relative_to(folder)}: damaged" in said
    assert f"{paths[1].name}: its config.yaml or provenance.json cannot be read" in said
    assert f"trajectory.npz damaged ({paths[2].name})" in said
    assert "trajectory.npz of 1 run" in said
    assert f"trajectory.npz is of other items than the run's first shard ({paths[5].name})" in said
    shutil.copy(paths[4] / "trajectory.npz", paths[5] / "trajectory.npz")
    said = "; ".join(report.prepare(folder).lacking)
    assert f"trajectory.npz damaged ({paths[2].name}, {paths[5].name})" in said


def test_a_probed_run_has_no_pictures(tmp_path) -> None:
    items = [Item("a", 0), Item("b", 0)]
    made = handmade(tmp_path, "p-1", np.zeros((1, 1, 4, 4)), items[:1], probe={"_target_": "x"})
    shutil.rmtree(made.path / "shards")
    made.write_probed(items, {"found": np.zeros(2)}, {})
    assert "a probe measured it" in "; ".join(report.prepare(tmp_path).lacking)


@pytest.mark.parametrize(
    ("inside", "said"), [(None, "no such folder"), (".", "holds no finished run and no table of measures")]
)
def test_nothing_to_show_is_one_line_and_status_2(monkeypatch, tmp_path, capsys, inside, said) -> None:
    folder = tmp_path / (inside or "nowhere")
    assert command(monkeypatch, folder) == 2
    error = capsys.readouterr().err
    assert error == f"sdi_bench.report: {folder}: {said}\n" and not list(tmp_path.iterdir())


def test_a_run_given_for_its_experiment_is_told(monkeypatch, digits, tmp_path, capsys) -> None:
    assert command(monkeypatch, next(digits.glob("digits-sds-*")), "--output", tmp_path / "page.html") == 2
    assert "it is a run itself, give the folder that holds it" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------- in a browser


class Browser:
    """A page in a headless Chromium, spoken to over its debugging pipe."""

    def __init__(self, path: Path, profile: Path):
        assert BROWSER is not None
        ours, theirs = os.pipe(), os.pipe()
        far = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in (ours[0], theirs[1])]

        def place() -> None:
            os.dup2(far[0], 3)
            os.dup2(far[1], 4)

        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
        flags += ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
        self.process = subprocess.Popen(
            [BROWSER, *flags, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"],
            preexec_fn=place,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (*far, ours[0], theirs[1]):
            os.close(fd)
        self.to, self.out, self.rest = os.fdopen(ours[1], "wb", 0), theirs[0], b""
        self.asked, self.session = 0, ""
        self.events: list[dict[str, Any]] = []
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not self.told("Page.loadEventFired"):
            self.read()

    def read(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            more = os.read(self.out, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self.rest += more
        head, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(head)
        if "method" in message:
            self.events.append(message)
        return message

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.asked += 1
        to = {"sessionId": self.session} if self.session else {}
        self.to.write(json.dumps({"id": self.asked, "method": method, "params": params} | to).encode() + b"\0")
        while (message := self.read()).get("id") != self.asked:
            pass
        assert "error" not in message, message
        return message["result"]

    def told(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event["method"] == method]

    def ask(self, code: str) -> Any:
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)

    def complaints(self) -> list[Any]:
        console = [said for said in self.told("Runtime.consoleAPICalled") if said["type"] in ("error", "warning")]
        logged = [said for said in self.told("Log.entryAdded") if said["entry"]["level"] in ("error", "warning")]
        asked = [said["request"]["url"][:80] for said in self.told("Network.requestWillBeSent")]
        return [
            *self.told("Runtime.exceptionThrown"),
            *console,
            *logged,
            *(url for url in asked if url[:5] not in ("file:", "data:")),
        ]

    def close(self) -> None:
        try:
            self.session = ""
            self.call("Browser.close")
            self.process.wait(10)
        except (RuntimeError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.to.close()
        os.close(self.out)


def opened(html: str, folder: Path) -> Iterator[Browser]:
    """A page in a browser."""
    if BROWSER is None:
        pytest.skip("no browser here: needs chromium, chromium-browser or google-chrome")
    (folder / "page.html").write_text(html)
    browser = Browser(folder / "page.html", folder / "profile")
    yield browser
    browser.close()


@pytest.fixture
def browser(page, tmp_path) -> Iterator[Browser]:
    yield from opened(page, tmp_path)


@pytest.fixture
def turning(tmp_path) -> Iterator[Browser]:
    yield from opened(report.draw(report.prepare(objects(tmp_path / "made"))), tmp_path)


COLUMN = '[...document.querySelectorAll(".sortable")[0].tBodies[0].rows].map(row => row.cells[3].dataset.key ?? null)'
HEADING = 'document.querySelectorAll(".sortable")[0].tHead.rows[0].cells[3]'
SEEN = """[...document.querySelectorAll("#film-section .group:not([hidden]) figure")].map(figure => ({
  left: [...figure.querySelectorAll("img")].map(img => Math.round(img.getBoundingClientRect().left
    - img.closest(".frame").getBoundingClientRect().left)),
  hidden: [...figure.querySelectorAll(".pair > div")].map(box => box.hidden),
  said: figure.querySelector(".state").textContent}))"""


OVERFLOW = "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"  # pixels past the window
UNNAMED = """[...document.querySelectorAll("input, select, button")].filter(each =>
  ![...each.labels, ...(each.matches("button") ? [each] : [])].some(name => name.textContent.trim())).map(each => each.id)"""


def test_a_reader_with_a_keyboard_sorts_slides_and_chooses(browser) -> None:
    assert browser.ask(f"{HEADING}.getAttribute('aria-sort')") is None
    browser.ask(f"{HEADING}.querySelector('button').focus()")
    browser.press("Enter", 13, "\r")
    rising = [float(key) for key in browser.ask(COLUMN)]
    assert rising == sorted(rising) and len(set(rising)) > 2
    assert browser.ask(f"{HEADING}.getAttribute('aria-sort')") == "ascending"
    browser.press(" ", 32, " ")
    assert [float(key) for key in browser.ask(COLUMN)] == rising[::-1]
    assert browser.ask(f"{HEADING}.getAttribute('aria-sort')") == "descending"
    assert browser.ask("document.querySelectorAll('[aria-sort]').length") == 1

    last = browser.ask(SEEN)
    assert [figure["left"] for figure in last] == [[-480, -480], [-480, 0], [-768, 0]]  # a hidden κ has no place
    assert [figure["hidden"][1] for figure in last] == [False, True, True]
    assert last[0]["said"].startswith("state 5 of 5 · σ 0.0292 · κ std ")
    browser.ask("document.getElementById('film-share').focus()")
    browser.press("ArrowLeft", 37)
    assert browser.ask("document.getElementById('film-said').textContent") == "99 %"
    browser.press("Home", 36)
    first = browser.ask(SEEN)
    assert [figure["left"] for figure in first] == [[0, 0]] * 3
    assert [figure["said"].split(" · ")[0] for figure in first] == ["state 0 of 5", "state 0 of 5", "state 0 of 8"]
    assert browser.ask("document.getElementById('film-share').getAttribute('aria-valuetext')") == "0 % of the way"

    before = browser.ask("document.querySelector('#film-section img').src")
    browser.ask("document.getElementById('film-item').focus()")
    browser.press("ArrowDown", 40)
    assert browser.ask("document.getElementById('film-item').value") == "1"
    assert browser.ask("document.querySelector('#film-section img').src") != before
    shown = "[...document.querySelectorAll('#grid-section .group')].map(group => group.hidden)"
    assert browser.ask(shown) == [False, True]
    browser.ask("document.getElementById('grid-group').focus()")
    browser.press("ArrowDown", 40)
    assert browser.ask(shown) == [True, False]
    browser.ask("document.getElementById('film-group').focus()")
    browser.press("ArrowDown", 40)
    assert [figure["said"].split(" · ")[0] for figure in browser.ask(SEEN)] == ["state 0 of 5", "state 0 of 5", "state 0 of 8"]
    assert browser.complaints() == []


def test_what_is_undefined_stays_last_either_way(browser) -> None:
    table, with_gaps = 'document.querySelectorAll(".sortable")[0]', 0
    for column in range(browser.ask(f"{table}.tHead.rows[0].cells.length")):
        orders = []
        for _ in range(2):
            browser.ask(f"{table}.tHead.rows[0].cells[{column}].querySelector('button').click()")
            keys = browser.ask(f"[...{table}.tBodies[0].rows].map(row => row.cells[{column}].dataset.key ?? null)")
            orders.append([key for key in keys if key is not None])
            assert keys[: len(orders[-1])] == orders[-1]
        assert orders[0] == orders[1][::-1] or len(set(orders[0])) < len(orders[0])
        with_gaps += None in keys
    assert with_gaps >= 2  # the reference has no distance to itself, data have no cost


def test_panels_show_samplers_as_figures_do() -> None:
    """Colour and marker are those of plotting.style, whatever else is in the table; an outline is matplotlib's own."""
    frame = pd.DataFrame([
        {"run": run, "gamma": gamma, "measure": "contrast", "point": 0.1, "low": 0.0, "high": 0.2, "unit": "log", "ideal": 0.0}
        for run in ("sdi t_min=0.2", "sdi", "ddim", "data") for gamma in (1.0, 3.0)
    ])  # fmt: skip
    dots = {dot.label: dot for dot in plots.plot_of("all", frame).panels[0].dots}
    for label, kind, hollow in (
        ("sdi", "sdi", False),
        ("sdi t_min=0.2", "sdi", True),
        ("ddim", "ddim", False),
        ("data", "data", False),
    ):
        colour, marker = FIXED[kind]
        for gamma in ("1", "3"):
            dot = dots[f"{label} γ {gamma}"]
            assert (dot.colour, list(plots.SHAPES)[dot.shape], dot.hollow) == (NAMES[COLOURS.index(colour)], marker, hollow)
    assert plots.outline("^") == "M0 -0.5L-0.5 0.5L0.5 0.5Z"  # points up, where y grows downwards


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_it_is_as_wide_as_the_window_and_its_text_can_be_read(browser, scheme: str, width: int) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.ask("for (const folded of document.querySelectorAll('details')) folded.open = true")
    assert browser.ask(OVERFLOW) == 0 and browser.ask(UNNAMED) == []
    assert browser.ask("Promise.all([...document.images].filter(i => i.src).map(i => i.decode())).then(all => all.length)") > 50
    style = "getComputedStyle(document.documentElement).getPropertyValue"
    names = ["ground", "raised", "text", "quiet", "link", *NAMES]
    colours = {name: browser.ask(f"{style}.call(getComputedStyle(document.documentElement), '--{name}')") for name in names}

    def luminance(colour: str) -> float:
        channels = np.array([int(colour.strip()[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        return float(
            np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )

    assert (luminance(colours["ground"]) < 0.1) == (scheme == "dark")
    for ground in ("ground", "raised"):
        for name in names[2:]:
            low, high = sorted((luminance(colours[ground]), luminance(colours[name])))
            assert (high + 0.05) / (low + 0.05) >= (7 if name in ("text", "quiet", "link") else 3), (ground, name)
    for name, colour in zip(NAMES, COLOURS, strict=True):  # another tone of the figures' own
        hue, figures = (colorsys.rgb_to_hls(*to_rgb(one.strip()))[0] for one in (colours[name], colour))
        assert abs(hue - figures) < 0.01 or name == "grey", name
    assert browser.complaints() == []


def test_a_planted_overflow_and_a_lost_label_are_seen(browser) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=360, height=900, deviceScaleFactor=1, mobile=False)
    browser.ask("for (const box of document.querySelectorAll('.scroll')) box.style.overflow = 'visible'")
    browser.ask("document.querySelector('label[for=film-item]').remove()")
    assert browser.ask(OVERFLOW) > 0 and browser.ask(UNNAMED) == ["film-item"]


WINDOWS = """(async () => {
  const images = [...document.querySelectorAll("#grid-section td img")];
  await Promise.all(images.map(img => img.decode()));
  return images.map(img => [img.naturalWidth, Math.round(img.closest(".frame").getBoundingClientRect().width)]);
})()"""
VIEWS = """[...document.querySelectorAll("#grid-section td img")].map(img => Math.round(
  img.closest(".frame").getBoundingClientRect().left - img.getBoundingClientRect().left) / 96)"""
WAIT = "new Promise(done => setTimeout(done, 1000))"


@pytest.mark.parametrize("width", [360, 1400])
def test_objects_turn_in_step_until_they_are_told_not_to(turning, width: int) -> None:
    turning.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    assert turning.ask(OVERFLOW) == 0 and turning.ask(UNNAMED) == []
    assert turning.ask(WINDOWS) == [[6 * 32, 96]] * 6
    met = set()
    for _ in range(3):
        views = turning.ask(VIEWS)
        assert len(views) == 6 and len(set(views)) == 1
        met.add(views[0])
        turning.ask(WAIT)
    assert len(met) > 1
    turning.ask("document.getElementById('turn-side').focus()")
    turning.press("Home", 36)
    turning.press("ArrowRight", 39)
    turning.ask(WAIT)
    assert turning.ask(VIEWS) == [1] * 6
    assert turning.ask("document.getElementById('turn-said').textContent") == "60°"
    assert not turning.ask("document.getElementById('turn').checked")
    assert [figure["said"].split(" · ")[0] for figure in turning.ask(SEEN)] == ["state 3 of 3"] * 2
    assert turning.complaints() == []


def test_objects_are_still_for_who_asked_for_less_motion(turning) -> None:
    turning.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    turning.events.clear()
    turning.call("Page.reload")
    while not turning.told("Page.loadEventFired"):
        turning.read()
    turning.ask(WAIT)
    assert not turning.ask("document.getElementById('turn').checked") and turning.ask(VIEWS) == [0] * 6


def test_pictures_among_objects_have_no_sides_to_choose(tmp_path) -> None:
    folder = objects(tmp_path / "made")
    handmade(folder, "flat-1", np.zeros((1, 3, 8, 8)), [Item("a", 0)])
    shown = "[...document.querySelectorAll('#grid-section .turn')].map(control => control.hidden)"
    for browser in opened(report.draw(report.prepare(folder)), tmp_path):
        assert browser.ask("[...document.getElementById('grid-group').options].map(option => option.text)") == [
            "γ 1 · 8 × 8",
            "γ 1 · 32 × 32, 6 views",
        ]
        assert browser.ask(shown) == [True, True]
        browser.ask("document.getElementById('grid-group').focus()")
        browser.press("ArrowDown", 40)
        assert browser.ask(shown) == [False, False]
        assert browser.complaints() == []
