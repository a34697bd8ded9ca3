"""Siblings of faults that were found once: each is the same kind of thing somewhere else."""

import inspect
import json
import logging
import shutil
import warnings
from pathlib import Path
from types import ModuleType

import diffusers
import numpy as np
import pandas as pd
import pipeline_rows
import pytest
import tiny_pipelines
import torch
import transformers
from commands import exit_status
from PIL import Image
from pipeline_rows import KARRAS, SD, SOLVER, THRESHOLD, WITHOUT_CORRECTOR, Case, opened, tiny
from safetensors.torch import load_file, save_file

import sdi_bench as sb
from sdi_bench import evaluate, run, sweeps
from sdi_bench.captions import captions
from sdi_bench.models import DiffusersFolder
from sdi_bench.picture_files import Folder, read_folder
from sdi_bench.report import draw, prepare


def command(monkeypatch: pytest.MonkeyPatch, job: ModuleType, *words: object) -> int:
    """Run a command in this process; its exit status."""
    return exit_status(monkeypatch, job.main, *map(str, words))


# ------------------------------------------------------------------------------------------------- what is measured again


def test_a_run_of_ones_own_pictures_is_measured_against_them(monkeypatch, tmp_path, capsys) -> None:
    """The digits that ship were taken in their place."""
    mine, table = tmp_path / "mine.npz", tmp_path / "again.csv"
    pixels = np.random.default_rng(0).choice([0, 255], size=(20, 1, 8, 8)).astype(np.uint8)
    np.savez(mine, images=pixels, labels=np.array(["1"] * 20))
    words = ["model=digits", f"model.path={mine}", "prompt=1", "seeds=0..7", "grid.n_levels=2", "reference=null"]
    assert command(monkeypatch, run, *words, "metric=[contrast,energy]", f"results={tmp_path}") == 0
    (folder,) = [path.parent for path in tmp_path.glob("main/*/shards")]
    want = json.loads((folder / "metrics.json").read_text())["measures"]
    assert command(monkeypatch, evaluate, folder, "metric=[contrast,energy]", f"output={table}") == 0
    found = pd.read_csv(table).set_index("measure")["point"]
    assert found.to_dict() == pytest.approx({name: want[name]["point"] for name in want}, rel=1e-12)
    np.savez(mine, images=255 - pixels, labels=np.array(["1"] * 20))
    assert command(monkeypatch, evaluate, folder, "metric=[contrast]") == 2
    assert "was made with another model than is found now" in capsys.readouterr().err


def test_a_table_that_cannot_be_written_is_told_before_anything_is_measured(monkeypatch, tmp_path, capsys) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a\nb.png")
    (tmp_path / "c\nd.png").write_bytes(b"no picture")
    monkeypatch.setattr(evaluate, "evaluate", lambda *_: pytest.fail("measured"))
    for words, said in (
        ([f"output={tmp_path}"], "is a folder; name a file for the table"),
        ([f"output={tmp_path / 'a'}\nb.png/t.csv"], "cannot write there"),
        (["uint8=maybe"], "uint8='maybe': must be true or false"),
    ):
        assert command(monkeypatch, evaluate, tmp_path, "metric=[rms]", *words) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    monkeypatch.undo()
    assert command(monkeypatch, evaluate, tmp_path, f"paired={tmp_path}", "metric=[rms]") == 0
    assert all(line.startswith("sdi_bench.evaluate: ") for line in capsys.readouterr().err.splitlines())


def test_a_page_of_runs_without_measures(monkeypatch, tmp_path) -> None:
    words = ["model=digits", "prompt=1", "seeds=0", "grid.n_levels=1", "reference=null", "metric=[]", f"results={tmp_path}"]
    assert command(monkeypatch, run, *words) == 0
    assert "1 · 0" in draw(prepare(tmp_path / "main"))


def test_a_prompt_stands_for_an_experiments_file_of_prompts(tmp_path) -> None:
    for experiment in ("3d", "3d_paper"):
        words = [f"experiment={experiment}", "model=builtin", "grid.n_levels=2", f"results={tmp_path}"]
        for one, n in (("prompt=a red sofa", 1), ("prompt_file=val16", 16)):
            ((plan, *_),) = sweeps.preflight([*words, one])
            assert len({item.prompt for item in plan.items}) == n


# ------------------------------------------------------------------------------------------------- prompts of pictures

WANT = ["pa", "pb", "pc"]
ROWS = [("c", "pc"), ("a", "pa"), ("b", "pb")]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = tmp_path_factory.mktemp("three")
    for name in "abc":
        Image.new("RGB", (4, 4)).save(folder / f"{name}.png")
    return read_folder(folder, "folder")


def rows(head: str, mark: str = ",") -> str:
    return "\n".join([head, *(f"{name}.png{mark}{text}" for name, text in ROWS)])


def objects(*texts: object) -> str:
    return "\n".join(json.dumps({"file_name": f"{name}.png", "text": text}) for name, text in zip("cab", texts, strict=True))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", rows("file_name;prompt", ";")),
        ("a.csv", rows("file_name\tprompt", "\t")),
        ("a.csv", rows("file_name,prompt").encode("utf-16")),
        ("a.csv", rows("file_name,captions")),
        ("a.csv", rows("my own name,Prompt")),
        ("a.csv", rows("file_name, prompt", ' , "').replace("\n", '"\n').replace('prompt"', "prompt") + '"'),
        ("a.csv", "id,prompt\n" + "\n".join(f"{name},{text}" for name, text in ROWS)),
        ("a.jsonl", objects("pc", "pa", "pb") + "\r\n"),
    ],
)
def test_a_name_beside_the_prompt_counts_however_it_stands_there(three, tmp_path, name: str, text: str | bytes) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert captions(str(tmp_path / name), three, "three") == WANT


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "file_name,prompt\nc.png,pc, and more\na.png,pa\nb.png,pb\n", "line 2 has 3 cells"),
        ("a.jsonl", objects("pc", 5, "pb"), "line 2 is neither a text"),
        ("a.jsonl", objects("pc", "pa", "pb") + '\n"x"', "line 4 has no file_name"),
        ("a.json", "null", "neither a list nor COCO"),
        ("a.json", "[" * 100_000, "cannot be read"),
    ],
)
def test_tables_that_are_none_are_told_in_a_line(three, tmp_path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"^prompts='{tmp_path / name}': .*{said}") as refusal:
        captions(str(tmp_path / name), three, "three")
    assert "\n" not in str(refusal.value)


def test_numbers_that_name_pictures_do_and_others_are_told(tmp_path) -> None:
    for number in (7, 139):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{number:012d}.jpg")
    folder = read_folder(tmp_path, "folder")
    notes = [{"id": i, "image_id": of, "caption": text} for i, of, text in ((1, 139, "b"), (2, 7, "a"))]
    (tmp_path / "coco.json").write_text(json.dumps({"annotations": notes}))
    assert captions(str(tmp_path / "coco.json"), folder, "x") == ["a", "b"]
    (tmp_path / "t.csv").write_text("category,prompt\nx,a\ny,b\n")
    with pytest.warns(UserWarning, match="names no files; in the order of the pictures' names"):
        assert captions(str(tmp_path / "t.csv"), folder, "x") == ["a", "b"]


def test_an_empty_text_beside_a_picture_is_none(three, tmp_path) -> None:
    for name, text in (("a.txt", b"pa"), ("b.TXT", "pb".encode("utf-16")), ("c.txt", b" \n")):
        (tmp_path / name).write_bytes(text)
    with pytest.raises(ValueError, match=r"no prompt for 1 of the pictures of three: c[.]png"):
        captions(str(tmp_path), three, "three")
    (tmp_path / "c.txt").write_text("pc\n")
    assert captions(str(tmp_path), three, "three") == WANT


# ------------------------------------------------------------------------------------------------------------- schedulers

DPM, UNIPC = "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
CASES = [
    Case("sd", DPM, SD | KARRAS, {"use_karras_sigmas": False}, (DPM, SOLVER)),
    Case("sd3", UNIPC, FLOW, {"flow_shift": 1.0}, (UNIPC, WITHOUT_CORRECTOR)),
    Case(
        "sd",
        UNIPC,
        SD | THRESHOLD | {"predict_x0": False, "final_sigmas_type": "sigma_min"},
        {"predict_x0": True},  # only then does it threshold
        (UNIPC, WITHOUT_CORRECTOR),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.scheduler} {case.name}")
def test_solvers_that_ask_at_whole_timesteps_are_followed(case: Case) -> None:
    row = pipeline_rows.row(case, 3.0)
    assert row["deviation"] < row["tolerance"] / 2 and row["planted deviation"] > 3 * row["tolerance"], row


def test_timesteps_made_otherwise_are_refused_by_name() -> None:
    for options in ({"use_exponential_sigmas": True}, {"use_beta_sigmas": True}):
        with pytest.raises(ValueError, match=rf"^{next(iter(options))}=True of {DPM}: asks the network at timesteps"):
            opened(tiny("sd"), DPM, SD | options)


# ------------------------------------------------------------------------------------------------------ what is in memory

SAMPLER = sb.Ddim(sb.UniformT(2), sb.Guidance(2.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipelines.save("sd", tmp_path_factory.mktemp("tiny") / "sd")


def test_other_words_and_hooks_are_another_model_and_are_sampled(folder) -> None:
    model = DiffusersFolder.of(folder)
    pipe, met = model.pipe, [(model.fingerprint, sb.sample(model, SAMPLER, ["a cat"]))]

    def spoken() -> None:
        with torch.no_grad():
            next(pipe.text_encoder.parameters()).mul_(1.5)

    def cut() -> None:
        pipe.tokenizer.model_max_length = 4

    def hooked() -> None:
        pipe.unet.register_forward_hook(lambda module, given, out: (0.5 * out[0],))

    for change in (spoken, cut, hooked):
        change()
        name, images = model.fingerprint, sb.sample(model, SAMPLER, ["a cat"])
        assert all(name != other and not torch.equal(images, theirs) for other, theirs in met), change
        met.append((name, images))
    again = DiffusersFolder.of(folder)
    assert again is not model and again.fingerprint == met[0][0] and DiffusersFolder.of(folder) is again
    assert torch.equal(sb.sample(again, SAMPLER, ["a cat"]), met[0][1])


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_weights_that_are_missing_are_noticed_in_silence_too(part: str, folder, tmp_path) -> None:
    """Where the libraries are told not to warn they make random weights without a word."""
    broken = shutil.copytree(folder, tmp_path / "sd")
    (path,) = (broken / part).glob("*.safetensors")
    tensors = load_file(path)
    tensors.pop(min(tensors))
    save_file(tensors, path, metadata={"format": "pt"})
    loud = transformers.utils.logging.get_verbosity()
    try:
        for library in (diffusers, transformers):
            library.utils.logging.set_verbosity_error()
        with pytest.raises(ValueError, match=r"cannot be opened .*weights are missing"):
            DiffusersFolder.of(broken)
        assert logging.getLogger("diffusers").level == logging.ERROR  # as it was
    finally:
        transformers.utils.logging.set_verbosity(loud)


# ----------------------------------------------------------------------------------------------------------------- Python


def test_what_python_is_given_is_told_in_a_line() -> None:
    def net(forward) -> sb.Network:
        return sb.Network(forward, (3, 4, 4))

    sample = inspect.unwrap(sb.sample)  # without the type checker of the tests
    good, sampler = net(lambda x, t, prompts: x), sb.Ddim(sb.UniformT(2))
    for make, said in (
        (lambda: sample("sd", sampler), "model='sd': must be a Denoiser"),  # type: ignore[arg-type]
        (lambda: sample(good, sb.Ddim), "sampler=.*must be a Sampler"),  # type: ignore[arg-type]
        (lambda: sample(good, sampler, schedule="flow"), "schedule='flow': must be a Schedule"),  # type: ignore[arg-type]
        (lambda: sb.sample(net(lambda x, t, prompts: (x,)), sampler), "network.forward: gave a tuple"),
        (lambda: sb.sample(net(lambda x, t, prompts: torch.cat([x, x], 1)), sampler), r"gave a tensor \[1, 6, 4, 4\]"),
        (lambda: sb.Network(lambda x, t, prompts: x, (3, 0)), r"network.shape=\(3, 0\)"),
        (lambda: sb.Network(lambda x, t, prompts: x, (3,), dtype=torch.int32), "network.dtype=torch.int32"),
    ):
        with pytest.raises(ValueError, match=said):
            make()
    with pytest.warns(UserWarning, match="2 of 2 images are not finite"):
        sb.sample(net(lambda x, t, prompts: x * torch.nan), sampler, seeds=range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb.sample(good, sampler)
