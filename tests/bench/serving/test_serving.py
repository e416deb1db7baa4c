"""Ratios between servers on one machine in one run; never absolute times."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CONTENDERS = ("wintergarden", "wintergarden gateway", "wintergarden unbatched", "mlserver", "mosec")
IN_PROCESS, BESIDE_TRAFFIC = "in process", "in process beside traffic"
PEERS = ("mlserver", "kserve", "pytriton")  # of the same protocol
MODELS = ("tiny", "lenet", "cnn", "lstm")

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]


def measure(out, contenders, *flags):
    """Medians by model, client, requests at once and server."""
    # A process of its own, so that its plainly named modules stay out of this one.
    flags = ("--only", ",".join(contenders), *flags, "--out", out)
    subprocess.run([sys.executable, HERE / "side_by_side.py", *flags], check=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert not [row["failed"] for row in rows if "failed" in row]
    spec = importlib.util.spec_from_file_location("bench_table", HERE / "table.py")
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    return {
        (key.model, key.client, key.concurrency, key.label): m
        for key, m in table.medians(rows).items()
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """LeNet at 32 requests at once, by client and server."""
    out = tmp_path_factory.mktemp("serving") / "results.jsonl"
    found = measure(out, CONTENDERS, "--rounds", "3", "--seconds", "4")
    return {(client, label): m for (_, client, _, label), m in found.items()}


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    """Every model at 1, 8 and 32 requests at once."""
    out = tmp_path_factory.mktemp("matrix") / "results.jsonl"
    contenders = ("wintergarden", *PEERS, IN_PROCESS, BESIDE_TRAFFIC)
    flags = ("--models", ",".join(MODELS), "-c", "1,8,32", "--rounds", "2", "--seconds", "2")
    return measure(out, contenders, *flags)


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


@pytest.mark.parametrize("at_once", [8, 32])
@pytest.mark.parametrize("model", MODELS)
def test_first_of_its_protocol(matrix, model, at_once):
    """Where the model takes nearly all the time, all who batch are alike but for noise."""
    ours = matrix[model, "python", at_once, "wintergarden"]["requests_per_s"]
    best = max(matrix[model, "python", at_once, peer]["requests_per_s"] for peer in PEERS)
    assert ours >= (0.95 if model == "cnn" else 1.0) * best


@pytest.mark.parametrize("at_once", [8, 32])
def test_a_model_that_takes_long_hardly_notices_the_server(matrix, at_once):
    ours = matrix["cnn", "python", at_once, "wintergarden"]["requests_per_s"]
    assert ours >= 0.9 * matrix["cnn", "python", at_once, IN_PROCESS]["requests_per_s"]


@pytest.mark.parametrize("model", MODELS)
def test_half_a_millisecond_at_most_is_added(matrix, model):
    """Beside a loop that has the same client to share the machine with."""
    ours = matrix[model, "python", 1, "wintergarden"]["p50_ms"]
    assert ours - matrix[model, "python", 1, BESIDE_TRAFFIC]["p50_ms"] <= 0.5


def test_four_fifths_of_the_rows_of_a_loop(tmp_path_factory):
    """LeNet in requests of 32 rows, beside a loop that shares the machine with the client."""
    out = tmp_path_factory.mktemp("rows") / "results.jsonl"
    contenders = ("wintergarden", BESIDE_TRAFFIC)
    flags = ("--rows", "32", "-c", "8,32", "--rounds", "2", "--seconds", "2")
    found = measure(out, contenders, *flags)
    for at_once in (8, 32):
        ours = found["lenet", "python", at_once, "wintergarden"]["rows_per_s"]
        assert ours >= 0.8 * found["lenet", "python", at_once, BESIDE_TRAFFIC]["rows_per_s"]
