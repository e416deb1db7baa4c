"""The requests of one priority that wait, and what they may expect."""

from __future__ import annotations

from typing import Generic

from services.inference.scheduling.batching import R
from services.inference.scheduling.lines import Lines
from services.inference.scheduling.plan import Plan
from wintergarden.errors import Overloaded


class Level(Generic[R]):
    """Requests of one priority.

    Attributes:
        policy: what they may expect.
        full: told to those that find no room.
        punctual: requests in time.
        delayed: requests whose time is over, where that delays them.
    """

    def __init__(self, plan: Plan, priority: int, label: str) -> None:
        """`label` is what messages call the model."""
        self.policy = plan.policy(priority)
        of = f" of priority {priority}" if plan.priority_levels else ""
        self.full = Overloaded(
            f"{label}: {self.policy.max_waiting} requests{of} wait already, the most allowed"
        )
        self.punctual: Lines[R] = Lines(keeps_order=plan.preserves_order)
        self.delayed: Lines[R] = Lines(keeps_order=plan.preserves_order)

    @property
    def is_full(self) -> bool:
        limit = self.policy.max_waiting
        return limit > 0 and self.punctual.requests + self.delayed.requests >= limit

    def timeout_us(self, wished_us: int) -> int:
        """How long a request may wait that wishes to wait so long; 0: for ever, in both."""
        allowed_us = self.policy.timeout_us
        if wished_us > 0 and self.policy.allows_override:
            return min(wished_us, allowed_us) if allowed_us else wished_us
        return allowed_us
