"""How many threads this process may really use.

ONNX Runtime counts the host's cores; in a container with a quota of two on a host of 64 that is
64 threads taking turns on two cores (modal-labs/modal-client#4120).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def available_threads() -> int:
    """Cores of this process: its CPU affinity, cut down to its cgroup's quota; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cgroup_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    if quota is None:
        return cores
    # Rounded down: one thread too many spends the quota early and then waits for its next period.
    return max(1, min(cores, int(quota)))


def cgroup_quota(membership: Path, root: Path) -> float | None:
    """The smallest CPU quota, in cores, of a process's cgroup and the cgroups above it.

    Args:
        membership: `/proc/<pid>/cgroup`.
        root: where the cgroup file systems are mounted; version 1 has a directory per controller.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            quotas += [_quota_v2(d) for d in _upwards(root, group)]
        elif "cpu" in controllers.split(","):
            for mount in (root / controllers, root / "cpu"):
                quotas += [_quota_v1(d) for d in _upwards(mount, group)]
    return min((q for q in quotas if q is not None), default=None)


def _upwards(mount: Path, group: str) -> Iterator[Path]:
    """A cgroup's directory and its parents'; in a container `group` may lie outside the mount."""
    path = PurePosixPath(group.lstrip("/"))
    for part in (path, *path.parents):
        if ".." not in part.parts:
            yield mount / part


def _quota_v2(directory: Path) -> float | None:
    try:
        quota, period = (directory / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(directory: Path) -> float | None:
    try:
        quota = int((directory / "cpu.cfs_quota_us").read_text())
        period = int((directory / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
