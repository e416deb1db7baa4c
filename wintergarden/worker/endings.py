"""How a job's process ended, in words for the user."""

from __future__ import annotations

import signal

from wintergarden.worker.child_process import ChildProcess

_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)


def describe_exit(
    code: int | None, child: ChildProcess, used_mb: int, process: str = "the training process"
) -> str:
    """One sentence.

    Args:
        code: its exit code, negative for a signal; None while it runs.
        child: the process.
        used_mb: mebibytes it used when last looked at; 0 is not known.
        process: what to call it.
    """
    if code is None:
        return f"{process} closed its output without a result"
    if code == 0:
        return f"{process} ended without a result"
    if code > 0:
        return f"{process} ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ""
    if -code == signal.SIGKILL and not child.was_killed:
        hint = ", not by its supervisor: most likely it ran out of memory"
    elif -code in _CRASHES:
        hint = ": a crash in compiled code"
    if hint and used_mb:
        hint += f" (it used {used_mb} MiB when last looked at)"
    return f"{process} was killed by {name}{hint}"


def quote(child: ChildProcess) -> str:
    """Its last log lines, to follow a sentence; empty where there are none."""
    lines = "\n".join(child.last_lines)
    return f"; its last log lines:\n{lines}" if lines else ""
