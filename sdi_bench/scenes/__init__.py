"""Scenes: what is optimised and how it is seen. In 2D the parameters are the image itself."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Scene(Protocol):
    """psi -> g(psi): parameters in, image out."""

    def init(self, x0: Tensor) -> Tensor:
        """Parameters whose image is x0 [batch, *shape]."""

    def render(self, params: Tensor) -> Tensor:
        """The image, [batch, *shape]."""

    def pull(self, params: Tensor, slope: Tensor) -> Tensor:
        """A gradient with respect to the image -> one with respect to the parameters."""


@dataclass(frozen=True)
class Image:
    """g(psi) = psi: the parameters are the image."""

    def init(self, x0: Tensor) -> Tensor:
        return x0

    def render(self, params: Tensor) -> Tensor:
        return params

    def pull(self, params: Tensor, slope: Tensor) -> Tensor:
        return slope
