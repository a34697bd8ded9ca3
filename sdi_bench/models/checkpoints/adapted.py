"""What is put on a pipeline once it is opened: a LoRA, and switches of its own."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .prints import modules_of
from .weights import near

ADAPTER = "added"
"""The name under which a LoRA is loaded."""

SWITCHING = ("enable_", "disable_", "fuse_", "unfuse_")
"""Beginnings of the names of methods that switch something."""

OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
"""Kinds of parameters that may be given nothing."""

OFFLOAD = "enable_model_cpu_offload"
"""The one that moves parts of the pipeline between an accelerator and memory."""


def add_lora(pipe: Any, file: Path, scale: float) -> None:
    """Load a LoRA as the pipeline itself does. Raises ValueError if anything in it fits nothing, or if peft is missing."""
    if find_spec("peft") is None:
        raise ValueError(f"model.lora={str(file)!r}: needs the package peft (pip install peft)")
    if not hasattr(pipe, "load_lora_weights"):
        raise ValueError(f"model.lora={str(file)!r}: a {type(pipe).__name__} takes none; leave it out")
    read, given = pipe.lora_state_dict, set[str]()

    def listening(*args: Any, **more: Any) -> Any:
        found = read(*args, **more)
        given.update(found[0] if isinstance(found, tuple) else found)
        return found

    pipe.lora_state_dict = listening
    try:
        pipe.load_lora_weights(str(file), adapter_name=ADAPTER, local_files_only=True)
    finally:
        del pipe.lora_state_dict
    check_fit(pipe, file, {key for key in given if not key.endswith(".alpha")})
    pipe.set_adapters([ADAPTER], [float(scale)])
    if scale == 0:
        pipe.disable_lora()  # the bits without it, whatever kind of adapter it is
    for _, module in modules_of(pipe):
        module.eval().requires_grad_(False)


def check_fit(pipe: Any, file: Path, given: set[str]) -> None:
    """Raise ValueError unless every tensor of a LoRA is in the pipeline now, and no other is."""
    loaded = {f"{name}.{key}" for name, part in modules_of(pipe) for key in part.state_dict() if ADAPTER in key.split(".")}
    if given and len(loaded) == len(given):
        return
    fits = {key.split(".lora_")[0] for key in loaded}
    lost = sorted({place for key in given if (place := key.split(".lora")[0]) not in fits})
    such = f", such as {', '.join(lost[:2])}" if lost else ""
    raise ValueError(
        f"model.lora={str(file)!r}: of its {len(given)} tensors {len(loaded)} fit this "
        f"{type(pipe).__name__}{such}; a LoRA made for this kind of pipeline would do"
    )


def switching(pipe: Any) -> dict[str, list[str]]:
    """Methods of the pipeline, and of its networks (`vae.enable_tiling`), that switch something -> arguments they insist on."""
    found = {}
    for place, owner in [("", pipe), *((f"{name}.", part) for name, part in modules_of(pipe))]:
        for name in dir(type(owner)):
            method = getattr(type(owner), name)
            if name.startswith(SWITCHING) and inspect.isfunction(method):
                _, *given = inspect.signature(method).parameters.values()
                found[place + name] = [one.name for one in given if one.default is one.empty and one.kind not in OPEN]
    return found


def check_switches(pipe: Any, switches: tuple[str, ...], device: str) -> None:
    """Raise ValueError, naming the field, unless all are methods that switch something and need no argument."""
    known = switching(pipe)
    free = [name for name, needs in known.items() if not needs and ("offload" not in name or name == OFFLOAD)]
    for name in switches:
        if name not in known:
            raise ValueError(f"model.switches: {name!r} is none of this {type(pipe).__name__}; {near(name, free)}")
        if "offload" in name and name != OFFLOAD:
            raise ValueError(f"model.switches: {name!r} takes weights apart, and they have no fingerprint then; use {OFFLOAD}")
        if known[name]:
            raise ValueError(
                f"model.switches: {name!r} asks for {', '.join(known[name])}; only those that ask for nothing can be named"
            )
        if name == OFFLOAD and torch.device(device).type == "cpu":
            raise ValueError(
                f"model.switches: {name!r} moves weights between an accelerator and memory; set device=cuda, or leave it out"
            )


def switch(pipe: Any, name: str, device: str) -> None:
    """Call one of them."""
    part, _, method = name.rpartition(".")
    getattr(pipe.components[part] if part else pipe, method)(**{"device": device} if name == OFFLOAD else {})


def text_encoders(pipe: Any) -> list[torch.nn.Module]:
    """Those that a pipeline has."""
    return [part for name, part in modules_of(pipe) if "text_encoder" in name]


def check_offload_text(pipe: Any, device: str, switches: tuple[str, ...]) -> None:
    """Raise ValueError, naming the field, unless there are text encoders, and another device to keep them from."""
    why = None
    if not text_encoders(pipe):
        why = f"a {type(pipe).__name__} has no text encoder; leave it out"
    elif torch.device(device).type == "cpu":
        why = "keeps text encoders from the memory of an accelerator; set device=cuda, or leave it out"
    elif OFFLOAD in switches:
        why = f"model.switches has {OFFLOAD}, which moves them too; leave one of the two out"
    if why is not None:
        raise ValueError(f"model.offload_text=true: {why}")


@contextmanager
def lent(modules: list[torch.nn.Module], device: str) -> Iterator[None]:
    """Copies of the weights, on a device for as long as this lasts; the weights themselves stay where they are, untouched."""
    copies: dict[int, Tensor] = {}
    places: list[tuple[Any, str, Tensor]] = []
    for module in modules:
        for part in module.modules():
            for held in (part._parameters, part._buffers):
                places += [(held, name, tensor) for name, tensor in held.items() if tensor is not None]
    try:
        for held, name, tensor in places:
            if id(tensor) not in copies:  # tied weights stay tied
                copies[id(tensor)] = tensor.detach().to(device)
            held[name] = copies[id(tensor)]
        yield
    finally:
        for held, name, tensor in places:
            held[name] = tensor
