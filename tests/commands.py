"""Commands in this process."""

import sys
from collections.abc import Callable

import pytest


def exit_status(monkeypatch: pytest.MonkeyPatch, main: Callable[[], None], *words: str) -> int:
    """The exit status of a command that is given these words."""
    monkeypatch.setattr(sys, "argv", ["command", *words])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
