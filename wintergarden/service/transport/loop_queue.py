"""What other threads have an event loop do: what comes before it looks costs one wake-up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class LoopQueue:
    """Calls for an event loop, in their order.

    `loop.call_soon_threadsafe` writes to a pipe each time, which also gives up the GIL: a thread
    that answers a whole batch would have to win it back after every answer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: deque[tuple[Callable[..., object], Any]] = deque()
        self._is_awake = False

    def put(self, function: Callable[..., object], *arguments: object) -> None:
        """Have the loop call a function soon; never, where it is closed."""
        self._calls.append((function, arguments))
        if self._is_awake:
            return
        self._is_awake = True  # two threads may get here: the second wake-up finds nothing
        try:
            self.loop.call_soon_threadsafe(self._run)
        except RuntimeError:  # the server stopped without waiting for who calls
            return

    def _run(self) -> None:
        self._is_awake = False  # before looking: what comes from now on wakes it again
        calls = self._calls
        for _ in range(len(calls)):
            function, arguments = calls.popleft()
            self.loop.call_soon(function, *arguments)
