"""How people keep weights: folders, the cache of a hub, single files, variants, a precision for each part.

Whatever is wrong with what is asked for is one line. Nothing is ever downloaded: the line says what would fetch it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch

from ... import require

DTYPES = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16", "float64")}
FLAT = {"unet": "config.json", "scheduler": "scheduler_config.json"}
"""Where the oldest folders, of one network, have their configurations: beside model_index.json."""

CODECS = ("vae", "movq")
"""Components that run in float32 at least, unless the user says otherwise."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""Ends of the names of files of weights."""

NAMED = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)"
    r"(?:-\d+-of-\d+)?(?:\.(?P<variant>[^.]+?))?(?:-\d+-of-\d+)?\.(?:safetensors|bin)"
)
"""How diffusers and transformers name the weights of a component."""

WOULD_DO = (
    "must be the folder of a diffusers pipeline, the id of one in the local Hugging Face cache, "
    "or a .safetensors file with model.config"
)

LORA_NAME = "pytorch_lora_weights.safetensors"
"""As diffusers saves a LoRA."""


@dataclass(frozen=True)
class Further:
    """What a pipeline is opened with beside its folder, device and main precision; two that are equal open the same.

    config: the folder of the configuration, of a single file. lora: a file, and lora_scale its weight. dtypes: of parts that
    have their own. switches: methods of the pipeline, called once. offload_text: its text encoders wait on the host.
    """

    config: Path | None = None
    lora: Path | None = None
    lora_scale: float = 1.0
    dtypes: tuple[tuple[str, torch.dtype], ...] = ()
    switches: tuple[str, ...] = ()
    offload_text: bool = False


def near(word: str, known: Iterable[str]) -> str:
    """`did you mean ...?`, or what there is."""
    some = sorted(known)
    close = get_close_matches(word, some, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(some)}"


# ----------------------------------------------------------------------------------------------------------------- places


def folder_of(path: str | Path | None, field: str = "model.path") -> Path:
    """The folder, absolute; of an id, the one in the local cache. Raises ValueError unless it has a model_index.json."""
    if path is not None and (Path(path) / "model_index.json").is_file():
        return Path(path).resolve()
    what, instead = "not given", ""
    if path is not None:
        what = "has no model_index.json" if Path(path).is_dir() else "no such folder"
        if (Path(path) / FLAT["unet"]).is_file():
            alone = not (Path(path) / FLAT["scheduler"]).is_file()
            what += (
                " and is one network alone, without a scheduler" if alone else ", as diffusers wants one, beside its network"
            )
        elif is_id(path):
            found = cached(str(path))
            if found is not None:
                return found
            what += ", and no pipeline of this name in the local Hugging Face cache"
            instead = f"; {fetching(path)} fetches it"
    shown = None if path is None else str(path)
    would_do = (
        WOULD_DO if field == "model.path" else "must be the folder of a diffusers pipeline, or the id of one in the cache"
    )
    raise ValueError(f"{field}={shown!r}: {what}; {would_do}{instead}")


def is_id(path: str | Path) -> bool:
    """Can this only be a name on the hub? A folder or a file of that name wins."""
    return HUB_ID.fullmatch(str(path)) is not None and not Path(path).exists() and Path(path).suffix not in FILES


def fetching(path: str | Path) -> str:
    """The command that fetches what has this name on the hub."""
    return f"`hf download {path}`"


def cached(name: str) -> Path | None:
    """The folder of a pipeline in the local Hugging Face cache, wherever that library has it; None if it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:  # people fetch a part of what there is: what is needed is found missing by name
        found = Path(snapshot_download(name, local_files_only=True, allow_patterns=["model_index.json"]))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    return found.resolve() if (found / "model_index.json").is_file() else None


def place_of(path: str | Path | None, config: str | Path | None) -> tuple[Path, Path | None]:
    """(the folder, None), or (a single file of weights, the folder of its configuration). Raises ValueError by name."""
    if path is None or Path(path).suffix not in FILES or Path(path).is_dir():
        if config is not None:
            raise ValueError(
                f"model.config={str(config)!r}: only a single .safetensors file in model.path needs one; leave it out"
            )
        return folder_of(path), None
    if not Path(path).is_file():
        raise ValueError(f"model.path={str(path)!r}: no such file; {WOULD_DO}")
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"model.path={str(path)!r}: may run code when it is opened; the same weights as .safetensors would do")
    if config is None:
        raise ValueError(
            f"model.config=null: a single file does not say how its networks are built; give the folder, or the id in the "
            f"local Hugging Face cache, of a pipeline of the same kind (its weights are not needed), for {Path(path).name}"
        )
    return Path(path).resolve(), folder_of(config, "model.config")


def lora_of(lora: str | Path | None) -> Path | None:
    """The one file of a LoRA, absolute. Raises ValueError, naming the field, if it is not to be had."""
    if lora is None:
        return None
    place, would_do = Path(lora), "must be a .safetensors file, or a folder that has one"
    if place.is_dir():
        found = sorted(place.glob("*.safetensors"))
        if (place / LORA_NAME).is_file():
            found = [place / LORA_NAME]
        if len(found) != 1:
            names = ", ".join(one.name for one in found[:4])
            raise ValueError(f"model.lora={str(lora)!r}: has {f'several, {names}: name one' if found else f'none; {would_do}'}")
        place = found[0]
    if not place.is_file() or place.suffix != ".safetensors":
        what = "is no .safetensors file" if place.is_file() else "no such file"
        raise ValueError(f"model.lora={str(lora)!r}: {what}; {would_do}")
    return place.resolve()


def switches_asked(switches: Sequence[str]) -> tuple[str, ...]:
    """Raise ValueError, naming the field, unless this is a list of names; what they are is seen on the pipeline."""
    if isinstance(switches, str) or not all(isinstance(name, str) for name in switches):
        raise ValueError(f"model.switches={switches!r}: must be a list of names, such as [vae.enable_tiling]")
    if len(set(switches)) < len(switches):
        raise ValueError(f"model.switches={list(switches)!r}: must be distinct")
    return tuple(switches)


# --------------------------------------------------------------------------------------------------------------- variants


def variants_in(folder: Path) -> set[str | None]:
    """The variants in which the weights of a component are there; None is the plain one."""
    if not folder.is_dir():
        return set()
    return {found["variant"] for path in folder.iterdir() if (found := NAMED.fullmatch(path.name))}


def variant_of(folder: Path, parts: Mapping[str, str | None]) -> str | None:
    """The variant, where all parts are there as one and never plain. Raises ValueError if they are there as several."""
    each = {name: found for name, kind in parts.items() if kind is not None and (found := variants_in(folder / name))}
    if not each or any(None in found for found in each.values()):
        return None
    common = sorted(filter(None, set.intersection(*each.values())))
    if len(common) == 1:
        return common[0]
    said = ", ".join(f"{name}/ as {' and '.join(sorted(filter(None, found)))}" for name, found in each.items())
    raise ValueError(
        f"model.variant=null: the weights are there as {'several variants' if common else 'no one variant'}: {said}"
    )


# -------------------------------------------------------------------------------------------------------------- precision


def dtypes_asked(dtype: str | Mapping[str, str]) -> tuple[torch.dtype, tuple[tuple[str, torch.dtype], ...]]:
    """(of the whole, of the parts that have their own). Raises ValueError, naming the field, for what is no precision."""
    if not isinstance(dtype, str | Mapping):
        raise ValueError(f"model.dtype={dtype!r}: must be one of {', '.join(DTYPES)}, or a mapping of parts to them")
    said = {"default": dtype} if isinstance(dtype, str) else dict(dtype)
    for name, value in said.items():
        if value not in DTYPES:
            where = "model.dtype" if isinstance(dtype, str) else f"model.dtype.{name}"
            raise ValueError(f"{where}={value!r}: must be one of {', '.join(DTYPES)}")
    whole = DTYPES[said.pop("default", "float32")]
    return whole, tuple(sorted((str(name), DTYPES[value]) for name, value in said.items()))


def dtypes_of(
    whole: torch.dtype, own: Iterable[tuple[str, torch.dtype]], folder: Path, parts: Mapping[str, str | None]
) -> dict[str, torch.dtype]:
    """The precision of each part, and `default` of the others. Raises ValueError, naming the field, for unknown parts."""
    networks = [
        name
        for name, kind in parts.items()
        if kind is not None and ((folder / name / "config.json").is_file() or FLAT.get(name) == "config.json")
    ]
    for name, _ in own:
        if name not in networks:
            raise ValueError(f"model.dtype.{name}: the pipeline has no such network; {near(name, [*networks, 'default'])}")
    return {"default": whole, **dict.fromkeys(CODECS, torch.promote_types(whole, torch.float32)), **dict(own)}


def widest(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    """One that holds all numbers of the others."""
    found, *more = dict.fromkeys(dtypes)
    for one in more:
        found = torch.promote_types(found, one)
    return found


def check_scale(scale: float) -> None:
    """Raise ValueError unless this can weigh a LoRA."""
    require.number("model.lora_scale", scale)
