"""Requests that no client should send: typed errors, and a server as good as new."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(3600)

FUZZ = Path(__file__).with_name("fuzz.py")
SEED = 3


def test_hostile_requests_meet_typed_errors_and_leave_nothing_behind(
    place, sizes, transport, tmp_path
):
    size = sizes.fuzz
    (tmp_path / "store" / "models").mkdir(parents=True)
    (tmp_path / "files").mkdir()
    server = place.serve(
        *("--transport", transport, "--model-control", "explicit", "--system-shared-memory"),
        *("--log-directory", str(tmp_path / "files"), "--trace-directory", str(tmp_path / "files")),
    )
    warm = size.requests // 5
    assert fuzz(server, warm, SEED)["faults"] == []
    before_mb, started = server.rss_mb(), time.monotonic()
    seen = fuzz(server, size.requests - warm, SEED + 1)
    growth_mb = server.rss_mb() - before_mb
    place.report(
        transport=transport,
        requests=seen["requests"] + warm,
        codes=seen["codes"],
        growth_mb=growth_mb,
        seconds=time.monotonic() - started,
    )
    assert seen["faults"] == []
    assert seen["requests"] == size.requests - warm
    assert seen["codes"]["OK"] > 0 < seen["codes"]["INVALID_ARGUMENT"]
    assert growth_mb <= size.most_growth_mb
    server.stop()  # in good order


def fuzz(server, requests, seed):
    """What the client saw."""
    ran = subprocess.run(
        [sys.executable, FUZZ, server.address, "--requests", str(requests), "--seed", str(seed)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:] + server.log.read_text()[-4000:]
    return json.loads(ran.stdout)
