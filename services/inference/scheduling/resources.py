"""Resources of the server that runs hold while they run: Triton's rate limiter.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/rate_limiter.md

A resource is a name and a number, nothing more; it bounds what runs at the same time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count

from services.inference.scheduling.plan import Resource
from wintergarden.errors import FailedPrecondition

_Key = tuple[str, str]  # name and device; "" for the one of the whole server
_EVERYWHERE = ""


class Need:
    """What the runs of one model hold, and how often it has run; made by `ResourcePool.admit`."""

    def __init__(self, amounts: Mapping[_Key, int], priority: int) -> None:
        self.amounts = amounts
        self.priority = priority
        self.runs = 0


class _Turn:
    """A run that waits for its resources."""

    def __init__(self, need: Need, order: tuple[int, int]) -> None:
        self.need = need
        self.order = order
        self.is_granted = False


class ResourcePool:
    """Hands resources to runs, in turn.

    Of runs that compete, the one goes first whose model has had the fewest runs for its priority:
    a model of priority 2 gets half the runs of one of priority 1. Nobody overtakes on a resource
    that a run with an earlier turn waits for, so that the greedy are not starved by the modest.
    """

    def __init__(self, limits: Mapping[str, int] | None = None) -> None:
        """`limits` is how much there is by name, for each device; of a name that is not in it,
        as much as the model that needs most of it.
        """
        self._limits = dict(limits or {})
        self._needs: set[Need] = set()
        self._held: Counter[_Key] = Counter()
        self._turns: list[_Turn] = []
        self._serial = count()
        self._changed = threading.Condition()

    def admit(
        self, resources: Sequence[Resource], *, device: str, priority: int, label: str
    ) -> Need:
        """Take on a model whose every run will hold `resources`.

        Args:
            resources: of one run.
            device: whose they are, where they are not global.
            priority: 1 gets the most runs; 0 counts as 1.
            label: what messages call the model.

        Raises:
            FailedPrecondition: there will never be that much.
        """
        amounts: Counter[_Key] = Counter()
        for resource in resources:
            amounts[resource.name, _EVERYWHERE if resource.is_global else device] += resource.count
        for (name, _), amount in amounts.items():
            limit = self._limits.get(name)
            if limit is not None and amount > limit:
                raise FailedPrecondition(
                    f"{label}: a run needs {amount} of resource {name!r}, "
                    f"and this server has {limit}"
                )
        need = Need(amounts, max(1, priority))
        with self._changed:
            # No fewer than those who compete already, or it would have every turn until it has
            # caught up.
            need.runs = min((n.runs * n.priority for n in self._needs), default=0) // need.priority
            self._needs.add(need)
        return need

    def dismiss(self, need: Need) -> None:
        """The model is unloaded; runs that it still has get their turns all the same."""
        with self._changed:
            self._needs.discard(need)

    @contextmanager
    def hold(self, need: Need) -> Iterator[None]:
        """Wait for the resources of a run, and give them back after it."""
        with self._changed:
            turn = _Turn(need, (need.runs * need.priority, next(self._serial)))
            need.runs += 1
            self._turns.append(turn)
            self._turns.sort(key=lambda t: t.order)
            self._grant()
            while not turn.is_granted:
                self._changed.wait()
        try:
            yield
        finally:
            with self._changed:
                self._held.subtract(need.amounts)
                self._grant()

    def _grant(self) -> None:
        awaited: set[_Key] = set()
        for turn in list(self._turns):
            amounts = turn.need.amounts
            if awaited.isdisjoint(amounts) and all(
                self._held[key] + amount <= self._limit(key, amount)
                for key, amount in amounts.items()
            ):
                self._held.update(amounts)
                self._turns.remove(turn)
                turn.is_granted = True
            else:
                awaited.update(amounts)
        self._changed.notify_all()

    def _limit(self, key: _Key, amount: int) -> int:
        limit = self._limits.get(key[0])
        if limit is not None:
            return limit
        # At least what is asked for: the model may have been dismissed with runs to go.
        return max(amount, *(need.amounts.get(key, 0) for need in self._needs), 0)
