"""The console command, plain options, help, and what is said of names that there are not."""

import re
import runpy
import shlex
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import exit_status
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

import sdi_bench as sb
from sdi_bench import __main__ as console
from sdi_bench import evaluate, helps, picture_files, run, status, sweeps, texts
from sdi_bench.command_line import conf_dir, options
from sdi_bench.explain import keys_of

HERE = sorted(name for name in console.COMMANDS if name not in ("plot", "bench", "report"))
"""Commands that are of this package whatever else is installed."""


def said(monkeypatch, capsys, main, *words: str) -> tuple[int, str, str]:
    code = exit_status(monkeypatch, main, *words)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


# ----------------------------------------------------------------------------------------------------- the console command


def test_a_command_does_what_python_m_does(monkeypatch, capsys) -> None:
    monkeypatch.delitem(sys.modules, "sdi_bench.status")  # runpy warns of what is imported already
    ours = said(monkeypatch, capsys, console.main, "status", "no/such folder")
    theirs = said(monkeypatch, capsys, status.main, "no/such folder")
    assert ours == theirs and ours[0] == 2 and "no such folder" in ours[2]


def test_every_command_is_a_module_that_runs_with_the_rest_of_the_line(monkeypatch, capsys) -> None:
    asked = []
    monkeypatch.setattr(runpy, "run_module", lambda module, **how: asked.append((module, how, sys.argv[1:])))
    for name in HERE:
        assert said(monkeypatch, capsys, console.main, name, "--help", name, "a=b c") == (0, "", "")
        assert asked[-1] == (f"sdi_bench.{name}", {"run_name": "__main__", "alter_sys": True}, ["--help", name, "a=b c"])


def test_commands_that_there_are_not_are_a_line(monkeypatch, capsys) -> None:
    code, out, err = said(monkeypatch, capsys, console.main, "evalute", "gen/")
    assert (code, out, err) == (2, "", "sdi_bench: evalute: no such command; did you mean evaluate?\n")


def test_the_console_names_every_command(monkeypatch, capsys) -> None:
    for words in ((), ("--help",), ("-h",)):
        code, out, _ = said(monkeypatch, capsys, console.main, *words)
        assert code == 0 and all(re.search(rf"^  {name} ", out, flags=re.M) for name in console.COMMANDS)


# -------------------------------------------------------------------------------------------------------------------- help


def helped(monkeypatch, capsys, name: str, *more: str) -> str:
    if name == "run" and not more:  # what comes before Hydra's part, which tests/test_sweeps.py has
        return helps.page(run.__doc__, "run")
    module = import_module(f"sdi_bench.{name}.__main__" if name in ("train", "verify") else f"sdi_bench.{name}")
    code, out, err = said(monkeypatch, capsys, module.main, "--help", *more)
    assert (code, err) == (0, "")
    return out


def examples(text: str) -> list[str]:
    """The commands that a help shows, without what is said of them."""
    return [
        re.split(r"\s{3,}", part.strip())[0] for part in text.splitlines() if re.match(r"  (?=\S).*python -m sdi_bench", part)
    ]


@pytest.mark.parametrize("name", HERE)
def test_help_begins_with_a_sentence_three_examples_and_the_groups(monkeypatch, capsys, name) -> None:
    out = helped(monkeypatch, capsys, name)
    first, blank, example = out.splitlines()[:3]
    assert (
        first.startswith(f"python -m sdi_bench.{name}: ")
        and blank == ""
        and example.startswith(f"  python -m sdi_bench.{name}")
    )
    shown = examples(out)
    assert len(shown) >= 3 and all(f"sdi_bench.{name}" in command for command in shown)
    for group in helps.OF.get(name, ()):
        below = re.split(r"\n  \S|\n\n", out.split(f"\n  {group}: ")[1])[0]
        assert {*options(group)} <= {*re.split(r"[,\s]+", below)}, group


@pytest.mark.slow
def test_what_help_shows_of_sweeps_is_accepted(tmp_path) -> None:
    for command in examples(str(run.__doc__)):
        assert sweeps.preflight([*shlex.split(command)[3:], f"results={tmp_path}"])


def test_what_help_shows_of_folders_is_accepted() -> None:
    for command in examples(str(evaluate.__doc__)):
        folders, words = evaluate.sorted_out(evaluate.plainly(shlex.split(command)[3:]))
        assert folders and settings(words)


def test_help_of_a_group_has_a_line_for_each_option(monkeypatch, capsys) -> None:
    out = helped(monkeypatch, capsys, "run", "noise", "gamma_inv")
    for option in options("noise"):
        assert re.search(rf"^  {option} +\S", out, flags=re.M)
    assert "gamma_inv: sampler.noise.guidance_scale" in out and "n_levels" not in out
    code, _, err = said(monkeypatch, capsys, run.main, "--help", "samplr")
    assert code == 2 and "--help samplr: no such group; did you mean sampler?" in err


# ------------------------------------------------------------------------------------------------------------ near matches


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("experiment=benchmrk2d", "did you mean benchmark2d?"),
        ("sampler=sdd", "did you mean sdi or sds or vsd?"),
        ("guidance.scal=3", "did you mean guidance.scale?"),
        ("gamma_inv=-7.5", "gamma_inv is sampler.noise.guidance_scale here"),
        ("noise=zero", "noise is noise@sampler.noise here"),
        ("sampler.noise.guidance_scale=-1", "sampler=ddim has no such setting; sampler=sdi has"),
        ("--wid", "did you mean --wide?"),
    ],
)
def test_a_wrong_name_is_told_with_the_right_one(monkeypatch, capsys, tmp_path, word, told) -> None:
    code, _, err = said(monkeypatch, capsys, run.main, word, f"results={tmp_path}")
    assert code == 2 and told in err and err.count("\n") == 1, err


def test_what_settings_are_called_here_there_is() -> None:
    """Each name that is pointed to is a setting, or a group at a place that is one."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        words = (["sampler=sdi", "update@sampler.update=adam"], ["sampler=vsd"], ["model=diffusers"])
        known = {key for each in words for key in keys_of(OmegaConf.to_container(compose("config", each)))}
    for name, (setting, _) in texts.ALSO.items():
        group, at, key = setting.rpartition("@")
        assert key in known and (not at or options(group)), name


# ---------------------------------------------------------------------------------------------------------- plain options


def settings(words: list[str]) -> dict[str, object]:
    """What words set, by Hydra's and OmegaConf's own reading."""
    read = OverridesParser.create().parse_overrides(evaluate.quoted(words))
    return {one.key_or_group: OmegaConf.to_container(OmegaConf.create({"x": one.value()}), resolve=True)["x"] for one in read}


AWKWARD = ["a, b.csv", 'it\'s "here"', "[x,y]", "${oc.env:HOME}", "a=b", "c\\d\\", "null", "'quoted'", "é ü 中", "???"]


@pytest.mark.parametrize("value", AWKWARD)
def test_a_plain_option_arrives_as_it_stands(value: str) -> None:
    words = evaluate.plainly(["gen", "--prompts", value, f"--real={value}", "--recursive", "--metric", "rms,vendi", "more"])
    folders, said = evaluate.sorted_out(words)
    found = settings(said)
    assert folders == ["gen", "more"] and (found["prompts"], found["real"]) == (value, value)
    assert found["recursive"] is True and found["metric"] == ["rms", "vendi"]


def test_a_planted_plain_option_that_is_not_spelled_is_seen(monkeypatch) -> None:
    monkeypatch.setattr(evaluate, "literal", str)
    arrived = []
    for value in AWKWARD:
        try:
            arrived.append(settings(evaluate.plainly(["--prompts", value]))["prompts"] == value)
        except Exception:
            arrived.append(False)
    assert not all(arrived)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--reel", "x"], "--reel: no such option; did you mean --real?"),
        (["gen", "--real"], "--real: must be followed by a value"),
        (["gen", "--prompts", "--real", "x"], "--prompts: must be followed by a value"),
        (["gen", "--metric", "contrst"], "metric=contrst: did you mean contrast?"),
        (["experiment=guidd"], "experiment='guidd': did you mean guided?"),
    ],
)
def test_wrong_plain_options_are_a_line(monkeypatch, capsys, words, told) -> None:
    code, _, err = said(monkeypatch, capsys, evaluate.main, *words)
    assert code == 2 and told in err and err.count("\n") == 1, err


def test_after_two_dashes_all_words_are_folders() -> None:
    assert evaluate.plainly(["--recursive", "--", "--real", "x"]) == ["recursive=true", "--", "--real", "x"]


# ------------------------------------------------------------------------------------------- a folder as people have them


SIZES = ((40, 40), (64, 48), (33, 70))
PROMPT = 'a "red" sofa, seen from {}'


def folder(place: Path, n: int, seed: int) -> Path:
    """Pictures of three sizes in five modes, some in a folder inside, and a table of prompts beside."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(n):
        width, height = SIZES[i % 3]
        pixels = np.kron(rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)), np.ones((8, 8, 1)))[:height, :width]
        name = f"inside/{i}.png" if i % 4 == 0 else f"{i}.png"
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).convert(("RGB", "L", "RGBA", "P", "1")[i % 5]).save(place / name)
        rows.append({"file_name": name, "prompt": PROMPT.format(i)})
    pd.DataFrame(rows).to_csv(place.with_suffix(".csv"), index=False)
    return place


def test_a_folder_against_another_in_plain_words_in_hydras_and_in_python(monkeypatch, tmp_path) -> None:
    gen, real = folder(tmp_path / "gen", 12, 0), folder(tmp_path / "real", 15, 1)
    command, out = partial(exit_status, monkeypatch, evaluate.main), tmp_path / "t.csv"
    words = [
        "--real",
        str(real),
        "--prompts",
        f"{gen}.csv",
        "--recursive",
        "--metric",
        "contrast,saturation",
        "--output",
        str(out),
    ]
    assert command(str(gen), *words) == 0
    plain = pd.read_csv(out)
    words = [f"real={real}", f"prompts={gen}.csv", "recursive=true", "metric=[contrast,saturation]", f"output={out}"]
    assert command(str(gen), *words) == 0
    pd.testing.assert_frame_equal(plain, pd.read_csv(out), check_exact=True)
    sets = [picture_files.read_folder(path, "folder", recursive=True) for path in (gen, real)]
    prompts = [PROMPT.format(Path(sets[0].names[i]).stem) for i in sets[0].read]
    python = sb.measure(list(sets[0].images), prompts, list(sets[1].images), metrics=["contrast", "saturation"])
    for name in ("measure", "point", "low", "high", "n", "clusters", "n_clusters"):
        assert list(plain[name]) == list(python[name]), name
    assert set(plain["clusters"]) == {"prompts"} and set(plain["n"]) == {12}
    # by its definition: the spread of the pixels within a picture, averaged, over that of the real ones
    spread = [np.mean([np.std(np.round((image + 1) * 127.5) / 127.5 - 1) for image in one.images]) for one in sets]
    assert plain["point"][0] == pytest.approx(np.log(spread[0] / spread[1]), rel=1e-9)


def test_python_says_what_it_cannot_measure() -> None:
    some = np.zeros((3, 3, 8, 8))
    for wrong, told in (
        ({"images": np.zeros((3, 8, 8, 3), np.uint8)}, "images: uint8 of shape"),
        ({"images": []}, "images: there are none"),
        ({"images": "no such"}, "images='no such': no such folder"),
        ({"images": some, "prompts": ["a"]}, "prompts: 1 for 3 images"),
        ({"images": some, "prompts": "a.csv"}, "images are not in a folder"),
        ({"images": some, "paired": some[:2]}, "paired: 2 pictures for 3 images"),
        ({"images": some, "real": "vall"}, "real='vall': must be one of"),
        ({"images": some, "metrics": ["contrst"]}, "metrics='contrst': did you mean contrast?"),
    ):
        with pytest.raises(ValueError, match=re.escape(told)):
            sb.measure(**wrong)
