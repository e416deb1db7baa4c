"""A stop that loses no answer: the order of DESIGN's drain, the same for every transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic, sleep

from wintergarden.errors import Unavailable
from wintergarden.service.errors import StatusError
from wintergarden.service.health import Health
from wintergarden.service.transport.admission import DRAINING, Admission
from wintergarden.service.transport.open_call import OpenCall
from wintergarden.service.transport.route import Route

_POLL_S = 0.005


def drain(
    health: Health,
    admissions: Sequence[Admission],
    routes: Mapping[str, Route],
    grace_s: float,
    linger_s: float,
) -> None:
    """Not ready, new calls UNAVAILABLE, finish calls in flight, linger.

    What has no answer after `grace_s` gets UNAVAILABLE. The caller closes the connections.
    """
    health.drain()
    for admission in admissions:
        admission.is_draining = True
    for call in _unanswered(admissions):
        if routes[call.method].is_endless:
            call.fail(StatusError(DRAINING))
            call.cancel()
        else:
            call.stop_reading()
    until = monotonic() + grace_s
    _wait_until_empty(admissions, until)
    # Time for the last answers to leave, for calls that were being accepted when the flag was
    # set, and for late callers to hear UNAVAILABLE rather than a closed connection.
    sleep(linger_s)
    _wait_until_empty(admissions, until)
    for call in _unanswered(admissions):
        call.fail(Unavailable(f"the server is shutting down; no answer within {grace_s:g} s"))
        call.cancel()


def _wait_until_empty(admissions: Sequence[Admission], until: float) -> None:
    while not all(a.is_empty() for a in admissions) and monotonic() < until:
        sleep(_POLL_S)


def _unanswered(admissions: Sequence[Admission]) -> list[OpenCall]:
    return [call for admission in admissions for call in admission.unanswered()]
