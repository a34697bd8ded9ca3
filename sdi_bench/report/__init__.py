"""One page of all that a folder holds: reading, then a module for each part of the page, then page; page.* is its HTML."""

from .page import draw, prepare

__all__ = ["draw", "prepare"]
