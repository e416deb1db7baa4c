"""Ends this process when the one that supervises it has ended, however that came about.

`PR_SET_PDEATHSIG` alone does not do: it follows the *thread* that forked, and survives neither a
supervisor that re-parents nor macOS. Here the process watches its supervisor itself.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

SUPERVISOR_VARIABLE = "WINTERGARDEN_SUPERVISOR_PID"
_POLL_S = 0.5


def watch_supervisor(on_orphaned: Callable[[], None]) -> None:
    """Call `on_orphaned` once, from a thread, when the supervisor named in the environment ends.

    Without the variable nobody supervises, and nothing is watched.
    """
    value = os.environ.get(SUPERVISOR_VARIABLE, "")
    if not value:
        return
    pid = int(value)

    def watch() -> None:
        _wait_for_end(pid)
        on_orphaned()

    threading.Thread(target=watch, name="orphan guard", daemon=True).start()


def _wait_for_end(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # neither every system nor every sandbox has it
        while _exists(pid):
            time.sleep(_POLL_S)
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll()
    os.close(descriptor)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
