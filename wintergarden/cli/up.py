"""`wintergarden up`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.status import Status

from wintergarden.cli.local.home import Home
from wintergarden.cli.local.ports import DEFAULT_PORT
from wintergarden.cli.local.system import READY_LIMIT_S, System, running
from wintergarden.cli.output import AsJson, aside, people, print_json, table
from wintergarden.errors import FailedPrecondition


def up(
    *,
    home: Annotated[
        Path, typer.Option(envvar="WINTERGARDEN_HOME", file_okay=False, help="Keeps the data.")
    ] = Path(".wintergarden"),
    port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            help="The gateway's port; the next two and those a thousand higher are used too. "
            "0: free ones.",
        ),
    ] = DEFAULT_PORT,
    redis_url: Annotated[
        str,
        typer.Option(
            envvar="REDIS_URL", help="A Redis or Valkey server to use instead of an embedded one."
        ),
    ] = "",
    ready_limit_s: Annotated[
        float, typer.Option("--ready-limit", help="Seconds until everything must be serving.")
    ] = READY_LIMIT_S,
    as_json: AsJson = False,
) -> None:
    """Run the whole system on this machine until Ctrl-C.

    Starts a Valkey server, inference, explanation, a training worker and the
    gateway, restarts what dies, and stops all of it at the end. Listens on
    127.0.0.1 only. Models, jobs and logs stay in the home directory.

    \b
    Examples:
      wintergarden up
      wintergarden up --port 9500 --home ~/garden
      wintergarden up --redis-url redis://:secret@127.0.0.1:6379/0
    """
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        # Raised where the main thread stands: a start that takes long is left at once.
        if stop.is_set():
            return
        stop.set()
        raise _Stopped

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)

    status = Status("starting", console=aside)

    def say(message: str) -> None:
        if as_json:
            return
        status.start()
        status.update(message) if aside.is_terminal else aside.print(message)

    try:
        with running(Home(home.resolve()), port, redis_url, say, ready_limit_s) as system:
            status.stop()
            _tell(system, as_json)
            while not system.supervisor.has_ended:
                stop.wait(0.5)
            raise FailedPrecondition(
                f"the supervisor ended unexpectedly, and all services with it; see "
                f"{system.home.log_of('supervisor')}"
            )
    except _Stopped:
        pass
    finally:
        status.stop()


class _Stopped(Exception):
    """The person or the system asked us to stop."""


def _tell(system: System, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "event": "ready",
                "address": system.address,
                "services": system.ports.serving,
                "metrics": system.ports.metrics,
                "home": str(system.home.path),
            },
            indent=None,
        )
        return
    listed = table("", "gRPC", "metrics")
    for name in ("gateway", "inference", "explanation", "trainer", "explanation-worker"):
        serving = system.ports.address(name) if name in system.ports.serving else "–"
        listed.add_row(
            f"[bold]{name}[/]", serving, f"http://{system.ports.metrics_address(name)}/metrics"
        )
    people.print("[green]serving[/]")
    people.print(listed)
    people.print(f"data and logs in {system.home.path}", soft_wrap=True)
    people.print("try: wintergarden train lenet5 mnist-5k", "stop: Ctrl-C", sep="\n")
