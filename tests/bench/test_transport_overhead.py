"""What a transport costs: echo over native and over grpcio, by the CPU that the server spends.

CPU per call holds on a machine shared with other work; calls per second do not.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import grpc
import psutil
import pytest

pytestmark = pytest.mark.bench

CONCURRENCY = 32
CHANNELS = 4
PAYLOAD = bytes(3_200)  # a digit of 28 by 28 float32
SECONDS = 2.0

SERVER = """
import sys
from wintergarden.service.transport import Route, ServerOptions, create_server

def answer(calls):
    for call in calls:
        call.respond(call.payload)

route = Route("/b.B/Echo", lambda call: answer([call]), is_inline=True, batch_handler=answer)
server = create_server([route], ["127.0.0.1:0"], ServerOptions(transport=sys.argv[1]))
server.start()
print(server.ports[0], flush=True)
server.wait()
"""


async def load(port: int, process: psutil.Process) -> tuple[float, float]:
    """Calls per second, and the server's CPU microseconds per call."""
    channels = [
        grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1), ("bench.channel", i)]
        )
        for i in range(CHANNELS)
    ]
    calls = 0
    end = 0.0

    async def client(number: int) -> None:
        nonlocal calls
        echo = channels[number % CHANNELS].unary_unary("/b.B/Echo")
        while time.perf_counter() < end:
            await echo(PAYLOAD)
            calls += 1

    async def run(seconds: float) -> None:
        nonlocal calls, end
        calls, end = 0, time.perf_counter() + seconds
        await asyncio.gather(*(client(i) for i in range(CONCURRENCY)))

    await run(0.5)  # warm
    before = process.cpu_times()
    await run(SECONDS)
    after = process.cpu_times()
    for channel in channels:
        await channel.close()
    cpu_s = after.user - before.user + after.system - before.system
    return calls / SECONDS, cpu_s / calls * 1e6


def measure(transport: str) -> tuple[float, float]:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, transport],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        return asyncio.run(load(port, psutil.Process(server.pid)))
    finally:
        server.kill()
        server.communicate()


def test_native_costs_less_than_half_of_grpcio(record_property: pytest.RecordProperty) -> None:
    rates, costs = {}, {}
    for transport in ("native", "grpcio"):
        rates[transport], costs[transport] = measure(transport)
        print(f"{transport}: {rates[transport]:.0f} calls/s, {costs[transport]:.0f} µs CPU a call")
        record_property(f"{transport}_cpu_us", costs[transport])
    assert costs["native"] < 0.5 * costs["grpcio"]
