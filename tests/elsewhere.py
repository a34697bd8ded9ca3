"""A device that is only pretended: tensors there are ordinary ones, but refuse what those of a GPU refuse."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
"""What it is called: a name that torch knows and nobody uses here."""

NAMES = ("meta", "cpu", DEVICE, torch.device("cpu"))
GETTERS = {torch.Tensor.device.__get__, torch.Tensor.is_cuda.__get__}  # type: ignore[attr-defined]
FREE = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)
"""May take indices, and set values, from the CPU."""


def there(value: Any) -> bool:
    """A tensor on the device."""
    return getattr(value, "_there", False) is True


class Elsewhere(TorchFunctionMode):
    """Follows which tensors are on the device. RuntimeError where they meet tensors of the CPU, TypeError for `.numpy()`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        marked = any(there(value) for value in given)
        if func in GETTERS:
            return DEVICE if marked else func(*args, **kwargs)
        if func is torch.Tensor.numpy and marked:
            raise TypeError("can't convert device tensor to numpy. Use Tensor.cpu() first")
        named = [value for value in (*args, *kwargs.values()) if isinstance(value, str | torch.device) and value in NAMES]
        target = torch.device(named[0]) if named else None
        if target == DEVICE:
            args = tuple("cpu" if value is named[0] else value for value in args)
            kwargs = {name: "cpu" if value is named[0] else value for name, value in kwargs.items()}
        moves = func in (torch.Tensor.to, torch.Tensor.cpu)
        if marked and not moves and func not in FREE and any(not there(value) and value.ndim for value in given):
            raise RuntimeError(f"{func.__name__}: expected all tensors to be on the same device")
        result = func(*args, **kwargs)
        if func is torch.Tensor.cpu or (target is not None and target != DEVICE):
            marked = False
        elif target == DEVICE or (func is torch.Tensor.to and any(there(value) for value in given[1:])):
            marked = True
        elif func is torch.Tensor.to and len(given) > 1:
            marked = there(given[1])

        def mark(value: Any) -> Any:
            if isinstance(value, torch.Tensor) and there(value) != marked:
                if any(value is one for one in given):  # .to gave the same object: another one, so that the old keeps its place
                    value = value.view_as(value)
                value._there = marked  # type: ignore[attr-defined]
            return value

        return tree_map(mark, result)


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """The device, while it lasts."""
    with Elsewhere():
        yield DEVICE
