"""A device that is none: tensors on the CPU that say they are elsewhere, so that what a GPU would do is seen without one.

While `Pretend` is entered, `device=DEVICE` and `.to(DEVICE)` mark a tensor, what is made of marked tensors is marked, and

- an operation on marked and unmarked tensors raises, as on a GPU (numbers on the host, of no dimension, may take part);
- NumPy gets no marked tensor;
- copies to the device, and whatever makes the host wait for it (a copy back, `.item()`, `bool()`, a mask as an index), are
  counted.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

DEVICE = "privateuseone:0"
_HERE = torch.device(DEVICE)

WAITING = {
    *(torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.__bool__, torch.Tensor.__float__, torch.Tensor.__int__),
    *(torch.Tensor.__index__, torch.Tensor.__contains__, torch.Tensor.nonzero, torch.nonzero, torch.Tensor.masked_select),
    *(torch.masked_select, torch.unique, torch.Tensor.unique, torch.equal, torch.Tensor.equal, torch.allclose),
    *(torch.Tensor.allclose, torch.Tensor.is_nonzero, torch.Tensor.__repr__, torch.Tensor.__format__),
}
"""What needs a number of the device's."""

COPYING = {torch.tensor, torch.as_tensor, torch.asarray}
"""What makes a tensor of numbers on the host."""

DEVICE_OF = torch.Tensor.device.__get__  # type: ignore[attr-defined]
INDEXING = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}
NUMPY = {torch.Tensor.numpy, torch.Tensor.__array__}


def marked(tensor: Tensor) -> bool:
    """Is it on the device?"""
    return getattr(tensor, "_elsewhere", False)


def mark(value: Any) -> Any:
    """Everything in a value is on the device from now on."""
    for tensor in tensors(value):
        tensor._elsewhere = True
    return value


def tensors(value: Any) -> Iterator[Tensor]:
    """Those in nested lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors(one)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


def is_here(value: Any) -> bool:
    """Does this name the device?"""
    try:
        return isinstance(value, str | torch.device) and torch.device(value).type == _HERE.type
    except RuntimeError:
        return False


def install(module: torch.nn.Module) -> torch.nn.Module:
    """A network, on the device."""
    for tensor in (*module.parameters(), *module.buffers()):
        mark(tensor)
    return module


class Pretend(TorchFunctionMode):
    """copies: to the device. waits: of the host for it."""

    def __init__(self) -> None:
        super().__init__()
        self.copies = self.waits = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [*tensors(args), *tensors(kwargs)]
        here = [tensor for tensor in given if marked(tensor)]
        if func == DEVICE_OF:
            return _HERE if here else func(*args, **kwargs)
        if func is torch.Tensor.to:
            return self.to(args, kwargs)
        if func is torch.Tensor.cpu:
            return self.to((args[0], "cpu"), {})
        if here and func in NUMPY:
            raise TypeError("a tensor of the device is given to numpy")
        if func in INDEXING and here:
            index = list(tensors(args[1]))
            self.copies += sum(not marked(one) for one in index)
            self.waits += sum(one.dtype == torch.bool for one in index)
        elif func is torch.Tensor.copy_ and len(here) == 1:
            self.copies += marked(args[0])
            self.waits += not marked(args[0])
            return func(*args, **kwargs)
        elif here:
            elsewhere = [tensor for tensor in given if not marked(tensor) and tensor.ndim]
            if elsewhere:
                raise RuntimeError(
                    f"{func.__name__}: tensors of two devices, {[list(one.shape) for one in elsewhere]} on the host"
                )
            self.waits += func in WAITING
        asked = is_here(kwargs.get("device"))
        if asked:
            kwargs["device"] = "cpu"
            self.copies += func in COPYING
        out = func(*args, **kwargs)
        return mark(out) if asked or (here and func not in (torch.Tensor.numpy,)) else out

    def to(self, args: Any, kwargs: dict[str, Any]) -> Tensor:
        """As Tensor.to."""
        tensor, *rest = args
        wanted = [kwargs.get("device"), kwargs.get("other"), *rest]
        names = [one for one in wanted if isinstance(one, str | torch.device | Tensor)]
        there = marked(tensor)
        if names:
            there = marked(names[0]) if isinstance(names[0], Tensor) else is_here(names[0])
        clean = ["cpu" if is_here(one) else one for one in rest]
        kwargs = {key: "cpu" if is_here(one) else one for key, one in kwargs.items()}
        out = tensor.to(*clean, **kwargs)
        if there != marked(tensor):
            self.copies += there
            self.waits += not there
            out = out.clone() if out is tensor else out
        return mark(out) if there else out
