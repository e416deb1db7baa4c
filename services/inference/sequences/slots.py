"""Which sequences go on, which wait for a place, and which have nothing to do.

Knows no requests, no clock and no lock: `SequenceScheduler` brings all three.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic

from services.inference.scheduling.batching import R
from services.inference.sequences.step import Slot


class Slots(Generic[R]):
    """The slots by correlation id, each a candidate or in the backlog."""

    def __init__(self, max_candidates: int, max_idle_ns: int) -> None:
        self._max_candidates = max_candidates
        self._max_idle_ns = max_idle_ns
        self._slots: dict[int | str, Slot[R]] = {}
        self._backlog: deque[Slot[R]] = deque()
        self._idle: OrderedDict[Slot[R], None] = OrderedDict()  # the longest first
        self._candidates = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Slot[R]]:
        return iter(self._slots.values())

    def __contains__(self, sequence_id: int | str) -> bool:
        return sequence_id in self._slots

    @property
    def has_backlog(self) -> bool:
        return bool(self._backlog)

    def get(self, sequence_id: int | str) -> Slot[R] | None:
        return self._slots.get(sequence_id)

    def add(self, sequence_id: int | str) -> Slot[R]:
        """A new slot, last of those that wait for a place."""
        slot = self._slots[sequence_id] = Slot[R](sequence_id)
        self._backlog.append(slot)
        return slot

    def promote(self) -> Slot[R] | None:
        """Gives a place to the first that waits for one, if there is any."""
        if not self._backlog or self._candidates >= self._max_candidates:
            return None
        slot = self._backlog.popleft()
        slot.is_candidate = True
        self._candidates += 1
        return slot

    def demote(self, slot: Slot[R]) -> None:
        """Takes a candidate's place; it is the last to get one again."""
        slot.is_candidate = False
        self._candidates -= 1
        self._backlog.append(slot)

    def tidy(self) -> None:
        """Make of gaps side by side one; who waits for a place with nothing but gaps is gone.

        A slot that waits for a place has no states, and so nothing that a gap could end.
        """
        for slot in list(self._slots.values()):
            if None not in slot.queue:
                continue
            follows_gap = not slot.is_candidate
            kept: deque[R | None] = deque()
            for request in slot.queue:
                if request is not None or not follows_gap:
                    kept.append(request)
                follows_gap = request is None
            slot.queue = kept
            if not kept and not slot.is_candidate:
                del self._slots[slot.id]
        self._backlog = deque(slot for slot in self._backlog if slot.queue)

    def release(self, slot: Slot[R]) -> None:
        """A candidate has ended; whoever comes with its id gets another slot."""
        del self._slots[slot.id]
        slot.is_candidate = False
        self._candidates -= 1

    def rest(self, slot: Slot[R], now_ns: int) -> int:
        """A candidate has nothing to do from now on; when the first of all such is to end."""
        slot.idle_since_ns = now_ns
        self._idle[slot] = None
        return next(iter(self._idle)).idle_since_ns + self._max_idle_ns

    def wake(self, slot: Slot[R]) -> None:
        self._idle.pop(slot, None)

    def expire(self, now_ns: int) -> int | None:
        """Releases what has been idle for too long; when the next one is to end."""
        for slot in list(self._idle):
            due_ns = slot.idle_since_ns + self._max_idle_ns
            if due_ns > now_ns:
                return due_ns
            del self._idle[slot]
            self.release(slot)
        return None
