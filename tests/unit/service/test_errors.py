from __future__ import annotations

import base64
from urllib.parse import quote

import grpc
import pytest
from google.rpc import status_pb2

from wintergarden import errors
from wintergarden.service.errors import DETAILS_KEY, STATUS, Status, StatusError, status_of


def vocabulary() -> list[type[errors.WintergardenError]]:
    found, todo = [], list(errors.WintergardenError.__subclasses__())
    while todo:
        found.append(todo.pop())
        todo += [c for c in found[-1].__subclasses__() if c.__module__ == errors.__name__]
    return [c for c in found if c.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", vocabulary(), ids=lambda c: c.__name__)
def test_every_error_of_the_vocabulary_has_a_status(kind: type[errors.WintergardenError]) -> None:
    status = status_of(kind("what was wrong"))
    assert status.code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    assert status.message == "what was wrong"


def test_a_rooms_own_error_takes_the_row_of_its_ancestor() -> None:
    class VersionNotFound(errors.NotFound):
        pass

    assert VersionNotFound not in STATUS
    assert status_of(VersionNotFound("v7")).code == grpc.StatusCode.NOT_FOUND


def test_the_root_of_the_vocabulary_is_a_fault() -> None:
    assert status_of(errors.WintergardenError("secret")).code == grpc.StatusCode.INTERNAL


def test_unknown_errors_each_have_a_trace_of_their_own() -> None:
    first, second = status_of(KeyError("k")), status_of(KeyError("k"))
    assert first.code == second.code == grpc.StatusCode.INTERNAL
    assert first.message != second.message
    assert "'k'" not in first.message


def test_a_decided_status_stays_as_it_is() -> None:
    status = Status(grpc.StatusCode.ABORTED, "message", (("a", "b"),))
    assert status_of(StatusError(status)) is status


@pytest.mark.parametrize("character", ["x", "%", "é", "語", "🌱", "\n"])
@pytest.mark.parametrize("length", [1, 100, 599, 601, 5_000, 100_000])
def test_long_messages_fit_the_metadata_that_clients_accept(character: str, length: int) -> None:
    error = errors.InvalidArgument(character * length, field="a.field")
    status = status_of(error)
    details = dict(status.trailing_metadata)[DETAILS_KEY]
    assert isinstance(details, bytes)
    on_the_wire = len(quote(status.message, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}~"))
    on_the_wire += len(base64.b64encode(details))
    assert on_the_wire < 8_000
    assert status_pb2.Status.FromString(details).message == status.message
    assert status.message.rstrip("…") in error.message
    assert (status.message == error.message) == (not status.message.endswith("…"))
