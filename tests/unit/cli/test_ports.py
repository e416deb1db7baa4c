from __future__ import annotations

import socket
from pathlib import Path

import pytest

from wintergarden.cli.local.ports import HOST, METRICS_OFFSET, find_free, fixed_ports, free_ports
from wintergarden.errors import FailedPrecondition, InvalidArgument


def test_free_ports_differ_and_are_below_those_of_outgoing_connections() -> None:
    ports = free_ports()
    every = [*ports.serving.values(), *ports.metrics.values()]
    assert len(set(every)) == 8
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert first < 10_020 or max(every) < first


def test_a_port_in_use_is_named_with_its_cure() -> None:
    first = next(p for p in find_free(50) if p < 60_000)
    for offset, kind in ((1, "inference"), (METRICS_OFFSET + 3, "trainer's metrics")):
        with socket.socket() as other:
            try:
                other.bind((HOST, first + offset))
            except OSError:
                pytest.skip("somebody took it")
            other.listen()
            with pytest.raises(FailedPrecondition) as caught:
                fixed_ports(first)
        assert f"port {first + offset} ({kind}) is in use" in caught.value.message
        assert "--port" in caught.value.message


@pytest.mark.parametrize("first", [-1, 65_000])
def test_ports_beyond_the_last_are_refused(first: int) -> None:
    with pytest.raises(InvalidArgument, match="must be from 1 to"):
        fixed_ports(first)
