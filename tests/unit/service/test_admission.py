from __future__ import annotations

import pytest

from wintergarden.service.transport.admission import Admission
from wintergarden.service.transport.native_call import NativeCall
from wintergarden.service.transport.options import ServerOptions
from wintergarden.service.transport.route import Route

CALL = Route("/t.T/Call", lambda call: None)
STREAM = Route("/t.T/Stream", lambda call: None, streams=True)


def admit(admission: Admission, call_id: int, size: int) -> bool:
    if admission.refusal(CALL, bytes(size)) is not None:
        return False
    NativeCall(None, admission.calls, call_id, "/t.T/Call", bytes(size), (), "", None)  # type: ignore[arg-type]
    return True


def test_bytes_are_an_upper_bound_counted_anew_at_the_limit() -> None:
    admission = Admission(ServerOptions(max_request_bytes=100, max_queued_bytes=250), [])
    assert [admit(admission, i, 100) for i in range(3)] == [True, True, False]
    del admission.calls[0]
    assert admit(admission, 3, 100)
    assert not admit(admission, 4, 51)
    assert admit(admission, 5, 50)
    assert admission.refused["RESOURCE_EXHAUSTED"] == 2


def test_bounds_must_fit_one_request() -> None:
    with pytest.raises(ValueError, match="max_queued_bytes 5"):
        ServerOptions(max_request_bytes=6, max_queued_bytes=5)


def test_draining_refuses_everything() -> None:
    admission = Admission(ServerOptions(), [])
    admission.is_draining = True
    refusal = admission.refusal(STREAM)
    assert refusal is not None
    assert refusal.code.name == "UNAVAILABLE"
