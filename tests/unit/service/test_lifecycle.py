"""Real processes: what signals, a dead supervisor and a taken port do to a service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

ROOM = '''
"""A room for tests."""
import threading
from prometheus_client import CollectorRegistry
from pydantic import Field
from pydantic_settings import SettingsConfigDict
from wintergarden.service.lifecycle import serve
from wintergarden.service.settings import ServiceSettings
from wintergarden.service.transport import Route, ServerOptions, create_server


class RoomSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="ROOM_")
    address: str = Field("127.0.0.1:0", description="host:port")


class App:
    def __init__(self, settings):
        slow = lambda call: threading.Timer(0.8, call.respond, (b"done",)).start()
        self.metrics = CollectorRegistry()
        self.server = create_server(
            [Route("/t.T/Slow", slow, is_inline=True)],
            [settings.address],
            ServerOptions(transport=settings.transport, linger_s=0.05),
            services=["t.T"],
        )

    def start(self):
        self.server.start()
        self.server.health.set_serving("", True)

    def stop(self, grace_s):
        self.server.stop(grace_s)


serve("room", RoomSettings, App)
'''


@contextmanager
def room(tmp_path: Path, *flags: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    script = tmp_path / "room.py"
    script.write_text(ROOM)
    process = subprocess.Popen(
        [sys.executable, str(script), "--log-format", "json", *flags],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def target(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if "listening on" in line:
            return line.split("listening on ")[1].split('"')[0]
    raise AssertionError(f"it ended with {process.wait()}")


@pytest.mark.parametrize("transport", ["native", "grpcio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_0(tmp_path: Path, transport: str, number: int) -> None:
    with room(tmp_path, "--transport", transport) as process:
        with grpc.insecure_channel(target(process)) as channel:
            future = channel.unary_unary("/t.T/Slow").future(b"", timeout=10)
            time.sleep(0.3)
            process.send_signal(number)
            assert future.result() == b"done"
        assert process.wait(30) == 0


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with room(tmp_path) as process, grpc.insecure_channel(target(process)) as channel:
        waiting = channel.unary_unary("/t.T/Slow").future(b"", timeout=10)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(0.5) == 128 + signal.SIGTERM
        assert waiting.exception() is not None


def test_it_ends_with_its_supervisor(tmp_path: Path) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        variable = {"WINTERGARDEN_SUPERVISOR_PID": str(supervisor.pid)}
        with room(tmp_path, **variable) as process:
            target(process)
            supervisor.kill()
            supervisor.wait()
            assert process.wait(30) == 0
    finally:
        supervisor.kill()
        supervisor.wait()


def test_a_supervisor_that_has_ended_already(tmp_path: Path) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", ""])
    supervisor.wait()
    with room(tmp_path, WINTERGARDEN_SUPERVISOR_PID=str(supervisor.pid)) as process:
        assert process.wait(30) == 0


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_taken_port_is_one_line(tmp_path: Path, transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with room(tmp_path, "--address", address, "--transport", transport) as process:
            _, error = process.communicate(timeout=20)
    assert process.returncode == 1
    lines = [line for line in error.splitlines() if line.startswith("room:")]
    assert address in lines[0]
    assert "Traceback" not in error
