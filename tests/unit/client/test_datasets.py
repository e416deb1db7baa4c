"""Uploads by both clients: each byte once, through restarts and refusals of a scripted server."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from wintergarden import errors
from wintergarden.client import connect_async, datasets
from wintergarden.wire import datasets_pb2 as pb
from wintergarden.wire import training_pb2

Ask = Callable[[Callable[[Any], Any]], Any]
CONTENT = bytes(range(256)) * 10


class Server:
    """Holds an upload as the gateway does; `lose_at` forgets it once, `drop_at` fails once."""

    def __init__(self, held: bytes = b"", lose_at: int = -1, drop_at: int = -1) -> None:
        self.held = bytearray(held)
        self.lose_at, self.drop_at = lose_at, drop_at
        self.asked: list[Any] = []
        self.sent = 0

    def upload(self, request: Any, context: Any) -> Any:
        if request.chunk and self.drop_at >= 0 and request.offset >= self.drop_at:
            self.drop_at = -1
            context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
        if request.chunk and self.lose_at >= 0 and request.offset >= self.lose_at:
            self.lose_at = -1
            self.held.clear()
        if request.offset > len(self.held):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"continue at {len(self.held)}")
        self.held[request.offset :] = request.chunk or self.held[request.offset :]
        self.sent += len(request.chunk)
        return pb.UploadDatasetResponse(held_bytes=len(self.held))

    def prepare(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if not request.upload_id:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such file")
        job = training_pb2.Job(
            id="j1", kind="prepare", state=training_pb2.JOB_STATE_QUEUED, spec_json="{}"
        )
        return pb.PrepareDatasetResponse(job=job)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "CHUNK_BYTES", 1_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "flowers.parquet"
    path.write_bytes(CONTENT)
    return path


def play(server: Any, script: Server) -> None:
    server.on("UploadDataset", script.upload)
    server.on("PrepareDataset", script.prepare)


def test_the_event_loop_goes_on_while_a_file_is_read(
    server: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(server, Server())
    threads: list[int] = []

    def digest(*arguments: Any) -> Any:
        threads.append(threading.get_ident())
        return file_digest(*arguments)

    file_digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", digest)

    async def upload() -> None:
        async with connect_async(server.address) as client:
            await client.data.upload(path, "flowers")
        with pytest.raises(FileNotFoundError):
            await client.data.upload(path.with_name("none.csv"), "flowers")

    asyncio.run(upload())
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_every_byte_is_sent_once(server: Any, ask: Ask, path: Path) -> None:
    script = Server()
    play(server, script)
    sent: list[int] = []
    handle = ask(
        lambda c: c.data.upload(
            path, "flowers", label="species", drop=["id"],
            on_progress=lambda done, total: sent.append(done),
        )
    )  # fmt: skip
    assert (handle.id, handle.job.kind) == ("j1", "prepare")
    assert bytes(script.held) == CONTENT
    assert sent == [0, 1_000, 2_000, 2_560]
    first, last = script.asked
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert (first.upload_id, last.upload_id) == ("", digest[:32])
    assert (last.sha256, last.format, last.options.label) == (digest, "parquet", "species")
    assert list(last.options.drop) == ["id"]
    assert not last.options.HasField("missing"), "what was not said has the server's default"
    assert first.request_id == last.request_id


@pytest.mark.parametrize("held", [1, 1_000, 2_560])
def test_what_the_server_holds_is_not_sent(server: Any, ask: Ask, path: Path, held: int) -> None:
    script = Server(CONTENT[:held])
    play(server, script)
    ask(lambda c: c.data.upload(path, "flowers"))
    assert bytes(script.held) == CONTENT
    assert script.sent == len(CONTENT) - held


def test_a_server_that_drains_is_asked_again(server: Any, ask: Ask, path: Path) -> None:
    script = Server(drop_at=1_000)
    play(server, script)
    ask(lambda c: c.data.upload(path, "flowers"))
    assert bytes(script.held) == CONTENT


def test_a_server_that_lost_what_it_held_gets_it_again(server: Any, ask: Ask, path: Path) -> None:
    script = Server(lose_at=1_000)
    play(server, script)
    ask(lambda c: c.data.upload(path, "flowers"))
    assert bytes(script.held) == CONTENT


def test_a_full_disk_reaches_the_caller(server: Any, ask: Ask, path: Path) -> None:
    script = Server()
    play(server, script)
    server.on(
        "UploadDataset",
        lambda request, context: context.abort(
            grpc.StatusCode.RESOURCE_EXHAUSTED, "no space left for the upload"
        ),
    )
    with pytest.raises(errors.Overloaded, match="no space left"):
        ask(lambda c: c.data.upload(path, "flowers"))


def test_a_description_has_its_report(server: Any, ask: Ask) -> None:
    server.on(
        "DescribeDataset",
        lambda request, _: pb.DescribeDatasetResponse(
            dataset=pb.Dataset(name=request.name, input_shape=[4], digest="d" * 64),
            report_json='{"warnings": ["few"]}',
            options_json='{"seed": 0}',
        ),
    )
    described = ask(lambda c: c.data.describe("flowers"))
    assert (described.name, described.input_shape) == ("flowers", (4,))
    assert described.report == {"warnings": ["few"]}
    assert described.options == {"seed": 0}
