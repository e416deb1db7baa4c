"""When to try again, and when to stop."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from wintergarden.errors import Unavailable, WintergardenError

FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 1.0


class Patience:
    """Exponential back-off with full jitter, until `total_s` have passed since the last success.

    Only `Unavailable` is worth another try: the server did not do the work. Jitter, so that
    clients of a restarted server do not return in step (Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).
    """

    def __init__(self, total_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._total_s = total_s
        self._clock = clock
        self.renew()

    def renew(self) -> None:
        """It worked: the next failure starts anew."""
        self._give_up_at = self._clock() + self._total_s
        self._delay_s = FIRST_DELAY_S

    def delay_s(self, error: WintergardenError) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            WintergardenError: `error` itself, when trying again is of no use.
        """
        remaining_s = self._give_up_at - self._clock()
        if not isinstance(error, Unavailable) or remaining_s <= 0:
            raise error
        delay_s = min(self._delay_s, remaining_s) * random.uniform(0.5, 1)
        self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)
        return delay_s
