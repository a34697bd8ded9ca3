"""Texts as people have them: on the command line, in files, in figures, in names of files and on the page."""

import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tiny_pipelines
import yaml
from awkward import PROMPTS
from commands import exit_status
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from omegaconf import OmegaConf

from sdi_bench import command_line, jobs, pictures, plans, prompts, run, sampling, sweeps, texts
from sdi_bench.draws import Item
from sdi_bench.grids import UniformT
from sdi_bench.models import DiffusersFolder, Empirical
from sdi_bench.plotting import style
from sdi_bench.report import draw, prepare
from sdi_bench.samplers import Ddim
from sdi_bench.store import RunFolder
from sdi_bench.words import literal, quoted, unquoted


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the main job in this process; its exit status."""
    return exit_status(monkeypatch, run.main, *words)


def arrives(*words: str) -> list[object]:
    """What a command line's first setting is in each of its jobs, by Hydra's and OmegaConf's own reading."""
    parser = OverridesParser.create()
    said, several = command_line.words_of(words)
    jobs = [one.overrides for one in command_line.jobs_of([word for word in said if word[0] != "-"], {})] if several else [said]
    values = [parser.parse_override(job[0]).value() for job in jobs]
    return [OmegaConf.to_container(OmegaConf.create([value]), resolve=True)[0] for value in values]  # type: ignore[index]


# ------------------------------------------------------------------------------------------------------------ command line


def test_sixty_prompts_arrive_as_they_stand_alone_in_lists_and_in_sweeps() -> None:
    assert len(set(PROMPTS)) >= 60
    for prompt in PROMPTS:
        assert arrives(f"prompt={prompt}") == [prompt]
    assert arrives(f"prompt=[{','.join(map(literal, PROMPTS))}]") == [PROMPTS]
    assert arrives("-m", f"prompt={','.join(map(literal, PROMPTS))}") == PROMPTS
    assert [unquoted(literal(prompt)) for prompt in PROMPTS] == PROMPTS
    for prompt in PROMPTS:  # as guidance.negative reads negative_prompt
        value = OverridesParser.create().parse_override(f"x={literal(prompt)}").value()
        assert OmegaConf.to_container(OmegaConf.create({"x": value, "y": "${text:${x}}"}), resolve=True)["y"] == prompt  # type: ignore[index,call-overload]


@given(st.text(st.sampled_from([*"\\'\"$${}[](),=: #%~*?!\n\taé", "\u2028"]), max_size=12))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_text_arrives_and_quoting_again_changes_nothing(text: str) -> None:
    word = f"prompt={literal(text)}"
    assert arrives(word) == arrives("-m", word) == [text]
    assert unquoted(literal(text)) == text
    once = quoted([f"results={text}", f"prompt={text}"])
    assert quoted(once) == once


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["-m", "prompt=a,b"], ["a", "b"]),
        (["-m", "prompt=a, b"], ["a, b"]),
        (["prompt=a,b"], ["a,b"]),
        (["-m", "prompt='a,b',it's"], ["a,b", "it's"]),
        (["-m", "prompt=[a,b],[c, 'd,e']"], [["a", "b"], ["c", "d,e"]]),
        (["prompt=[it's, \"the cat's\", [x]]"], [["it's", "the cat's", "[x]"]]),
        (["prompt=[null,3]"], [["null", "3"]]),
        (["prompt=[]"], [[]]),
        (["prompt='\"x\"'"], ['"x"']),
        (["prompt=null"], [None]),
        (["prompt='null'"], ["null"]),
        (["prompt="], [""]),
        (["negative_prompt=[a,b]"], ["[a,b]"]),
        (["-m", "model.path=/a b,/c=d"], ["/a b", "/c=d"]),
        (["prompt_file=/x/[1], {2}.txt"], ["/x/[1], {2}.txt"]),
        (["+probe.path=it's"], ["it's"]),
    ],
)
def test_what_is_hydras_and_what_is_taken_as_it_stands(words: list[str], found: list[object]) -> None:
    assert arrives(*words) == found


def test_other_settings_are_hydras_and_what_is_no_text_is_named() -> None:
    assert quoted(["seeds=[0,1]", "grid.n_levels=3", "-m"]) == ["seeds=[0,1]", "grid.n_levels=3", "-m"]
    with pytest.raises(ValueError, match=r"prompt='a\\udcff': is not text in UTF-8"):
        quoted(["prompt=a\udcff"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["experiment=benchmrk2d"], "experiment=benchmrk2d: did you mean benchmark2d?"),
        (["experiment=3D"], "experiment=3D: did you mean 3d?"),
        (["+experiment=understandng"], "experiment=understandng: did you mean understanding?"),
        (["name=../../x"], "name='../../x': must be the name of a folder within results/"),
        (["name=/x"], "name='/x': must be the name of a folder within results/"),
        (["name="], "name='': must be the name of a folder within results/"),
        ([f"name={'é' * 128}"], f"name='{'é' * 128}': must be the name of a folder within results/"),
        (["results=null"], "results=None: must name a folder"),
        (["-m", "scene.words='a',scene.words=b"], "mismatched input '='"),
        (["~schedule"], "~schedule: cannot be left out"),
        (["~seeds"], "~seeds: cannot be left out"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(monkeypatch, tmp_path, capsys, words, said) -> None:
    monkeypatch.setattr(sweeps, "execute_all", lambda *_: pytest.fail("something ran"))
    results = [] if words[0].startswith("results=") else [f"results={tmp_path}"]
    assert command(monkeypatch, "model=digits", *words, *results) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sdi_bench.run: {said}") and error.count("\n") == 1


def test_parts_of_a_run_that_are_none_are_told_in_a_line(tmp_path) -> None:
    """In a process of its own: here the tests' type checker would speak first."""
    cases = {
        "+metric.x=3": "metric.x=3: must be a Metric (sdi_bench.metrics.base)",
        "sampler.noise=3": "sampler.noise=3: must be a Kappa (sdi_bench.noise.base)",
        "sampler.update=full": "sampler.update='full': must be a Update (sdi_bench.update)",
        "sampler.timeline.grid=3": "sampler.timeline.grid=3: must be a Grid (sdi_bench.grids)",
        "schedule._target_=builtins.dict": "schedule=",
        "schedule=3": "",
        "sampler._target_=builtins.nothing": "sampler._target_=builtins.nothing: there is no such thing; builtins has none",
        "+sampler.timeline.x=1": "sampler.timeline.x",
    }
    script = f"""
import sys
from sdi_bench import run
for word in {list(cases)!r}:
    sys.argv = ["run", "model=digits", "sampler=sds", "results={tmp_path}", word]
    try:
        run.main()
    except SystemExit as stop:
        assert stop.code == 2
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("sdi_bench.run: ")]
    assert len(lines) == len(cases) and done.stdout == ""
    for line, said in zip(lines, cases.values(), strict=True):
        assert line.startswith(f"sdi_bench.run: {said}")


def test_a_name_of_ones_own_is_any_folder_within_results() -> None:
    for name in ("mine", "2d", "benchmark2d", "my_trained", "a/b", "sofa's, é"):
        plans.check_name(name)


def test_a_setting_of_the_noise_is_swept_over_samplers_that_have_one(monkeypatch, tmp_path) -> None:
    words = ["-m", "model=digits", "sampler=sdi,ism", "sampler.noise.t_min=0.2", "seeds=0", "prompt=3", "grid.n_levels=3"]
    assert command(monkeypatch, *words, "reference=null", "metric=[contrast]", f"results={tmp_path}") == 0
    assert len(list(tmp_path.glob("main/digits-*/metrics.json"))) == 2


def test_ctrl_c_is_one_line(capsys) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run.stoppable(stopped, "sdi_bench.run")
    assert stop.value.code == 130 and capsys.readouterr().err.startswith("\nsdi_bench.run: stopped;")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"prompts": []}, r"prompts=\[\]"),
        ({"seeds": []}, r"seeds=\[\]"),
        ({"prompts": "1"}, "prompts='1'"),
    ],
)
def test_python_is_told_in_a_line(more, said) -> None:
    with pytest.raises(ValueError, match=said):
        sampling.sample(Empirical.of(), Ddim(UniformT(2)), **more)


# -------------------------------------------------------------------------------------------------------------- whole runs


class Page(HTMLParser):
    """Headings of pictures, descriptions of pictures, contents of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.titles: list[str] = []
        self.alts: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag == "th" and "title" in given:
            self.titles.append(given["title"] or "")
        if tag == "img" and "alt" in given:
            self.alts.append(given["alt"] or "")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipelines.save("sd", tmp_path_factory.mktemp("tiny") / "a folder, it's [x] = ${y} #é")


def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What figures say from now on, text by text; that matplotlib would take some of it for maths is a failure."""
    said: list[str] = []
    save = Figure.savefig

    def spy(figure: Figure, *args: object, **more: object) -> None:
        for text in figure.findobj(Text):
            assert not text.get_parse_math() or "$" not in text.get_text() or text.get_text().startswith("$\\mathdefault")
            said.append(" ".join(text.get_text().split()))
        save(figure, *args, **more)

    monkeypatch.setattr(Figure, "savefig", spy)
    return said


def check_page(folder: Path) -> None:
    """The page of a folder shows the prompts as they stand, in attributes, text and script."""
    text = draw(prepare(folder))
    page = Page()
    page.feed(text)
    names = [f"{prompt} · 0" for prompt in PROMPTS]
    shown = [title for title in page.titles if title in names]
    assert len(shown) >= 8 and shown == names[: len(shown)]
    assert {alt.partition(": ")[2] for alt in page.alts} >= set(shown)
    assert page.tags.count("script") == 2 and "b" in page.tags and "</script><script>alert" not in text


@pytest.mark.slow
def test_sixty_prompts_through_a_run_and_its_page_in_2d(monkeypatch, tmp_path, checkpoint, capsys) -> None:
    results, said = tmp_path / "it's, [a] = ${b} é", drawn(monkeypatch)
    words = [f"results={results}", "model=diffusers", f"model.path={checkpoint}", "sampler=ddim", "grid.n_levels=2", "seeds=0"]
    words += ["reference=null", "metric=[clipped]", "negative_prompt=it's ${x}, $5", "guidance.scale=2", "name=é, 'x'"]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Glyph")
        assert command(monkeypatch, *words, f"prompt=[{','.join(map(literal, PROMPTS))}]") == 0, capsys.readouterr().err
    (folder,) = [path.parent for path in results.glob("*/*/metrics.json")]
    assert folder.parent.name == "é, 'x'"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["prompts"] == PROMPTS and config["sampler"]["guidance"]["negative"] == "it's ${x}, $5"
    assert [item.prompt for chunk in RunFolder(folder).chunks() for item in chunk] == PROMPTS
    assert {texts.line(prompt) for prompt in PROMPTS[:16]} <= set(said)
    check_page(folder.parent)


@pytest.mark.slow
def test_sixty_prompts_through_a_run_and_its_page_in_3d(monkeypatch, tmp_path, checkpoint, capsys) -> None:
    monkeypatch.setattr(DiffusersFolder, "fingerprint", "tiny")  # the type checker of the tests asks for it in every call
    monkeypatch.setattr(prompts, "read", lambda source: PROMPTS)  # a file's would be stripped
    words = ["experiment=3d_paper", f"model.path={checkpoint}", "prompt_file=all of them", "grid.n_levels=2"]
    words += ["scene.resolutions=[4]", "scene.n_samples=2", "scene.n_views=2", "noise@sampler.noise=fresh"]
    words += ["~sampler.noise.tau", "~sampler.noise.entropy"]  # what the experiment says of inversion
    assert command(monkeypatch, *words, "metric=[clipped]", f"results={tmp_path}") == 0, capsys.readouterr().err
    (folder,) = [path.parent for path in tmp_path.glob("3d_paper/*/shards")]
    made = {path.stem for path in folder.glob("*.gif")}
    assert made == {jobs.slug(Item(prompt, 0)) for prompt in PROMPTS} and len(made) == len(PROMPTS)
    check_page(folder.parent)


def test_names_of_files_are_short_and_never_shared() -> None:
    items = [Item(prompt, seed) for prompt in [*PROMPTS, None, "no prompt", "a" * 5000, "a 1", "a-1"] for seed in (0, 1, 10)]
    names = [jobs.slug(item) for item in items]
    assert len(set(names)) == len(items)
    assert all(len(name.encode()) < 90 and name.replace("-", "").isalnum() and name.isascii() for name in names)
    assert jobs.slug(Item("A red sofa!", 3)).startswith("a-red-sofa-3-")


# ------------------------------------------------------------------------------------------------------------------ figures


def test_grids_leave_cells_empty(monkeypatch, tmp_path) -> None:
    said = drawn(monkeypatch)
    items = [Item("a", 0), Item("b", 1), Item(None, 5), Item("no prompt", 0)]
    pictures.grid(tmp_path / "x.png", np.zeros((4, 3, 8, 8)), items, "title")
    assert {"a", "b", "no prompt", "seed 0", "seed 1", "seed 5", "title"} <= set(said) and said.count("no prompt") == 2


@pytest.mark.parametrize("more", [["n_items=8"], ["seeds=0..2", "n_items=7"]])
def test_captions_that_stand_again_and_items_that_fill_no_grid(monkeypatch, tmp_path, more) -> None:
    (tmp_path / "p.csv").write_text("prompt\n3\n8\n3\n3\n1\n")
    words = ["-m", "model=digits", "sampler=ddim,sds", f"prompt_file={tmp_path / 'p.csv'}", "grid.n_levels=2", "reference=null"]
    assert command(monkeypatch, *words, *more, "metric=[contrast]", f"results={tmp_path}") == 0
    assert len(list(tmp_path.glob("main/*/samples.png"))) == 2


def test_every_text_is_drawn_and_a_legend_hides_none(monkeypatch, tmp_path) -> None:
    said = drawn(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures.side_by_side(tmp_path / "a.png", [(p, np.zeros((1, 1, 2, 2))) for p in PROMPTS[:4]], ["$x$"], "$y_{$ and $")
        figure, axes = style.panels(1, 1)
        axes[0][0].loglog([1, 1000], [1, 2], label=style.told("_row $a$"))
        axes[0][0].set_title("\n".join(PROMPTS[10:20]))
        figure.legend(*axes[0][0].get_legend_handles_labels())
        style.save(figure, tmp_path / "b.png")
    assert {"$x$", "$y_{$ and $", "_row $a$"} <= set(said)


def test_long_texts_keep_both_ends() -> None:
    text = "a red sofa " * 40 + "· 3"
    assert texts.line(text, 60).endswith("· 3") and texts.line(text, 60).count("…") == 1 and len(texts.line(text, 60)) == 60
    for prompt in [*PROMPTS, text, "x" * 500]:
        lines = texts.wrapped(prompt, 16, 5).split("\n")
        assert len(lines) <= 5 and max(map(len, lines)) <= 16
    assert texts.line(" a\n\tb\x07 ") == "a b\ufffd"


# -------------------------------------------------------------------------------------------------------------------- files

LINES = ["a cat", "été, dog's", "沙发"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0c", "\u2028", "\x85"])
@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_lines_end_and_are_marked_in_any_way(tmp_path, end, code) -> None:
    mark = "\ufeff" if code == "utf-16-be" else ""
    (tmp_path / "p.txt").write_bytes((mark + end.join([*LINES, ""])).encode(code))
    assert prompts.read(str(tmp_path / "p.txt")) == LINES


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.csv", 'id,Prompt\n1,a cat\n2,"a ""red"" dog, two\nlines"\n\n3,\n', ["a cat", 'a "red" dog, two\nlines']),
        ("a.CSV", "caption;id\na, b;1\n", ["a, b"]),
        ("a.tsv", "text\tcaption\tn\nno\ta, b\t1\n", ["a, b"]),
        ("a.csv", "Prompts,Category\nNA,null\n", ["NA"]),
        ("a.jsonl", '"a\u2028b"\n{"prompt": "c", "text": "d"}\r\n\n', ["a\u2028b", "c"]),
        ("a.json", '["a", {"Caption": "b"}, "a"]', ["a", "b", "a"]),
        ("a.json", '{"annotations": [{"id": 2, "caption": "b\\n c"}, {"id": 1, "caption": "a"}]}', ["a", "b c"]),
        ("a.prompts", "prompt,x\n[1]\n", ["prompt,x", "[1]"]),
        ("a", "x\n", ["x"]),
        ("a.txt", "caf\u00e9\ncafe\u0301\n", ["caf\u00e9", "cafe\u0301"]),
    ],
)
def test_formats(tmp_path, name, text, found) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert prompts.read(str(tmp_path / name)) == found


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"a cat\ncaf\xe9\n", "byte 9 is 0xe9, in line 2: not UTF-8"),
        ("a.txt", "a\n".encode("utf-16-le"), "NUL: UTF-16 without a byte-order mark"),
        ("a.csv", b"1,a cat\n", r"no column is called prompt, .*the first line has \['1', 'a cat'\]"),
        ("a.csv", b"prompt\na red sofa, side view\n", "line 2 has 2 cells, the first has 1; put a text with ','"),
        ("a.csv", b'prompt\n"open\n', "unexpected end of data"),
        ("a.jsonl", b'"a"\n{"x": 1}\n', "line 2 is neither a text"),
        ("a.jsonl", b"a cat\n", "line 1 is not JSON"),
        ("a.json", b'["a", 3]', "entry 1 is neither a text"),
        ("a.json", b'{"images": []}', "neither a list nor COCO"),
        ("a.json", b"[" * 100000, "cannot be read"),
        ("a.csv", b"prompt\n\n", "holds no prompt"),
    ],
)
def test_files_that_hold_no_prompts_are_told_in_a_line(tmp_path, name, content, said) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"prompt_file='{tmp_path / name}': .*{said}") as error:
        prompts.read(str(tmp_path / name))
    assert "\n" not in str(error.value)
