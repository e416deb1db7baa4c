"""A small real gRPC server whose answers a test scripts, and both clients against it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from wintergarden.client import connect, connect_async
from wintergarden.wire.pool import Method, methods

SERVICES = (
    "inference.GRPCInferenceService",
    "wintergarden.v1.TrainingService",
    "wintergarden.v1.DatasetsService",
    "wintergarden.v1.ModelsService",
    "wintergarden.v1.ExplanationService",
)


class Scripted(grpc.GenericRpcHandler):
    """Answers by method name; a script takes (request, context) and returns or yields messages."""

    def __init__(self) -> None:
        self.scripts: dict[str, Callable[[Any, Any], Any]] = {}
        self.methods: dict[str, Method] = {
            method.path: method for service in SERVICES for method in methods(service).values()
        }

    def on(self, name: str, script: Callable[[Any, Any], Any]) -> None:
        self.scripts[name] = script

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = self.methods.get(handler_call_details.method)
        if method is None or method.name not in self.scripts:
            return None
        kind = (
            grpc.unary_stream_rpc_method_handler
            if method.is_server_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        return kind(
            self.scripts[method.name], method.request.FromString, method.response.SerializeToString
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Scripted]:
    scripted = Scripted()
    grpc_server = grpc.server(
        futures.ThreadPoolExecutor(8),
        handlers=(scripted,),
        options=[("grpc.max_receive_message_length", -1)],
    )
    scripted.address = f"unix:{tmp_path}/s"  # type: ignore[attr-defined]
    grpc_server.add_insecure_port(scripted.address)  # type: ignore[attr-defined]
    grpc_server.start()
    yield scripted
    grpc_server.stop(None).wait()


@pytest.fixture(params=["blocking", "asyncio"])
def ask(request: pytest.FixtureRequest, server: Any) -> Callable[[Callable[[Any], Any]], Any]:
    """`ask(lambda client: client.infer(…))`: the same question through either client."""

    def blocking(question: Callable[[Any], Any]) -> Any:
        with connect(server.address, retry_for_s=5) as client:
            answer = question(client)
            return list(answer) if isinstance(answer, Iterator) else answer

    async def asynchronous(question: Callable[[Any], Any]) -> Any:
        async with connect_async(server.address, retry_for_s=5) as client:
            answer = question(client)
            if hasattr(answer, "__aiter__"):
                return [item async for item in answer]
            return await answer

    if request.param == "blocking":
        return blocking
    return lambda question: asyncio.run(asynchronous(question))
