"""Ratios between servers on one machine in one run; never absolute times."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CONTENDERS = ("wintergarden", "wintergarden gateway", "wintergarden unbatched", "mlserver", "mosec")

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Medians of LeNet at 32 requests at once, by client and server."""
    out = tmp_path_factory.mktemp("serving") / "results.jsonl"
    flags = ("--only", ",".join(CONTENDERS), "--rounds", "3", "--seconds", "4", "--out", out)
    # A process of its own, so that its plainly named modules stay out of this one.
    subprocess.run([sys.executable, HERE / "side_by_side.py", *flags], check=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert not [row["failed"] for row in rows if "failed" in row]
    spec = importlib.util.spec_from_file_location("bench_table", HERE / "table.py")
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    return {(key.client, key.label): m for key, m in table.medians(rows).items()}


@pytest.fixture(params=["python", "h2load"])
def by_server(request, results):
    found = {label: m for (client, label), m in results.items() if client == request.param}
    if not found:
        pytest.skip("h2load is not installed (Debian: nghttp2-client)")
    return found


def test_every_answer_is_right(results):
    assert {key: m["bad"] for key, m in results.items() if m["bad"]} == {}


def test_five_times_mlserver(by_server):
    ours, theirs = by_server["wintergarden"], by_server["mlserver"]
    assert ours["requests_per_s"] >= 5 * theirs["requests_per_s"]


def test_as_frugal_as_the_fastest_peer(results):
    """With clients that cost little, for a server's batches grow with what its clients send."""
    client = "h2load" if ("h2load", "mosec") in results else "python"
    if client == "python":
        pytest.skip("h2load is not installed (Debian: nghttp2-client)")
    ours, theirs = results[client, "wintergarden"], results[client, "mosec"]
    assert ours["server_us"] <= 1.25 * theirs["server_us"]
    assert ours["requests_per_s"] >= 0.9 * theirs["requests_per_s"]


def test_batching_beats_no_batching(by_server):
    batched, alone = by_server["wintergarden"], by_server["wintergarden unbatched"]
    assert batched["server_us"] < alone["server_us"]
