"""The parent between processes that live and die, each here a server and what it asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import grpc
import pytest

from services.inference.processes import paths
from services.inference.processes.coordinator import INDEX, MODEL_READY, Coordinator
from services.inference.processes.desired_state import LOAD, LOG, UNLOAD, unload_request
from services.inference.processes.link import Link
from wintergarden.service.errors import StatusError
from wintergarden.service.testing import running
from wintergarden.service.transport import Call, Route, Server, ServerOptions
from wintergarden.wire import open_inference_pb2 as pb

WORKERS = 4
OPTIONS = ServerOptions(transport="grpcio", workers=WORKERS, linger_s=0.0)
LIMIT_S = 20.0


class NothingPublished:
    def look(self) -> Mapping[str, Any]:
        return {}


class Processes:
    """A parent with so few workers that clients can ask for more than that at once."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._pool = stack.enter_context(ThreadPoolExecutor(8 * WORKERS))
        self.coordinator = Coordinator(
            NothingPublished(),  # type: ignore[arg-type]  # all that is asked of it
            lambda process: self.link(str(process)),
            processes=1,
            is_explicit=True,
            look_interval_s=0.0,
        )
        self.parent = self._serve("parent", self.coordinator.routes())
        stack.callback(self.coordinator.stop)

    def link(self, name: str) -> Link:
        link = Link(name, f"{self._folder}/{name}")
        self._stack.callback(link.close)
        return link

    def begin(self, process: int, *routes: Route) -> None:
        self.serve(process, *routes)
        self.ask(paths.COMPLETE, b"%d" % process).result(LIMIT_S)

    def serve(self, process: int, *routes: Route) -> None:
        index = Route(INDEX, lambda call: call.respond(b""))
        self._serve(str(process), [index, *routes])

    def ask(self, path: str, payload: bytes = b"") -> Future[bytes]:
        """What a process asks the parent, or a client through one."""
        return self._pool.submit(self.link("parent").call, path, payload, LIMIT_S)

    def join_and_die(self, process: int) -> Callable[[], object]:
        """Ask to become a member; returns what ends the process, as the parent sees it."""
        cancel = self.link("parent").start(
            paths.COMPLETE, b"%d" % process, None, lambda answer: None
        )
        until(self._is_joining)

        def die() -> None:
            cancel()
            until(lambda: not self._is_joining())
            self.coordinator.members.remove(process)

        return die

    def _is_joining(self) -> bool:
        (admission,) = self.parent.admissions
        return any(call.method == paths.COMPLETE for call in admission.unanswered())

    def _serve(self, name: str, routes: list[Route]) -> Server:
        address = f"unix:{self._folder}/{name}"
        server, _ = self._stack.enter_context(running(routes, OPTIONS, address=address))
        return server


def until(condition: Callable[[], bool]) -> None:
    end = monotonic() + LIMIT_S
    while not condition():
        assert monotonic() < end
        sleep(0.01)


def load(name: str) -> bytes:
    return bytes(pb.RepositoryModelLoadRequest(model_name=name).SerializeToString())


def log(level: int) -> bytes:
    request = pb.LogSettingsRequest()
    request.settings["log_verbose_level"].uint32_param = level
    return bytes(request.SerializeToString())


def well(call: Call) -> None:
    call.respond(b"")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with ExitStack() as stack:
        yield Processes(tmp_path, stack)


@pytest.fixture
def release(processes: Processes) -> Iterator[threading.Event]:
    """What hangs until then; set before the servers are stopped."""
    event = threading.Event()
    yield event
    event.set()


def test_a_load_finds_its_way_back_however_many_wait(processes: Processes) -> None:
    def load_and_look(call: Call) -> None:
        sleep(0.1)  # the others have come
        processes.ask(paths.LOOK, b"0").result(LIMIT_S)
        call.respond(b"")

    processes.begin(0, Route(LOAD, load_and_look))
    loads = [processes.ask(LOAD, load(f"m{n}")) for n in range(3 * WORKERS)]
    assert [answer.result(LIMIT_S) for answer in loads] == [b""] * len(loads)


def test_questions_without_an_answer_keep_no_process_waiting(
    processes: Processes, release: threading.Event
) -> None:
    hanging = threading.Semaphore(0)

    def hang(call: Call) -> None:
        hanging.release()
        release.wait(LIMIT_S)
        call.respond(b"")

    processes.begin(0, Route(MODEL_READY, hang))
    questions = [processes.ask(MODEL_READY) for _ in range(2 * WORKERS)]
    for _ in range(WORKERS):
        assert hanging.acquire(timeout=LIMIT_S)
    assert processes.ask(paths.LOOK, b"0").result(5) == b"{}"
    assert not any(question.done() for question in questions)


def test_one_that_dies_while_it_waits_to_join_is_no_member(
    processes: Processes, release: threading.Event
) -> None:
    is_draining = threading.Event()
    has_caught_up = threading.Event()

    def drain(call: Call) -> None:
        is_draining.set()
        release.wait(LIMIT_S)
        call.respond(b"")

    def catch_up(call: Call) -> None:
        has_caught_up.set()
        call.respond(b"")

    processes.begin(0, Route(UNLOAD, drain), Route(LOG, well))
    processes.ask(LOG, log(1)).result(LIMIT_S)
    somebodys = processes.ask(UNLOAD, unload_request("m"))
    assert is_draining.wait(LIMIT_S)
    processes.serve(1, Route(LOG, catch_up))
    die = processes.join_and_die(1)
    sleep(0.3)  # it waits for its turn
    die()
    release.set()
    somebodys.result(LIMIT_S)
    assert not has_caught_up.wait(0.5)
    assert processes.coordinator.members.numbers() == {0}
    assert processes.ask(LOG, log(2)).result(LIMIT_S) == b""


def test_one_that_dies_while_it_catches_up_is_no_member(processes: Processes) -> None:
    is_late = threading.Event()
    is_dead = threading.Event()

    def catch_up(call: Call) -> None:
        is_late.set()
        is_dead.wait(LIMIT_S)
        call.respond(b"")

    processes.begin(0, Route(LOG, well))
    processes.ask(LOG, log(1)).result(LIMIT_S)
    processes.serve(1, Route(LOG, catch_up))
    die = processes.join_and_die(1)
    assert is_late.wait(LIMIT_S)
    die()
    # Asked to change while the other is still catching up, and so after it.
    change = processes.ask(LOG, log(2))
    is_dead.set()
    change.result(LIMIT_S)
    assert processes.coordinator.members.numbers() == {0}


def test_what_is_no_request_for_the_index_is_said_to_be_none(processes: Processes) -> None:
    processes.begin(0)
    with pytest.raises(StatusError) as caught:
        processes.ask(INDEX, b"\xff").result(LIMIT_S)
    assert caught.value.status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "1 bytes are not a inference.RepositoryIndexRequest" in caught.value.status.message
