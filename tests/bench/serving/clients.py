"""Ways to send one request and wait for its answer, as cheap as Python allows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc

Send = Callable[[bytes], Awaitable[bytes]]

SERVICE = "/inference.GRPCInferenceService/"
INFER = SERVICE + "ModelInfer"
_STREAM = SERVICE + "ModelStreamInfer"
CONNECTIONS = 4  # of a gRPC client; HTTP/1.1 needs one for each request in flight


def channels(target: str, count: int) -> list[grpc.aio.Channel]:
    """A channel for each of `count` workers; they share a few connections."""
    made = [
        grpc.aio.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.use_local_subchannel_pool", 1),
                ("wintergarden.bench.channel", i),
            ],
        )
        for i in range(min(CONNECTIONS, count))
    ]
    return [made[i % len(made)] for i in range(count)]


async def unary_senders(target: str, count: int) -> list[Send]:
    """Unary calls of ModelInfer."""

    def sender(channel: grpc.aio.Channel) -> Send:
        call = channel.unary_unary(INFER)
        return lambda body: call(body, timeout=60)

    return [sender(channel) for channel in channels(target, count)]


async def stream_senders(target: str, count: int) -> list[Send]:
    """A ModelStreamInfer for each worker."""

    def sender(channel: grpc.aio.Channel) -> Send:
        stream = channel.stream_stream(_STREAM)()

        async def send(body: bytes) -> bytes:
            await stream.write(body)
            answer = await stream.read()
            if answer is grpc.aio.EOF:
                raise RuntimeError(f"the stream ended: {await stream.details()}")
            return answer

        return send

    return [sender(channel) for channel in channels(target, count)]


async def http_senders(target: str, path: str, count: int) -> list[Send]:
    """POST of raw bytes over HTTP/1.1, one kept connection per sender."""
    host, port = target.rsplit(":", 1)
    loop = asyncio.get_running_loop()
    senders = []
    for _ in range(count):
        _, protocol = await loop.create_connection(lambda: _Http(target, path), host, int(port))
        senders.append(protocol.send)
    return senders


class _Http(asyncio.Protocol):
    """One request in flight; answers carry a content length."""

    def __init__(self, host: str, path: str) -> None:
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\n"
            "Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
        ).encode()
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    async def send(self, body: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(self._head % len(body) + body)
        return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        at = head.index(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        start = end + 4
        if len(self._received) < start + length:
            return
        body = bytes(self._received[start : start + length])
        self._received.clear()
        self._finish(body if b" 200 " in head[:20] else RuntimeError(body[:200]))

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(error or ConnectionError("closed by the server"))

    def _finish(self, result: bytes | Exception) -> None:
        if self._answer is None or self._answer.done():
            return
        if isinstance(result, Exception):
            self._answer.set_exception(result)
        else:
            self._answer.set_result(result)
