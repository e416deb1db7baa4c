"""Waits for space in the store: what was computed for hours is worth some minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from wintergarden.errors import StorageFull
from wintergarden.worker.control import Control

T = TypeVar("T")

SPACE_PATIENCE_S = 600.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
_LOOK_S = 0.1


def when_there_is_space(
    write: Callable[[], T],
    control: Control,
    phase: str,
    fraction: float,
    patience_s: float = SPACE_PATIENCE_S,
) -> T:
    """Writes, and while the store is full waits and writes again.

    Args:
        write: does all of it anew each time it is called.
        control: told of each wait.
        phase: that the job is in meanwhile.
        fraction: of the job that is done.
        patience_s: how long it waits.

    Raises:
        StorageFull: for longer than `patience_s`.
        Stopped: it was asked to.
    """
    give_up_at, wait_s = time.monotonic() + patience_s, _FIRST_WAIT_S
    while True:
        try:
            return write()
        except StorageFull as error:
            if time.monotonic() > give_up_at:
                raise
            control.log("warning", f"trying again in {wait_s:g} s: {error.message}")
            until = time.monotonic() + wait_s
            while time.monotonic() < until:
                control.check()
                time.sleep(_LOOK_S)
            control.progress(phase, fraction, int(time.monotonic()))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
