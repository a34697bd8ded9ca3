"""torchvision, where it is installed, can be imported beside a CPU torch: by diffusers, transformers, torchmetrics, clean-fid.

Its wheels are built for CUDA. Beside a CPU torch two compiled operators are missing, and its import fails, and with it theirs.
Once they are declared it succeeds; nothing here calls them. Nothing is imported before somebody asks for torchvision.
"""

import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

NAME = "torchvision"
DECLARED: list[Any] = []
"""Libraries of operators: what they declare lives as long as they do."""


class Loader(SourceFileLoader):
    """Runs the module; where its operators are missing, declares them and runs it again."""

    def exec_module(self, module: ModuleType) -> None:
        try:
            super().exec_module(module)
        except RuntimeError as error:
            if f"operator {NAME}::" not in str(error):
                raise
            import torch

            library = torch.library.Library(NAME, "FRAGMENT")
            DECLARED.append(library)
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            super().exec_module(module)


class Finder(MetaPathFinder):
    """Gives torchvision, and nothing else, to `Loader`."""

    def find_spec(self, fullname: str, path: Iterable[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, None if path is None else [*path], target) if fullname == NAME else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


sys.meta_path.insert(0, Finder())
