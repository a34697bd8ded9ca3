"""Fingerprints of a pipeline as it is in memory: its weights, its configurations, its words, and what was switched on since."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .remembered import remembered

READING = 2
"""Raised whenever the numbers change that a folder gives, because it is read in another way."""

ELSEWHERE = ("name_or_path", "transformers_version", "dtype", "torch_dtype")
"""Of a configuration: where it was found and what read it."""

CAPTURING = "output_capturing"
"""In the names of what transformers hangs on a text encoder at its first call, to hand out its hidden states."""


def switches_of(pipe: Any) -> dict[str, str]:
    """What hangs on modules beside weights: numbers and words (scales of adapters, FreeU), names of functions and hooks."""
    found = {}
    for name, module in modules_of(pipe):
        for inner, part in module.named_modules():
            for key, value in vars(part).items():
                if CAPTURING in key:
                    continue
                if is_plain(value):
                    found[f"{name}.{inner}.{key}"] = repr(value)
                elif callable(value) and not isinstance(value, torch.nn.Module):
                    found[f"{name}.{inner}.{key}"] = named(value)
            hooks = [named(hook) for hook in (*part._forward_pre_hooks.values(), *part._forward_hooks.values())]
            hooks = [hook for hook in hooks if CAPTURING not in hook]
            if hooks:
                found[f"{name}.{inner}.hooks"] = repr(hooks)
    return found


def named(function: Any) -> str:
    """A function by its name, an object that is called by that of its class."""
    known = function if hasattr(function, "__qualname__") else type(function)
    return f"{known.__module__}.{known.__qualname__}"


def is_plain(value: object) -> bool:
    """True for numbers, words and lists and dictionaries of them."""
    if isinstance(value, Mapping):
        return all(is_plain(one) for one in value.values()) and type(value) is dict
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def modules_of(pipe: Any) -> Iterator[tuple[str, torch.nn.Module]]:
    """The networks of a pipeline, by name."""
    return ((name, part) for name, part in sorted(pipe.components.items()) if isinstance(part, torch.nn.Module))


def tensors_of(pipe: Any) -> Iterator[tuple[str, Tensor]]:
    """All weights of a pipeline, by name."""
    return ((f"{name}.{key}", tensor) for name, module in modules_of(pipe) for key, tensor in tensors_in(module))


def tensors_in(module: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All weights of a module, by name."""
    return ((key, one) for key, one in module.state_dict(keep_vars=True).items() if isinstance(one, Tensor))


def said_by(part: Any) -> dict[str, Any]:
    """A component's configuration as plain data, without where it came from."""
    if hasattr(part, "get_vocab"):  # a tokenizer
        whole = getattr(part, "backend_tokenizer", None)
        words = json.loads(whole.to_str()) if whole is not None else {"vocabulary": part.get_vocab()}
        said = {key: value for key, value in words.items() if key not in ("truncation", "padding")}  # which calls change
        if getattr(part, "chat_template", None):
            said["chat_template"] = part.chat_template
        return said | {"length": part.model_max_length, "special": part.special_tokens_map, "side": part.padding_side}
    config = getattr(part, "config", {})
    said = config.to_diff_dict() if hasattr(config, "to_diff_dict") else dict(config)
    if hasattr(part, "alphas_cumprod"):
        said["alphas_cumprod"] = part.alphas_cumprod.tolist()
    return {key: value for key, value in said.items() if not key.startswith("_") and key not in ELSEWHERE}


def configured(pipe: Any) -> list[Any]:
    """The configurations of a pipeline's components, and its own."""
    parts = {name: [type(part).__name__, said_by(part)] for name, part in pipe.components.items() if part is not None}
    own = {key: value for key, value in pipe.config.items() if isinstance(value, bool | int | float | str) and key[0] != "_"}
    return [parts, own]


def state_of(pipe: Any) -> list[Any]:
    """What tells within a process whether a pipeline is still the same."""
    return [glance(pipe), switches_of(pipe), configured(pipe)]


def glance(pipe: Any) -> list[Any]:
    """What tells cheaply whether the weights are still the same: which tensors, how often written to, and their sums."""
    settle(pipe)
    return [(key, id(t), t._version, float(t.detach().sum(dtype=wide(t.device)))) for key, t in tensors_of(pipe)]


def wide(device: torch.device) -> torch.dtype:
    """The widest type of numbers there: MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def settle(pipe: Any) -> None:
    """Where parts are moved to an accelerator as they are used: put them all back, as the pipeline does after a call."""
    if getattr(pipe, "_all_hooks", None):
        pipe.maybe_free_model_hooks()


def weights_print(pipe: Any) -> str:
    """sha256 over the names, types, shapes and bytes of all weights of a pipeline."""
    return sha256_of(tensors_of(pipe))


def print_of_weights(module: torch.nn.Module) -> str:
    """The same of one module."""
    return sha256_of(tensors_in(module))


def sha256_of(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """sha256 over the names, types, shapes and bytes of tensors."""
    whole = hashlib.sha256()
    for key, tensor in sorted(tensors, key=lambda pair: pair[0]):
        data = tensor.detach().cpu().contiguous()
        whole.update(f"{key} {data.dtype} {tuple(data.shape)}\n".encode())
        whole.update(data.reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def print_of(pipe: Any, at_first: Mapping[str, str], known: dict[str, Any]) -> str:
    """sha256 over a pipeline in memory.

    at_first: its switches when it was opened; only those that are others now count. known: what the last call found of the
    weights, so that they are hashed again only if they are others; it is written to. As they were when the pipeline was opened
    (`opened`), their hash may be known from another process, by the files (`files`).
    """
    now = glance(pipe)
    if known.get("glance") != now:
        as_opened = "opened" in known and known["opened"][0] == now
        found = remembered(known.get("files") if as_opened else None, lambda: weights_print(pipe))
        known["glance"], known["weights"] = now, found
    switched = {key: value for key, value in switches_of(pipe).items() if at_first.get(key) != value}
    whole = [READING, type(pipe).__name__, known["weights"], switched, *configured(pipe)]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()
