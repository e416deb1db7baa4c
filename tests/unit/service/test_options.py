from __future__ import annotations

import os

import pytest

from wintergarden.service.transport.options import ServerOptions


@pytest.mark.parametrize(("quota", "threads"), [(None, 2), (2.0, 1), (8.0, 2)])
def test_a_quota_of_few_cores_on_a_large_host_leaves_one_thread_for_http(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, threads: int
) -> None:
    cores = set(range(64))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cores, raising=False)
    monkeypatch.setattr("wintergarden.runtime.threads.cgroup_quota", lambda *paths: quota)
    assert ServerOptions().io_threads == threads
