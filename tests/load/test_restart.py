"""Servers stop and start under load, and clients that repeat as documented lose nothing."""

import pytest

pytestmark = pytest.mark.timeout(900)


def test_one_server_restarts(place, sizes, transport):
    size = sizes.restart
    place.publish("m", place.telling(1))
    server = place.serve("--transport", transport)
    restart_under_load(place, [server], size, transport)


def test_two_servers_restart_in_turn(place, sizes, transport):
    size = sizes.restart
    place.publish("m", place.telling(1, steps=2_000))  # runs on a thread of the engine
    servers = [place.serve("--transport", transport, "--inline-run-ms", "0") for _ in range(2)]
    restart_under_load(place, servers, size, transport)


def restart_under_load(place, servers, size, transport):
    load = place.load(*servers, clients=size.clients, rows=3, patience_s=60)
    place.eventually(lambda: all(server.answers("m") for server in servers))
    for number in range(size.restarts):
        server = servers[number % len(servers)]
        server.stop()
        server.start()
        place.eventually(lambda server=server: server.answers("m"))
    seen = load.stop()
    place.report(transport=transport, servers=len(servers), restarts=size.restarts, seen=seen)
    assert (seen.errors, seen.wrong, seen.mixed) == ({}, 0, 0), seen.message
    assert seen.answered == seen.sent
    assert seen.repeated or len(servers) > 1
