"""What `up` tells the rooms, and how long it lets them drain."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from wintergarden.cli.local.home import Home
from wintergarden.cli.local.ports import ports_from
from wintergarden.cli.local.services import environment, rooms

CALL = """
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    print(channel.unary_unary("/a/b")(b"", timeout=5))
"""


@pytest.mark.parametrize(
    ("grace_s", "stop_s"), [("", 25), ("3", 25), ("59.5", 65), ("long", 25), ("inf", 25)]
)
def test_a_room_is_killed_only_after_its_own_grace(
    monkeypatch: pytest.MonkeyPatch, grace_s: str, stop_s: int
) -> None:
    monkeypatch.setenv("EXPLANATION_WORKER_GRACE_S", grace_s)
    found = {room.name: room.stop_s for room in rooms(ports_from())}
    assert found.pop("explanation-worker") == stop_s
    assert set(found.values()) == {25}


def test_rooms_reach_one_another_past_a_proxy(tmp_path: Path) -> None:
    class Echo(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"here")

    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=(Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    variables = environment(Home(tmp_path), ports_from(), "redis://127.0.0.1")
    try:
        ran = subprocess.run(
            [sys.executable, "-c", CALL, f"127.0.0.1:{port}"],
            env={**os.environ, "http_proxy": "http://127.0.0.1:1", **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        server.stop(None).wait()
    assert ran.stdout == "b'here'\n", ran.stderr
