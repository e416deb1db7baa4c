from __future__ import annotations

import socket
from pathlib import Path

import pytest

from wintergarden.cli.checks import Patient, Verdict, examine
from wintergarden.cli.local.home import Home
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


def test_a_port_promised_to_another_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.SystemRandom.sample", lambda self, ports, k: list(ports))
    one, two = find_free(2)
    assert find_free(1, [one]) == [two]


def test_the_doctor_looks_at_every_port_of_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = free_ports()
    monkeypatch.setattr("wintergarden.cli.checks.ports_from", lambda: ports)
    last = ports.metrics["explanation-worker"]
    with socket.socket() as other:
        other.bind((HOST, last))
        other.listen()
        (found,) = [f for f in examine(Patient(Home(tmp_path), HOST + ":1")) if f.check == "ports"]
    assert found.verdict is Verdict.BAD
    assert found.text == f"in use on {HOST}: {last}"


@pytest.mark.parametrize("first", [-1, 65_000])
def test_ports_beyond_the_last_are_refused(first: int) -> None:
    with pytest.raises(InvalidArgument, match="must be from 1 to"):
        fixed_ports(first)
