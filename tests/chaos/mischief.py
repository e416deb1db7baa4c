"""What happens to a deployment's processes, at random but repeatably."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import psutil

from tests.chaos.system import LEASE_S, System

_BETWEEN_S = (0.5, 4.0)


class Mischief:
    """One deed after another, each of which a deployment has to bear.

    Whatever was ended is started again at once, as any supervisor would.
    """

    def __init__(self, system: System, seed: int) -> None:
        self._system = system
        self._random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self._deeds: list[tuple[int, Callable[[], bool]]] = [
            (4, self._kill_worker),
            (4, self._kill_child),
            (2, self._kill_gateway),
            (2, self._kill_redis),
            (2, self._pause_worker),
            (2, self._pause_child),
        ]

    def go_on(self, seconds: float, is_enough: Callable[[], bool] = lambda: False) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not is_enough():
            time.sleep(self._random.uniform(*_BETWEEN_S))
            weights, deeds = zip(*self._deeds, strict=True)
            deed = self._random.choices(deeds, weights)[0]
            if deed():
                self.done[deed.__name__.lstrip("_")] += 1
            self.repair()

    def repair(self) -> None:
        for process in (self._system.gateway, *self._system.workers):
            process.restart_if_ended()

    def _kill_worker(self) -> bool:
        self._random.choice(self._system.workers).kill()
        return True

    def _kill_child(self) -> bool:
        child = self._child()
        if child is None:
            return False
        with suppress(psutil.NoSuchProcess):
            child.kill()
        return True

    def _kill_gateway(self) -> bool:
        self._system.gateway.kill()
        return True

    def _kill_redis(self) -> bool:
        self._system.redis.kill()
        time.sleep(self._random.uniform(0, 2 * LEASE_S))
        self._system.redis.start()
        return True

    def _pause_worker(self) -> bool:
        worker = self._random.choice(self._system.workers)
        worker.send(signal.SIGSTOP)
        time.sleep(self._random.uniform(LEASE_S, 2.5 * LEASE_S))
        worker.send(signal.SIGCONT)
        return True

    def _pause_child(self) -> bool:
        child = self._child()
        if child is None:
            return False
        with suppress(psutil.NoSuchProcess):
            child.suspend()
            time.sleep(self._random.uniform(LEASE_S, 2.5 * LEASE_S))
            child.resume()
        return True

    def _child(self) -> psutil.Process | None:
        children = [child for worker in self._system.workers for child in worker.children()]
        return self._random.choice(children) if children else None
