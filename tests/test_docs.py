"""The pages are true: their code runs, their commands run or say what they cost, their links lead somewhere."""

import glob
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import quoted
import tiny_pipelines
import torch
from commands import exit_status

from sdi_bench import command_line, groups
from sdi_bench.compare import cell

ROOT = Path(__file__).parent.parent
PLACES = ("*.md", "conf/*.md", "results/*.md", "results/*/README.md", "sdi_bench/README.md", "sdi_bench/*/README.md")
PAGES = sorted(path for place in (*PLACES, "analysis/*.md", "findings/*.md") for path in ROOT.glob(place))
README, CONTRIBUTING = ((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))

LATER = re.compile(r"<!-- later -->\n(.*?)<!-- /later -->", flags=re.S)
"""What is said of commands that may not be there yet."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)


def commands(text: str) -> list[str]:
    """Each line of the blocks of commands of a page."""
    return [line.removeprefix(".venv/bin/") for block in blocks(text, "bash") for line in block.splitlines() if line]


def cost(command: str) -> str | None:
    """What a command says that it costs."""
    found = re.search(r" # cost: (\S.*)", command)
    return found[1] if found else None


def module_of(command: str) -> str | None:
    """What `python -m` starts, or the file that `python` reads; of the console command its module; None for other programs."""
    program, *words = shlex.split(command, comments=True)
    if program == "sdi_bench":
        return "sdi_bench.__main__"
    if not re.fullmatch(r"python3?", program):
        return None
    return words[1] if words[0] == "-m" else words[0]


def is_there(module: str) -> bool:
    if module.endswith(".py"):
        return (ROOT / module).is_file()
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


ALL = {name_of(page): commands(page.read_text()) for page in PAGES}
START = commands(README.split("## Which are you?")[0])
"""The two blocks with which a stranger begins: said with their times above them, and run by CI."""


def test_the_five_line_api_of_the_readme_runs() -> None:
    scope: dict[str, object] = {}
    exec(blocks(README, "python")[0], scope)
    images = scope["images"]
    assert isinstance(images, torch.Tensor)
    assert images.shape == (8, 1, 8, 8)
    assert images.dtype == torch.float64
    assert float(images.abs().max()) < 2


def test_the_front_page_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 128


def test_a_stranger_begins_with_two_commands() -> None:
    """Tools read these two blocks by their markers."""
    for marker, last in (
        ("run", ".venv/bin/python -m sdi_bench.run -m sampler=sds,sdi,ddim"),
        ("test", ".venv/bin/python -m pytest"),
    ):
        (block,) = re.findall(rf"^<!-- {marker} -->\n```bash\n(.*?)\n```$", README, flags=re.S | re.M)
        extra = "'.[test]'" if marker == "test" else "."
        assert block.splitlines() == ["python3 -m venv .venv", f".venv/bin/pip install -c constraints.txt -e {extra}", last]


@pytest.mark.parametrize("page", ALL)
def test_each_command_names_what_there_is(page: str, monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    later = {line for text in LATER.findall((ROOT / page).read_text()) for line in commands(text)}
    for command in ALL[page]:
        module = module_of(command)
        assert module is None or is_there(module) or command in later, f"{command}: there is no {module}"


def test_each_command_runs_here_or_says_what_it_costs(monkeypatch, tmp_path, capsys) -> None:
    """Those that say no cost are cheap, and are run one after the other, as a reader would."""
    free = dict.fromkeys(line for lines in ALL.values() for line in lines if not cost(line))
    monkeypatch.chdir(tmp_path)
    ran = 0
    for command in free:
        if command in START or command.startswith("bash findings/"):
            continue
        words = shlex.split(command, comments=True)
        assert words[:2] == ["python", "-m"], f"{command}: must say its cost, as `# cost: 2 minutes`"
        assert exit_status(monkeypatch, importlib.import_module(words[2]).main, *words[3:]) == 0, command
        ran += 1
    assert ran >= 2
    assert re.search(r"sds noise=previous +8 ", capsys.readouterr().out)


def test_what_the_text_speaks_of_is_listed_with_its_cost() -> None:
    """A command in the midst of a sentence starts what a block of commands starts too."""
    known = {module_of(line) for lines in ALL.values() for line in lines}
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for said in re.findall(r"`(python (?:-m|tests/)[^`]*)`", text):
            assert module_of(" ".join(said.split())) in known, f"{name_of(page)}: {said}"


@pytest.mark.slow
def test_every_sweep_that_is_shown_is_accepted(tmp_path) -> None:
    from sdi_bench import sweeps

    pipeline = tiny_pipelines.save("sd", tmp_path / "sd15")
    said = [line for lines in ALL.values() for line in lines if module_of(line) == "sdi_bench.run"]
    elsewhere = r"--config-dir|experiment=(?!3d)"  # tests/test_own_network.py has the one, tests/test_prompts.py the others
    shown = dict.fromkeys(line for line in said if not re.search(elsewhere, line))
    assert len(shown) >= 20
    for line in shown:
        words = shlex.split(line.split("sdi_bench.run")[1], comments=True)
        words = [word.replace("model.path=sd15/", f"model.path={pipeline}") for word in words]
        here = [word for word in words if not word.startswith("hydra")]  # launchers are an extra
        assert sweeps.preflight([*here, f"results={tmp_path}"]), line


def test_the_choices_page_is_what_the_yamls_say() -> None:
    assert (ROOT / "conf" / "README.md").read_text(encoding="utf-8") == groups.page()
    folders = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()} - {"hydra"}
    assert set(groups.GROUPS) == folders
    assert len(groups.listed()) == len(glob.glob(str(ROOT / "conf" / "*" / "*.yaml")))
    for group, choice, said in groups.listed():
        assert len(said) > 5, f"conf/{group}/{choice}.yaml: must begin with a sentence, # what it is"
    metrics = (ROOT / "sdi_bench" / "metrics" / "README.md").read_text(encoding="utf-8")
    for name in command_line.options("metric"):
        assert f"`{name}`" in metrics, f"conf/metric/{name}.yaml is of no kind in sdi_bench/metrics/README.md"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# @package _global_\n# Eq. 8 by eq. 9, or so. And more.\na: 1\n", "Eq. 8 by eq. 9, or so"),
        ("# Two lines\n# of one: 1, ... 9. More\n#   python -m x\n", "Two lines of one: 1, ... 9"),
        ('a: 1\ntitle: "What is it?"\n', "What is it?"),
        ("a: 1   # no sentence\n", ""),
    ],
)
def test_a_choice_is_told_in_one_sentence(text: str, said: str) -> None:
    assert groups.sentence(text) == said


FINDINGS = {
    "At guidance 7.5 SDI is not DDIM": ("guided", "pictures", "sdi", "ddim", 7.5, "rprec"),
    "On the trained network": ("deviations", "trained", "released", "less codec", 8.5, "sharpness"),
    "SDS does not over-smooth in 2D": ("guided", "pictures", "sds", "ddim", 1.0, "sharpness"),
    "In 3D, on the trained network": ("trained", "objects", "sdi", "sds", 1.0, "sharpness"),
    "With its last prediction": ("guided", "pictures", "previous", "ddim", 3.0, None),
    "Of two true shapes": ("benchmark3d", "2 shapes", "sds", "sdi", 1.0, None),
}
"""How a finding begins, and the difference that it is of; None: of two values, below."""


def finding(begins: str) -> str:
    (row,) = [line for line in README.splitlines() if line.startswith(f"| {begins}")]
    return row.replace("−", "-").replace("+", "")


@pytest.mark.parametrize("begins", FINDINGS)
def test_the_findings_are_those_of_the_tables(begins: str) -> None:
    folder, tier, a, b, gamma, measure = FINDINGS[begins]
    if measure is not None:
        named = ("differences.csv", "claims.csv")
        frame = pd.concat([pd.read_csv(ROOT / "results" / folder / name) for name in named])
        frame = frame[(frame["tier"] == tier) & (frame["gamma"] == gamma) & (frame["measure"] == measure)]
        found = frame[(frame["a"] == a) & (frame["b"] == b)].iloc[0]
        assert cell(found["point"], found["low"], found["high"]) in finding(begins)
        return
    frame = pd.read_csv(ROOT / "results" / folder / "measures.csv")
    frame = frame[(frame["tier"] == tier) & (frame["gamma"] == gamma)]
    for run, name in ((a, "lpips"),) if a == "previous" else ((a, "to_shape"), (b, "to_shape")):
        point = float(frame[(frame["run"] == run) & (frame["measure"] == name)]["point"].iloc[0])
        assert (f"{point:.3f}" if name == "lpips" else f"{point:.1f} ") in finding(begins)


@pytest.mark.parametrize("page", [name_of(page) for page in PAGES])
def test_tables_fit_a_screen(page: str) -> None:
    """Tables of text are no wider than 110 columns, and have no more than eight columns."""
    for _, _, columns, table in quoted.BLOCK.findall((ROOT / page).read_text()):
        assert len(columns.split(", ")) <= 8
        assert max(map(len, table.splitlines())) <= 110, table.splitlines()[0]


def test_adding_a_sampler_is_what_contributing_says(tmp_path) -> None:
    for name in ("sdi_bench", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    sampler, oracle = blocks(CONTRIBUTING, "python")
    (tmp_path / "sdi_bench/samplers/midpoint.py").write_text(sampler)
    (tmp_path / "conf/sampler/midpoint.yaml").write_text(blocks(CONTRIBUTING, "yaml")[0])
    path = tmp_path / "sdi_bench/verify/oracles/recursions.py"

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run([sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True)

    check = "from pathlib import Path; from sdi_bench.verify.oracles import missing; print(missing(Path('conf')))"
    assert "sampler/midpoint" in python("-c", check).stdout  # a yaml without an oracle is noticed
    path.write_text(path.read_text() + "\n\n" + oracle)
    assert python("-c", check).stdout.strip() == "[]"
    words = [
        "model=digits",
        "sampler=midpoint",
        "seeds=0..1",
        "prompt=3",
        "grid.n_levels=5",
        "reference.grid.n_levels=5",
        "metric=[contrast]",
    ]
    done = python("-m", "sdi_bench.run", *words)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^midpoint .* 5/0/0/4 ", done.stdout, flags=re.M)
    claims = (
        "from sdi_bench.verify.oracles import ORACLES, cases, deviation\n"
        "for case in cases(False):\n"
        "    for claim in ORACLES['sampler/midpoint'](case):\n"
        "        print(float(deviation(case, claim).max()))\n"
    )
    units = [float(line) for line in python("-c", claims).stdout.split()]
    assert len(units) == 3
    assert max(units) <= 1
    assert max(units) > 0


@pytest.mark.slow
def test_adding_a_family_of_checkpoints_is_what_contributing_says(tmp_path) -> None:
    for name in ("sdi_bench", "conf", "hydra_plugins", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    paths = [
        tmp_path / "sdi_bench/models/checkpoints/families/stable_diffusion_3.py",
        tmp_path / "tests/families/stable_diffusion_3.py",
    ]
    for path in paths:
        path.unlink()
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    env = {key: value for key, value in env.items() if not key.startswith("PYTEST")}
    words = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:warnings", "tests/test_families.py", "-k", "SD3"]

    for path, text in zip(paths, blocks(CONTRIBUTING, "python family"), strict=True):
        path.write_text(text)
        assert text == (ROOT / path.relative_to(tmp_path)).read_text(), path.name
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-2000:]


def test_adding_a_noise_is_what_the_page_says(monkeypatch, tmp_path, capsys) -> None:
    """All of the noise is SDS's own to the bit; half of it is not."""
    page = (ROOT / "sdi_bench" / "README.md").read_text()
    (module,), (yaml,) = blocks(page, "python"), [text for text in blocks(page, "yaml") if "half.Half" in text]
    (command,) = [line for line in commands(page) if "--config-dir mine" in line]
    (tmp_path / "mine" / "noise").mkdir(parents=True)
    (tmp_path / "mine" / "half.py").write_text(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    few = ("prompt=3", "seeds=0..1", "grid.n_levels=5", "reference=null", "metric=[contrast]")
    for share, same in (("0.5", False), ("1.0", True)):
        (tmp_path / "mine" / "noise" / "half.yaml").write_text(yaml.replace("0.5", share))
        words = shlex.split(command, comments=True)[3:]
        assert exit_status(monkeypatch, importlib.import_module("sdi_bench.run").main, *words, *few, f"name=s{share}") == 0
        (path,) = (tmp_path / "results" / f"s{share}").glob("sweep-*.csv")
        found = pd.read_csv(path).set_index("run")["point"]
        assert (found["sds noise=fresh"] == found["sds noise=half"]) == same


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [name_of(page) for page in PAGES])
def test_links_lead_somewhere(page: str) -> None:
    here = ROOT / page
    for target in re.findall(r"\]\(([^)]+)\)", here.read_text()):
        path, _, anchor = target.partition("#")
        if not target.startswith("https://"):
            there = here.parent / path if path else here
            assert there.exists(), target
            assert not anchor or anchor in anchors(there.read_text()), target
