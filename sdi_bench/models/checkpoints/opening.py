"""From a folder or file on disk to a pipeline in memory, with diffusers' own classes; whatever is wrong with it is one line."""

import gc
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ...schedules import Schedule
from . import weights
from .adapted import OFFLOAD, add_lora, check_offload_text, check_switches, switch, text_encoders
from .families import KINDS
from .folder import DiffusersFolder, Wanted
from .latents import Prompted
from .prints import READING, modules_of, state_of, switches_of
from .remembered import files_of, key_of, stamps_of
from .weights import FLAT, Further, folder_of

__all__ = ["folder_of", "open_folder", "opened", "schedule_of"]

UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "watermarker")
"""Components that sampling from text does without."""


def open_folder(
    path: str | Path | None,
    dtype: str | Mapping[str, str],
    device: str,
    variant: str | None,
    wanted: Wanted = Wanted(),
    config: str | Path | None = None,
    lora: str | Path | None = None,
    lora_scale: float = 1.0,
    switches: Sequence[str] = (),
    offload_text: bool = False,
) -> DiffusersFolder:
    """As `DiffusersFolder.of`."""
    whole, own = weights.dtypes_asked(dtype)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"model.device={device!r}: not to be had here") from error
    weights.check_scale(lora_scale)
    place, configured = weights.place_of(path, config)
    further = Further(configured, weights.lora_of(lora), float(lora_scale), own, weights.switches_asked(switches), offload_text)
    if configured is not None and variant is not None:
        raise ValueError(f"model.variant={variant!r}: a single file has none; leave it out")
    asked = (place, whole, device, variant, further if further.lora else replace(further, lora_scale=1.0))
    if asked not in LAST:
        opened.cache_clear()  # before the next is read: memory is for one
        gc.collect()
        LAST[:] = [asked]
    try:
        if state_of(opened(*asked).pipe) != opened(*asked)._known["opened"]:
            opened.cache_clear()
        model = opened(*asked)
    except ValueError as error:
        if path is None or not weights.is_id(path) or not str(error).startswith("model.path="):
            raise
        raise ValueError(f"{error}; {weights.fetching(path)} fetches what is not there") from error
    if wanted != Wanted():
        return sized(model, wanted)
    with in_one_line(asked[0]):
        model.check()
    return model


def sized(model: DiffusersFolder, wanted: Wanted) -> DiffusersFolder:
    """The same pipeline, asked for other pictures. Raises ValueError, naming the field."""
    found = replace(model, wanted=wanted)
    found._known.update(model._known)
    found.check()
    return found


def refusal(place: Path, why: str, most: int = 400, field: str = "model.path") -> ValueError:
    """One line about a folder or file that cannot be opened."""
    return ValueError(f"{field}={str(place)!r}: {' '.join(why.split())[:most]}")


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
def in_one_line(folder: Path, field: str = "model.path") -> Iterator[None]:
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
        if isinstance(error, ValueError) and str(error).startswith("model."):
            raise  # it is one line, and names its field
        why = "weights are missing" if "meta tensor" in str(error) else error  # what accelerate says of them
        raise refusal(folder, f"cannot be opened ({type(error).__name__}: {why})", field=field) from error
    finally:
        for logger, level, quiet in listening:
            logger.handlers.remove(strict)
            for handler in logger.handlers:
                handler.removeFilter(quiet)
            logger.setLevel(level)


def parts_of(folder: Path, field: str = "model.path") -> tuple[str, dict[str, str | None]]:
    """The pipeline's class, and its components: name -> class, None where it is left out."""
    with in_one_line(folder, field):
        index = json.loads((folder / "model_index.json").read_text())
        parts = {name: None if name in UNUSED else value[1] for name, value in index.items() if isinstance(value, list)}
        kind = index["_class_name"]
    for name, class_name in parts.items():
        flat = (folder / FLAT.get(name, "")).is_file()
        if class_name is not None and not (folder / name).is_dir() and not flat:
            raise refusal(folder, f"its component {name}/ is missing", field=field)
    return kind, parts


def schedule_of(
    path: str | Path | None,
    dtype: str | Mapping[str, str] = "float32",
    device: str = "cpu",
    variant: str | None = None,
    height: int | None = None,
    width: int | None = None,
    config: str | Path | None = None,
    lora: str | Path | None = None,
    lora_scale: float = 1.0,
    switches: Sequence[str] = (),
    offload_text: bool = False,
) -> Schedule:
    """The schedule that the checkpoint in this place was trained on, opened: its pipeline may amend what the file says.

    All that `DiffusersFolder.of` is told is told here too, so that one pipeline is opened, and not two.
    Raises ValueError, naming model.path.
    """
    how: dict[str, Any] = {"config": config, "lora": lora, "lora_scale": lora_scale, "offload_text": offload_text}
    return DiffusersFolder.of(path, dtype, device, variant, height, width, switches=switches, **how).schedule


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


def kind_of(folder: Path, kind: str, field: str = "model.path") -> type[DiffusersFolder]:
    """How a pipeline's network is asked. Raises ValueError if that is not known."""
    if kind in KINDS:
        return KINDS[kind]
    why = next((f", which {why}" for words, why in OTHERWISE.items() if re.search(words, kind)), "")
    raise refusal(folder, f"is a {kind}{why}; known are {', '.join(sorted(KINDS))}", 900, field)


LAST: list[tuple[Any, ...]] = []
"""What was opened last, which is kept."""


@lru_cache(maxsize=1)
def opened(place: Path, dtype: torch.dtype, device: str, variant: str | None, further: Further = Further()) -> DiffusersFolder:
    """`DiffusersFolder.of`, remembered: the runs of a sweep share one network.

    place: the folder, or a single file of weights.
    """
    folder, field = (place, "model.path") if further.config is None else (further.config, "model.config")
    kind, parts = parts_of(folder, field)
    how = kind_of(folder, kind, field)
    if issubclass(how, Prompted) and find_spec("transformers") is None:
        raise refusal(folder, f"a {kind} needs the package transformers (pip install transformers)")
    if further.config is not None and find_spec("accelerate") is None:  # without it, weights that are missing go unnoticed
        raise refusal(place, "a single file needs the package accelerate (pip install accelerate)")
    dtypes = weights.dtypes_of(dtype, further.dtypes, folder, parts)
    if further.config is None and variant is None:
        variant = weights.variant_of(folder, parts)
    import diffusers

    diffusers.utils.logging.disable_progress_bar()
    if issubclass(how, Prompted):
        import transformers

        transformers.utils.logging.get_logger()  # whose handler `in_one_line` finds
        transformers.utils.logging.disable_progress_bar()
    files = [*files_of(folder, (name for name, kind in parts.items() if kind)), *filter(None, (place, further.lora))]
    before = stamps_of(path for path in files if path.is_file())
    with in_one_line(place):
        pipe = loaded(place, kind, parts, dtypes, variant, further.config)
        if further.switches:
            check_switches(pipe, further.switches, device)
        if further.offload_text:
            check_offload_text(pipe, device, further.switches)
            there = [part for _, part in modules_of(pipe) if part not in text_encoders(pipe)]
            for part in there:
                part.to(device)
        elif OFFLOAD not in further.switches:
            pipe.to(device)
        for name, part in pipe.components.items():
            own = dtypes.get(name, dtype)
            if isinstance(part, torch.nn.Module):
                part.eval().requires_grad_(False)
            if isinstance(part, diffusers.ModelMixin):  # without accelerate it stays as the files have it
                torch.nn.Module.to(part, own)
            if isinstance(part, diffusers.ModelMixin) and hasattr(part, "clear_cache"):  # as after every call
                part.clear_cache()
            words = getattr(part, "vocab_files_names", {}).values()  # without any of them a tokenizer opens, and knows no word
            if words and not any((folder / name / file).is_file() for file in words):
                raise ValueError(f"none of {', '.join(words)} in {name}/")
        at_first = switches_of(pipe)
        if further.lora is not None:
            with in_one_line(further.lora, "model.lora"):
                add_lora(pipe, further.lora, further.lora_scale)
            put_on = switches_of(pipe).items()
            at_first = {key: value for key, value in put_on if key in at_first or not key.endswith(".scaling")}
        for name, part in pipe.components.items():
            if isinstance(part, torch.nn.Module) and dtypes.get(name, dtype) == torch.float64:
                part.to(torch.float64)  # also what the libraries keep in float32
        for name in further.switches:
            earlier = switches_of(pipe)
            switch(pipe, name, device)
            if name == OFFLOAD:  # where weights wait changes no number
                at_first |= {key: value for key, value in switches_of(pipe).items() if earlier.get(key) != value}
        network = "unet" if pipe.components.get("unet") else "transformer"
        model = how(pipe, dtypes.get(network, dtype), device, at_first)
        model._known["opened"], model._known["offload_text"] = state_of(pipe), further.offload_text
        after = stamps_of(path for path in files if path.is_file())
        model._known["files"] = key_of(before, after, [READING, kind, dtypes, variant, replace(further, offload_text=False)])
    return model


def loaded(
    place: Path,
    kind: str,
    parts: Mapping[str, str | None],
    dtypes: Mapping[str, torch.dtype],
    variant: str | None,
    config: Path | None,
) -> Any:
    """The pipeline in this folder, or in this single file, in memory; weights that are missing are refused, not made up."""
    import diffusers

    options: dict[str, Any] = {name: None for name, class_name in parts.items() if class_name is None}
    if "safety_checker" in options:
        options["requires_safety_checker"] = False
    made = getattr(diffusers, kind)
    if config is None:
        options["low_cpu_mem_usage"] = find_spec("accelerate") is not None  # said aloud, its absence is no warning
        return made.from_pretrained(place, dtype=dict(dtypes), variant=variant, local_files_only=True, **options)
    if not hasattr(made, "from_single_file"):
        raise ValueError(f"a {kind} is not read from a single file; its folder would do")
    whole = weights.widest(dtypes.values())
    pipe = made.from_single_file(str(place), config=str(config), dtype=whole, local_files_only=True, **options)
    for name, part in modules_of(pipe):
        getattr(part, "tie_weights", list)()
        missing = [f"{name}.{key}" for key, tensor in part.state_dict().items() if tensor.is_meta]
        if missing:
            raise ValueError(f"weights are missing, {', '.join(missing[:3])}, ...")
        cast(part, dtypes.get(name, dtypes["default"]))
    return pipe


def cast(part: torch.nn.Module, dtype: torch.dtype) -> None:
    """To another precision, but in float16 what the part itself wants in float32: as if its own folder had been opened."""
    kept = (getattr(part, "_keep_in_fp32_modules", None) or ()) if dtype == torch.float16 else ()
    for key, tensor in (*part.named_parameters(), *part.named_buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float32 if set(kept) & set(key.split(".")) else dtype)
