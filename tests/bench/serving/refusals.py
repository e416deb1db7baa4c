"""Processor time of a refusal: by a bare grpc.aio server that aborts every call, and by ours.

python tests/bench/serving/refusals.py
python tests/bench/serving/refusals.py --rate 1600 --rounds 5

An open loop of calls in one process, the server in another; rounds take turns. A server cannot
refuse for less than the library that it is built on takes to abort a call.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import grpc
import grpc.aio

from wintergarden.errors import Overloaded
from wintergarden.service.errors import status_of
from wintergarden.service.transport import Route, ServerOptions, create_server

PATH = "/t.T/Call"
FULL = Overloaded("model 'm' version 1: 32 requests wait already, the most allowed")
CONNECTIONS = 8
WARM_UP_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=1_000.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    took: dict[str, list[float]] = {"grpc.aio": [], "grpcio": [], "native": []}
    for _ in range(arguments.rounds):
        for name, each in took.items():
            each.append(measure(name, arguments.rate, arguments.seconds))
    for name, each in took.items():
        share = statistics.median(each) / statistics.median(took["grpc.aio"])
        rounds = " ".join(f"{value:.0f}" for value in each)
        median = statistics.median(each)
        sys.stdout.write(f"{name:9} {median:4.0f} µs a refusal ({rounds}), {share:.2f} of bare\n")


def measure(name: str, rate: float, seconds: float) -> float:
    """Microseconds of the server's processor time for each refusal."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=serve, args=(name, theirs), daemon=True)
    server.start()
    try:
        refused, spent_s = asyncio.run(ask(ours.recv(), rate, seconds, ours))
    finally:
        ours.send("end")
        server.join(10)
    return 1e6 * spent_s / refused


async def ask(port: int, rate: float, seconds: float, server: Connection) -> tuple[int, float]:
    """How many calls were refused after warming up, and what that took the server."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", [*options, ("connection", i)])
        for i in range(CONNECTIONS)
    ]
    methods = [channel.unary_unary(PATH) for channel in channels]
    refused = 0

    async def call(number: int) -> None:
        nonlocal refused
        try:
            await methods[number % CONNECTIONS](bytes(100), timeout=30)
        except grpc.aio.AioRpcError as error:
            refused += error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    async def go_on(length_s: float) -> None:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * length_s)):
                delay_s = started + number / rate - time.perf_counter()
                if delay_s > 0:
                    await asyncio.sleep(delay_s)
                group.create_task(call(number))

    await go_on(WARM_UP_S)
    refused, before_s = 0, processor_s(server)
    await go_on(seconds)
    spent_s = processor_s(server) - before_s
    for channel in channels:
        await channel.close()
    return refused, spent_s


def processor_s(server: Connection) -> float:
    server.send("time")
    return float(server.recv())


def serve(name: str, client: Connection) -> None:
    if name == "grpc.aio":
        asyncio.run(serve_bare(client))
        return
    route = Route(PATH, lambda call: call.respond(b""), is_inline=True, refusal=lambda _: FULL)
    server = create_server([route], ["127.0.0.1:0"], ServerOptions(transport=name))
    server.start()
    client.send(server.ports[0])
    answer(client)
    server.stop(0)


async def serve_bare(client: Connection) -> None:
    status = status_of(FULL)

    async def abort(_: bytes, context: Any) -> None:
        await context.abort(status.code, status.message, status.trailing_metadata)

    class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
        def service(self, handler_call_details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(abort)

    server = grpc.aio.server(handlers=[Handlers()], options=[("grpc.http.overload_protection", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client.send(port)
    await asyncio.to_thread(answer, client)
    await server.stop(0)


def answer(client: Connection) -> None:
    """Tell the processor time until there is nobody to tell."""
    while client.recv() == "time":
        client.send(time.process_time())


if __name__ == "__main__":
    main()
