"""Where the clients' channels go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest

from wintergarden.cli.checks import _health
from wintergarden.client import connect, connect_async
from wintergarden.client.channel import options_for
from wintergarden.wire.pool import methods

READY = methods("inference.GRPCInferenceService")["ServerReady"]


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server that is ready, on a machine whose proxy is not there."""
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    class Ready(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            if details.method == READY.path:
                answer = READY.response(ready=True).SerializeToString()
            elif details.method == "/grpc.health.v1.Health/Check":
                answer = b"\x08\x01"
            else:
                return None
            return grpc.unary_unary_rpc_method_handler(lambda request, context: answer)

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(Ready(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_not_reached_through_a_proxy(port: int, host: str) -> None:
    address = f"{host}:{port}"
    with connect(address, retry_for_s=0) as client:
        assert client.is_server_ready()

    async def ask() -> bool:
        async with connect_async(address, retry_for_s=0) as client:
            return await client.is_server_ready()

    assert asyncio.run(ask())
    assert _health(address)


@pytest.mark.parametrize(
    ("address", "is_direct"),
    [("[::1]:8500", True), ("127.1.2.3:8500", True), ("10.0.0.1:8500", False), ("host", False)],
)
def test_other_machines_are_as_the_environment_says(address: str, is_direct: bool) -> None:
    assert (("grpc.enable_http_proxy", 0) in options_for(address)) == is_direct
