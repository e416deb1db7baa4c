"""Whichever process a connection leads to, the answer is the server's; and how processes end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest

from wintergarden.wire import open_inference_pb2 as pb

SERVICE = "inference.GRPCInferenceService"
X = np.array([[1.0, 2.0, 3.0]], np.float32)
NEG = "neg (float[n, 3] x) => (float[n, 3] y) { y = Neg (x) }"
SCALED = """scaled (float[n, 3] x) => (float[n, 3] y) <float f = {%s}> { y = Mul (x, f) }"""

pytestmark = pytest.mark.parametrize("world", ["native"], indirect=True)


def test_ready_together_and_counted_together(world: Any, serve: Any) -> None:
    world.publish("neg", NEG)
    service = serve()
    assert len(service.children()) == 2
    assert all(service.everybody(lambda c: c.is_serving()))
    for client in service.clients:
        assert client.ServerLive(pb.ServerLiveRequest()).live
        assert client.ServerReady(pb.ServerReadyRequest()).ready
        assert client.ModelReady(pb.ModelReadyRequest(name="neg", version="1")).ready
        for _ in range(3):
            np.testing.assert_array_equal(client.infer("neg"), -X)
    total = 3 * len(service.clients)
    for client in service.clients:
        (stats,) = client.ModelStatistics(pb.ModelStatisticsRequest(name="neg")).model_stats
        assert stats.inference_stats.success.count == stats.inference_count == total
        assert sum(b.compute_infer.count for b in stats.batch_stats) == stats.execution_count
        assert time.time() - stats.last_inference / 1e3 < 60
    assert service.metric("nv_inference_request_success", model="neg") == total
    assert service.metric("nv_inference_count", model="neg") == total
    assert service.metric("wintergarden_batch_rows_count", model="neg") == stats.execution_count
    assert service.metric("wintergarden_model_versions", state="ready") == 1
    assert service.metric("wintergarden_processes_ready") == 2
    infer_path = f"/{SERVICE}/ModelInfer"
    assert service.metric("wintergarden_calls_accepted_total", method=infer_path) == total
    for number in ("0", "1"):
        assert service.metric("wintergarden_process_resident_memory_bytes", process=number) > 1e6
    with urllib.request.urlopen(f"http://127.0.0.1:{service.metrics_port}/health") as answer:
        assert answer.status == 200
    # Errors pass as they are.
    with pytest.raises(grpc.RpcError) as caught:
        service.clients[0].ModelStatistics(pb.ModelStatisticsRequest(name="missing"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert "'missing'" in caught.value.details()


def test_a_new_version_answers_in_all_once_it_is_ready_in_one(world: Any, serve: Any) -> None:
    world.publish("m", SCALED % 1)
    service = serve()
    for version in (2, 3):
        world.publish("m", SCALED % version)
        first = service.clients[0]
        world.eventually(
            lambda v=version, c=first: (
                c.ModelReady(pb.ModelReadyRequest(name="m", version=str(v))).ready
            )
        )
        for answer in service.everybody(lambda c, v=version: c.infer("m", str(v))):
            np.testing.assert_array_equal(answer, X * version)
        for answer in service.everybody(lambda c: c.infer("m")):
            np.testing.assert_array_equal(answer, X * version)
        for states in service.everybody(lambda c: c.index(ready=True)):
            assert set(states) == {("m", str(v)) for v in range(1, version + 1)}
    world.store.delete("m", 3)
    world.eventually(
        lambda: all(("m", "3") not in states for states in service.everybody(lambda c: c.index()))
    )
    for answer in service.everybody(lambda c: c.infer("m")):
        np.testing.assert_array_equal(answer, X * 2)


def test_what_cannot_be_loaded_is_served_by_none(world: Any, serve: Any) -> None:
    world.publish("m", SCALED % 1)
    service = serve()
    world.publish("m", SCALED % 2, golden_shift=0.5)
    # Each process finds out for itself.
    world.eventually(
        lambda: all(
            states.get(("m", "2"), ("",))[0] == "UNAVAILABLE"
            for states in service.everybody(lambda c: c.index())
        )
    )
    for states in service.everybody(lambda c: c.index()):
        assert states["m", "1"] == ("READY", "")
        assert states["m", "2"][0] == "UNAVAILABLE"
        assert "golden" in states["m", "2"][1]
    for answer in service.everybody(lambda c: c.infer("m")):
        np.testing.assert_array_equal(answer, X)


def test_one_that_dies_is_replaced_and_the_others_go_on(world: Any, serve: Any) -> None:
    world.publish("neg", NEG)
    service = serve()
    victim, survivor = service.children()
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)
    # Connections to the dead one are made anew, and lead to the other.
    for client in service.connect():
        np.testing.assert_array_equal(client.infer("neg"), -X)
        assert client.ServerReady(pb.ServerReadyRequest()).ready
    world.eventually(lambda: service.metric("wintergarden_processes_ready") == 2, 30)
    assert survivor.pid in [child.pid for child in service.children()]
    assert len(service.children()) == 2
    survivor.send_signal(signal.SIGKILL)
    survivor.wait(10)
    for client in service.connect():
        np.testing.assert_array_equal(client.infer("neg"), -X)
    assert service.said("a process died and is started again")


def test_a_stop_drains_every_process(world: Any, serve: Any) -> None:
    world.publish("patient")
    service = serve()
    steps = np.array([[60_000]], np.float32)
    requests = [world.request("patient", {"x": steps}) for _ in service.clients]
    with ThreadPoolExecutor(len(service.clients)) as pool:
        answers = [
            pool.submit(client.ModelInfer, request, 60)
            for client, request in zip(service.clients, requests, strict=True)
        ]
        accepted = {"method": f"/{SERVICE}/ModelInfer"}
        world.eventually(
            lambda: (
                service.metric("wintergarden_calls_accepted_total", **accepted)
                == len(service.clients)
            )
        )
        children = service.children()
        service.process.send_signal(signal.SIGTERM)
        for answer in answers:
            np.testing.assert_array_equal(world.arrays(answer.result())["y"], steps)
    assert service.process.wait(30) == 0
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize("sent", [signal.SIGKILL], ids=["SIGKILL"])
def test_no_process_outlives_the_parent(world: Any, serve: Any, sent: int) -> None:
    world.publish("neg", NEG)
    service = serve()
    children = service.children()
    folders = [
        json.loads(child.environ()["WINTERGARDEN_INFERENCE_PROCESS"])["place"]["folder"]
        for child in children
    ]
    service.process.send_signal(sent)
    gone, alive = psutil.wait_procs(children, timeout=15)
    assert (len(gone), alive) == (2, [])
    assert not any(Path(folder).exists() for folder in folders)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", service.port))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--store-uri", "ftp://models"], "allowed are /path, file:///path and s3://bucket"),
        (["--address", "unix:/tmp/never.sock"], "--processes 1"),
        (["--address", "TAKEN"], "Address already in use"),
    ],
)
def test_what_it_cannot_start_with_is_said_in_a_line(
    world: Any, flags: list[str], said: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = [flag.replace("TAKEN", f"127.0.0.1:{port}") for flag in flags]
        command = [sys.executable, "-m", "services.inference", "--processes", "2"]
        command += ["--store-uri", str(world.folder / "store"), "--metrics-address", "127.0.0.1:0"]
        ended = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=30)
    assert ended.returncode != 0
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
