"""Run a command that ends when its parent does, and only one of its kind at a time.

    python -m wintergarden.cli.local.leash --lock FILE [--nice N] [--leads] -- COMMAND…

A parent killed with SIGKILL cannot stop its children; Linux can (prctl(2), PR_SET_PDEATHSIG).
The signal follows the *thread* that forked, so leashed processes are started from main threads.
The lock lives as long as the process, through exec, so a successor waits for a predecessor that
is still finishing instead of opening the same data beside it.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import signal
import sys
from pathlib import Path

PARENT_VARIABLE = "WINTERGARDEN_SUPERVISOR_PID"
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="leash", description=__doc__)
    parser.add_argument("--lock", type=Path, required=True, help="held while the command runs")
    parser.add_argument("--nice", type=int, default=0, help="lower the priority by N (0 to 19)")
    parser.add_argument("--leads", action="store_true", help="the command starts leashed ones")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)

    tie_to_parent(int(os.environ[PARENT_VARIABLE]))
    if options.leads:
        os.environ[PARENT_VARIABLE] = str(os.getpid())  # exec keeps the number
    hold(options.lock)
    if options.nice:
        os.nice(options.nice)
    os.execvp(options.command[0], options.command)


def tie_to_parent(parent: int) -> None:
    """Have SIGTERM sent when the parent ends; exit if it has already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        sys.exit(f"leash: the parent {parent} has ended")


def hold(path: Path) -> None:
    """Wait for the lock, and keep it until this process, or what it becomes by exec, ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    os.set_inheritable(descriptor, True)


if __name__ == "__main__":
    main()
