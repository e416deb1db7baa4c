"""How a model version is run, as found out and configured when it was loaded.

The words are those of Triton's `ModelDynamicBatching`, `ModelQueuePolicy` and
`ModelRateLimiter`; only numbers and names here, no protocol messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class QueuePolicy:
    """What a request that waits may expect.

    Attributes:
        timeout_us: how long it may wait; 0: for ever.
        timeout_action: REJECT refuses it the moment the time is over; DELAY lets it stand
            behind all others of its priority.
        allows_override: a request may ask for less time than `timeout_us`, never for more.
        max_waiting: requests of this priority that may wait; 0: as many as the model has room for.
    """

    timeout_us: int = 0
    timeout_action: Literal["REJECT", "DELAY"] = "REJECT"
    allows_override: bool = True
    max_waiting: int = 0


@dataclass(frozen=True)
class Resource:
    """What a run holds of a resource of the server while it runs.

    Attributes:
        name: of the resource.
        count: how much of it.
        is_global: there is one of that name for the whole server, not one for each device.
    """

    name: str
    count: int
    is_global: bool = False


@dataclass(frozen=True)
class Plan:
    """How a model version is run. The defaults take whatever waits and run it, in order.

    Attributes:
        inputs: names of the inputs, in the order of a request's feeds.
        max_rows: rows of one run, at most. 0: an answer may depend on more than its own row, so
            every request runs alone and whole.
        inline_rows: runs of up to this many rows are over so soon that the thread that brings
            the requests does them itself; 0: none is. Where requests must wait (a queue delay,
            priority levels, a kept order, resources), none is either.
        inline_limit_us: an inline run that takes longer than this moves the model to a thread of
            its own, until its runs are short again; 0: never.
        threads: how many other runs may go on at once.
        gives_way: those threads leave the processor to whoever wakes up: their runs are long.
        max_waiting: requests that may wait for one of those threads.
        oversized: what becomes of a request of more than `max_rows` rows: it runs in pieces, or
            is refused.
        preferred_rows: sizes of runs to prefer where more waits than one of them.
        max_queue_delay_us: how long a run that is smaller than any preferred size, or than
            `max_rows` where none is preferred, waits for company.
        preserves_order: answers leave in the order in which the requests came.
        priority_levels: 1 is the most urgent; 0: all are alike.
        default_priority: of a request that names none, or one that does not exist.
        queue_policy: of every priority without a policy of its own.
        priority_policies: by priority.
        resources: what every run holds; it waits until it has them.
        rate_priority: where models compete for resources, one of 2 gets half the runs of one of
            1. 0 counts as 1.
        device: whose resources are meant, where they are not global.
    """

    inputs: tuple[str, ...]
    max_rows: int = 64
    inline_rows: int = 0
    inline_limit_us: int = 0
    threads: int = 1
    gives_way: bool = False
    max_waiting: int = 1024
    oversized: Literal["split", "refuse"] = "split"
    preferred_rows: tuple[int, ...] = ()
    max_queue_delay_us: int = 0
    preserves_order: bool = False
    priority_levels: int = 0
    default_priority: int = 0
    queue_policy: QueuePolicy = field(default_factory=QueuePolicy)
    priority_policies: Mapping[int, QueuePolicy] = field(default_factory=dict)
    resources: tuple[Resource, ...] = ()
    rate_priority: int = 0
    device: str = "cpu"

    @property
    def is_queued(self) -> bool:
        """Requests must wait for something, so that none may run at once."""
        return bool(
            not self.inline_rows
            or self.max_queue_delay_us
            or self.priority_levels > 1
            or self.preserves_order
            or self.resources
        )

    def policy(self, priority: int) -> QueuePolicy:
        return self.priority_policies.get(priority, self.queue_policy)
