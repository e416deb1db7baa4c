"""The service as a process: `python -m services.inference`."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import grpc
import pytest

from wintergarden.wire.pool import methods

LIVE = methods("inference.GRPCInferenceService")["ServerLive"]


@contextmanager
def running(*flags):
    process = subprocess.Popen(
        [sys.executable, "-m", "services.inference", "--address", "127.0.0.1:0", *flags],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "INFERENCE_METRICS_ADDRESS": "127.0.0.1:0"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def port_of(process):
    for line in process.stderr:
        if found := re.search(r"listening on 127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError(f"it ended with {process.wait()}")


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_it_serves_until_it_is_told_to_stop(tmp_path, transport):
    with running("--store-uri", str(tmp_path), "--transport", transport) as process:
        with grpc.insecure_channel(f"127.0.0.1:{port_of(process)}") as channel:
            call = channel.unary_unary(LIVE.path, response_deserializer=LIVE.response.FromString)
            assert call(b"", wait_for_ready=True, timeout=10).live
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "INFERENCE_STORE_URI: missing"),
        (["--store-uri", "ftp://models"], "allowed are /path, file:///path and s3://bucket"),
        (["--store-uri", "/tmp", "--address", "0.0.0.0:0"], "INFERENCE_INSECURE=true"),
        (["--store-uri", "/tmp", "--max-batch-rows", "0"], "INFERENCE_MAX_BATCH_ROWS: got '0'"),
    ],
)
def test_what_it_cannot_start_with_is_said_in_a_line(flags, said):
    with running(*flags) as process:
        _, errors = process.communicate(timeout=20)
        assert process.returncode != 0
        assert said in errors
        assert "Traceback" not in errors
