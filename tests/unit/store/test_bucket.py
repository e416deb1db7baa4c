"""What is S3's own; that it behaves as every storage is shown in test_model_store.py."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from wintergarden.errors import FailedPrecondition, PermissionDenied, Unavailable
from wintergarden.store import open_store
from wintergarden.store.bucket import Bucket

Publish = Callable[..., int]


def test_a_file_larger_than_a_part_arrives_whole(s3_uri: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 50_000  # 12.8 MB: three parts
    (tmp_path / "large").write_bytes(content)
    bucket = Bucket(s3_uri)
    info = bucket.put("a/large", tmp_path / "large")
    assert (info.sha256, info.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert b"".join(bucket.chunks("a/large")) == content
    assert bucket.part("a/large", 6_000_000, 1000) == content[6_000_000:6_001_000]


def test_stores_with_different_prefixes_do_not_meet(s3_uri: str, publish: Publish) -> None:
    publish(open_store(s3_uri), "net")
    assert open_store(s3_uri + "/deeper").list_models() == []
    assert open_store(s3_uri).list_models() == ["net"]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """answering(200): an S3 that gives this answer to everything, and remembers nothing."""
    servers = []

    def answering(status: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                self.send_response(status)
                self.send_header("etag", '"1"')
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                if status != 200:
                    return self.answer()
                empty = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
                self.send_response(200)
                self.send_header("content-length", str(len(empty)))
                self.end_headers()
                self.wfile.write(empty)
                return None

            do_PUT = answer

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        for name, value in {
            "AWS_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }.items():
            monkeypatch.setenv(name, value)

    yield answering
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_storage_that_ignores_conditions_is_refused(answering: Callable[[int], None]) -> None:
    answering(200)
    with pytest.raises(FailedPrecondition, match="does not honour conditional writes"):
        open_store("s3://bucket").publish("net")


def test_a_storage_that_denies_access_is_named(answering: Callable[[int], None]) -> None:
    answering(403)
    with pytest.raises(PermissionDenied, match="s3://bucket refuses access to models"):
        open_store("s3://bucket").list_models()


def test_a_storage_that_is_not_there_is_named(
    answering: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(200)
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="s3://bucket does not answer"):
        open_store("s3://bucket").list_models()
