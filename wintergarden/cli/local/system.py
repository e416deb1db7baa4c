"""The whole system on this machine, from start to stop."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from wintergarden.cli.local import services
from wintergarden.cli.local.home import Home
from wintergarden.cli.local.ports import Ports, fixed_ports, free_ports
from wintergarden.cli.local.services import Service
from wintergarden.cli.local.supervision import Supervisor
from wintergarden.cli.local.valkey import EmbeddedValkey
from wintergarden.errors import DeadlineExceeded, FailedPrecondition, WintergardenError

READY_LIMIT_S = 90.0
_LEFTOVERS_LIMIT_S = 30.0
_EXITS_TOLERATED = 3
_LOG_LINES = 15


@dataclass(frozen=True)
class System:
    """A system that is serving."""

    home: Home
    ports: Ports
    redis_url: str
    supervisor: Supervisor

    @property
    def address(self) -> str:
        return self.ports.address("gateway")


@contextmanager
def running(
    home: Home,
    port: int,
    redis_url: str = "",
    say: Callable[[str], None] = lambda message: None,
    ready_limit_s: float = READY_LIMIT_S,
) -> Iterator[System]:
    """Start everything, give the system when all of it is serving, stop everything at the end.

    Args:
        home: holds the data; they stay.
        port: the gateway's, the others follow it; 0: free ones.
        redis_url: a server to use instead of the embedded one.
        say: told what is being waited for.
        ready_limit_s: for everything to be serving.

    Raises:
        FailedPrecondition: something is missing, in use or does not start; the message says what.
        DeadlineExceeded: not all was serving in time.
    """
    tree = services.source_tree()
    home.prepare()
    with home.occupied():
        home.wait_for_leftovers(_LEFTOVERS_LIMIT_S, say)
        ports = fixed_ports(port) if port else free_ports()
        wanted = services.rooms(ports)
        if redis_url:
            _expect_redis(redis_url, say)
        else:
            valkey = EmbeddedValkey(home.valkey, home.run / "valkey.conf", [*ports.all.values()])
            valkey.write_configuration()
            redis_url = valkey.url
            wanted.insert(0, Service("valkey", tuple(valkey.command)))
        home.socket.unlink(missing_ok=True)  # of a run that was killed
        variables = services.environment(home, ports, redis_url)
        supervisor = Supervisor(wanted, home, tree, variables)
        try:
            _wait_until_serving(
                wanted, redis_url, supervisor=supervisor, home=home, say=say, limit_s=ready_limit_s
            )
            system = System(home, ports, redis_url, supervisor)
            _announce(system)
            yield system
        finally:
            home.ready_file.unlink(missing_ok=True)
            say("stopping")
            supervisor.stop()


def _wait_until_serving(
    wanted: list[Service],
    redis_url: str,
    *,
    supervisor: Supervisor,
    home: Home,
    say: Callable[[str], None],
    limit_s: float,
) -> None:
    from wintergarden.service.healthcheck import ask

    give_up_at = time.monotonic() + limit_s
    for service in wanted:
        say(f"starting {service.name}")
        while problem := ask(service.health) if service.health else _ask_redis(redis_url):
            if supervisor.has_ended:
                raise FailedPrecondition(
                    f"supervisord ended; see {home.log_of('supervisor')} {supervisor.complaints}"
                )
            for name, exits in supervisor.exits().items():
                if exits >= _EXITS_TOLERATED:
                    raise FailedPrecondition(f"{name} does not start\n{_last_lines(home, name)}")
            if time.monotonic() > give_up_at:
                raise DeadlineExceeded(
                    f"{service.name} is not serving after {limit_s:.0f} s ({problem})\n"
                    f"{_last_lines(home, service.name)}"
                )
            time.sleep(0.1)


def _expect_redis(url: str, say: Callable[[str], None]) -> None:
    """A server of the person's own must be there, and is told what could lose jobs."""
    if problem := _ask_redis(url):
        raise FailedPrecondition(f"{problem}; correct REDIS_URL, or leave it out for our own")
    from wintergarden.jobs import Jobs

    with Jobs(url) as jobs:
        for warning in jobs.check_configuration():
            say(f"warning: {warning}")


def _ask_redis(url: str) -> str:
    """Why the server at `url` does not take commands; empty when it does."""
    from wintergarden.jobs import Jobs

    try:
        with Jobs(url) as jobs:
            jobs.ping()
    except WintergardenError as exc:
        return exc.message
    return ""


def _last_lines(home: Home, name: str) -> str:
    log = home.log_of(name)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join([f"the last lines of {log}:", *(f"  {line}" for line in lines[-_LOG_LINES:])])


def _announce(system: System) -> None:
    """Appears whole or not at all: others wait for this file."""
    draft = system.home.ready_file.with_suffix(".draft")
    draft.write_text(
        json.dumps(
            {
                "pid": os.getpid(),
                "supervisor_pid": system.supervisor.pid,
                "address": system.address,
                "services": {
                    name: f"127.0.0.1:{port}" for name, port in system.ports.serving.items()
                },
                "metrics": {
                    name: f"http://127.0.0.1:{port}/metrics"
                    for name, port in system.ports.metrics.items()
                },
            },
            indent=2,
        )
    )
    draft.replace(system.home.ready_file)
