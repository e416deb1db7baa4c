"""Whether the thread that brings requests may run a model itself.

That thread brings the requests of every model: while it runs one, all others wait. What was
measured when a model was loaded decides at first, what its runs take since then decides after.
"""

from __future__ import annotations

from services.inference.scheduling.plan import Plan

# A run may be long because the system gave the processor to somebody else. So it takes several
# long runs among few to be sure, or one that is longer than that explains.
_LONG_RUN = 2
_SHORT_RUN = -1
_SURE = 8
_FAR_TOO_LONG = 16
_SHORT_RUNS = 64
_MOST_SHORT_RUNS = 4096
_NS_PER_US = 1_000


class InlineAllowance:
    """How many rows a model version may run inline now.

    Attributes:
        rows: 0 while it has to run on a thread of its own.
    """

    def __init__(self, plan: Plan) -> None:
        self.rows = self._granted = 0 if plan.is_queued else plan.inline_rows
        self.limit_ns = plan.inline_limit_us * _NS_PER_US
        self._suspicion = 0
        self._proof = _SHORT_RUNS // 2
        self._short_runs = 0

    def ran_inline(self, ns: int) -> None:
        """A run on the thread that brings requests took so long."""
        if not self.limit_ns:
            return
        if ns <= self.limit_ns:
            if self._suspicion:
                self._suspicion += _SHORT_RUN
            return
        self._suspicion += _LONG_RUN
        if self._suspicion >= _SURE or ns > _FAR_TOO_LONG * self.limit_ns:
            self.rows = self._suspicion = self._short_runs = 0
            # Who is long now and then has to prove more each time.
            self._proof = min(2 * self._proof, _MOST_SHORT_RUNS)

    def ran_apart(self, rows: int, ns: int) -> None:
        """A run of so many rows on a thread of the model's own took so long."""
        if self.rows or rows > self._granted:
            return
        self._short_runs = self._short_runs + 1 if ns <= self.limit_ns else 0
        if self._short_runs >= self._proof:
            self.rows = self._granted
