"""From a folder on disk to a pipeline in memory, with diffusers' own classes; whatever is wrong with it is one line."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ...schedules import Schedule
from .families import KINDS
from .folder import DiffusersFolder, Wanted
from .latents import Prompted
from .prints import state_of, switches_of

DTYPES = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16", "float64")}
FLAT = {"unet": "config.json", "scheduler": "scheduler_config.json"}
"""Where the oldest folders, of one network, have their configurations: beside model_index.json."""

UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "watermarker")
"""Components that sampling from text does without."""


def open_folder(
    path: str | Path | None, dtype: str, device: str, variant: str | None, wanted: Wanted = Wanted()
) -> DiffusersFolder:
    """As `DiffusersFolder.of`."""
    if dtype not in DTYPES:
        raise ValueError(f"model.dtype={dtype!r}: must be one of {', '.join(DTYPES)}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"model.device={device!r}: not to be had here") from error
    asked = (folder_of(path), DTYPES[dtype], device, variant)
    if state_of(opened(*asked).pipe) != opened(*asked)._known["opened"]:
        opened.cache_clear()
    model = opened(*asked)
    if wanted != Wanted():
        return sized(model, wanted)
    with in_one_line(asked[0]):
        model.check()
    return model


def sized(model: DiffusersFolder, wanted: Wanted) -> DiffusersFolder:
    """The same pipeline, asked for other pictures. Raises ValueError, naming the field."""
    found = replace(model, wanted=wanted)
    found.check()
    return found


def folder_of(path: str | Path | None) -> Path:
    """The folder, absolute. Raises ValueError unless it has a model_index.json."""
    if path is not None and (Path(path) / "model_index.json").is_file():
        return Path(path).resolve()
    what = "not given" if path is None else "has no model_index.json" if Path(path).is_dir() else "no such folder"
    if path is not None and (Path(path) / FLAT["unet"]).is_file():
        alone = not (Path(path) / FLAT["scheduler"]).is_file()
        what += " and is one network alone, without a scheduler" if alone else ", as diffusers wants one, beside its network"
    raise ValueError(f"model.path={path and str(path)!r}: {what}; must be the folder of a diffusers pipeline")


def refusal(folder: Path, why: str, most: int = 400) -> ValueError:
    """One line about a folder that cannot be opened."""
    return ValueError(f"model.path={str(folder)!r}: {' '.join(why.split())[:most]}")


class Strict(logging.Handler):
    """Raises ValueError where the libraries would warn that weights are not in the checkpoint, and make random ones."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "newly initialized" in text:
            raise ValueError(
                f"weights are missing, {', '.join(re.findall(r'[a-z][a-z0-9_.]*[.](?:weight|bias)', text)[:3])}, ..."
            )


class Quiet(logging.Filter):
    """Drops what is below the level that the user has set, and what the libraries say of a package that nothing here needs."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self.level and "torchvision" not in record.getMessage()


@contextmanager
def in_one_line(folder: Path) -> Iterator[None]:
    """Whatever goes wrong inside, in any of the libraries, becomes one ValueError that names the folder.

    Their warnings are heard even where the user has silenced them: random weights must not pass.
    """
    listening = [
        (logger, logger.level, Quiet(logger.level)) for logger in map(logging.getLogger, ("diffusers", "transformers"))
    ]
    strict = Strict()
    for logger, level, quiet in listening:
        for handler in logger.handlers:
            handler.addFilter(quiet)
        logger.handlers.insert(0, strict)  # before the one that prints
        logger.setLevel(min(level, logging.WARNING))
    try:
        yield
    except Exception as error:
        raise refusal(folder, f"cannot be opened ({type(error).__name__}: {error})") from error
    finally:
        for logger, level, quiet in listening:
            logger.handlers.remove(strict)
            for handler in logger.handlers:
                handler.removeFilter(quiet)
            logger.setLevel(level)


def parts_of(folder: Path) -> tuple[str, dict[str, str | None]]:
    """The pipeline's class, and its components: name -> class, None where it is left out."""
    with in_one_line(folder):
        index = json.loads((folder / "model_index.json").read_text())
        parts = {name: None if name in UNUSED else value[1] for name, value in index.items() if isinstance(value, list)}
        kind = index["_class_name"]
    for name, class_name in parts.items():
        flat = (folder / FLAT.get(name, "")).is_file()
        if class_name is not None and not (folder / name).is_dir() and not flat:
            raise refusal(folder, f"its component {name}/ is missing")
    return kind, parts


def schedule_of(
    path: str | Path | None,
    dtype: str = "float32",
    device: str = "cpu",
    variant: str | None = None,
    height: int | None = None,
    width: int | None = None,
) -> Schedule:
    """The schedule that the checkpoint in this folder was trained on, opened: its pipeline may amend what the file says.

    Raises ValueError, naming model.path.
    """
    return DiffusersFolder.of(path, dtype, device, variant, height, width).schedule


OTHERWISE = {
    "Video|Animate|Wan|LTX|Mochi|Allegro|Latte|Cosmos|Skyreels": "makes videos: a pipeline of pictures from text would do",
    "Inpaint|Img2Img|Image2Image|Edit|Kontext|Control|Adapter|Fill|Redux|Pix2Pix|Variation|Depth|Upscal|SuperResolution": (
        "asks for a picture beside text: the pipeline of the same weights that goes by text alone would do"
    ),
    "Cascade|Wuerstchen|Prior|Decoder|KandinskyV22Pipeline": (
        "is one of several stages: a pipeline that goes from text to picture by one network of noise levels would do"
    ),
    "Audio|Music|Speech": "makes sounds: a pipeline of pictures from text would do",
}
"""What the names of pipelines say -> why they are refused, and what would do."""


def kind_of(folder: Path, kind: str) -> type[DiffusersFolder]:
    """How a pipeline's network is asked. Raises ValueError if that is not known."""
    if kind in KINDS:
        return KINDS[kind]
    why = next((f", which {why}" for words, why in OTHERWISE.items() if re.search(words, kind)), "")
    raise refusal(folder, f"is a {kind}{why}; known are {', '.join(sorted(KINDS))}", 900)


@lru_cache(maxsize=2)
def opened(folder: Path, dtype: torch.dtype, device: str, variant: str | None) -> DiffusersFolder:
    """`DiffusersFolder.of`, remembered: the runs of a sweep share one network."""
    kind, parts = parts_of(folder)
    how = kind_of(folder, kind)
    if issubclass(how, Prompted) and find_spec("transformers") is None:
        raise refusal(folder, f"a {kind} needs the package transformers (pip install transformers)")
    import diffusers

    diffusers.utils.logging.disable_progress_bar()
    if issubclass(how, Prompted):
        import transformers

        transformers.utils.logging.get_logger()  # whose handler `in_one_line` finds
        transformers.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {name: None for name, class_name in parts.items() if class_name is None}
    if "safety_checker" in options:
        options["requires_safety_checker"] = False
    with in_one_line(folder):
        dtypes = {"default": dtype, **dict.fromkeys(("vae", "movq"), torch.promote_types(dtype, torch.float32))}
        load = getattr(diffusers, kind).from_pretrained
        options["low_cpu_mem_usage"] = find_spec("accelerate") is not None  # said aloud, its absence is no warning
        pipe = load(folder, dtype=dtypes, variant=variant, local_files_only=True, **options).to(device)
        for name, part in pipe.components.items():
            if isinstance(part, torch.nn.Module):
                part.eval().requires_grad_(False)
            if isinstance(part, diffusers.ModelMixin):  # without accelerate it stays as the files have it
                torch.nn.Module.to(part, dtypes.get(name, dtype))
            if isinstance(part, diffusers.ModelMixin) and hasattr(part, "clear_cache"):  # as after every call
                part.clear_cache()
            if isinstance(part, torch.nn.Module) and dtype == torch.float64:  # also what the libraries keep in float32
                part.to(dtype)
            files = getattr(part, "vocab_files_names", {}).values()  # without any of them a tokenizer opens, and knows no word
            if files and not any((folder / name / file).is_file() for file in files):
                raise ValueError(f"none of {', '.join(files)} in {name}/")
        model = how(pipe, dtype, device, switches_of(pipe))
        model._known["opened"] = state_of(pipe)
    return model
