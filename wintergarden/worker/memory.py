"""How much memory a job uses, and how much there is: as the kernel of Linux counts it.

A limit on address space (RLIMIT_AS) would not do: CUDA and PyTorch's allocators reserve many times
what they use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MIB = 1 << 20

_PROC = Path("/proc")
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),  # version 2, as a container sees its own
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # version 1
)
_AFTER_NAME_PGRP = 2  # fields of /proc/<pid>/stat after the name: state, parent, group


def used_by_group(group: int) -> int:
    """Bytes of memory that a process group occupies; 0 when it has ended, or is not Linux's.

    Each process's own pages and those it shares by purpose count; files mapped into several of
    them, such as libraries, count once.
    """
    own, mapped = 0, 0
    for pid in _members(group):
        with suppress(OSError, ValueError):
            status = _fields(_PROC / str(pid) / "status")
            own += status.get("RssAnon", 0) + status.get("RssShmem", 0)
            mapped = max(mapped, status.get("RssFile", 0))
    return own + mapped


def available_memory_mb() -> int:
    """Mebibytes that this machine, or this container, has in all; 0 where it does not tell."""
    known = [total] if (total := _total()) else []
    for limit in _LIMITS:
        with suppress(OSError, ValueError):  # "max" is none
            known.append(int(limit.read_text()))
    return min(known, default=0) // MIB


def _total() -> int:
    with suppress(OSError, ValueError):
        return _fields(_PROC / "meminfo").get("MemTotal", 0)
    return 0


def _members(group: int) -> Iterator[int]:
    with suppress(OSError), os.scandir(_PROC) as entries:
        for entry in entries:
            if not entry.name.isdigit():
                continue
            with suppress(OSError, ValueError, IndexError):
                after_name = (_PROC / entry.name / "stat").read_text().rpartition(")")[2].split()
                if int(after_name[_AFTER_NAME_PGRP]) == group:
                    yield int(entry.name)


def _fields(path: Path) -> dict[str, int]:
    """Lines such as `RssAnon:   1024 kB`, in bytes."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value.split()[0]) << 10
    return found
