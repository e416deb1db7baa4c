from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from gateway.uploads import Uploads
from wintergarden.errors import FailedPrecondition, InvalidArgument, NotFound, Overloaded


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_chunks_add_up(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, 1000)
    assert uploads.append("upload-1", 0, b"abc") == 3
    assert uploads.append("upload-1", 3, b"def") == 6
    assert uploads.read("upload-1", sha256(b"abcdef")) == b"abcdef"


def test_a_chunk_sent_again_is_held_once(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, 1000)
    uploads.append("upload-1", 0, b"abc")
    assert uploads.append("upload-1", 0, b"abc") == 3
    assert uploads.append("upload-1", 2, b"cd") == 4
    assert uploads.append("upload-1", 0, b"") == 4
    assert uploads.read("upload-1", sha256(b"abcd")) == b"abcd"


def test_a_gap_is_refused_and_says_where_to_go_on(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, 1000)
    uploads.append("upload-1", 0, b"abc")
    with pytest.raises(FailedPrecondition, match="continue at 3"):
        uploads.append("upload-1", 5, b"x")


def test_another_digest_is_refused(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, 1000)
    uploads.append("upload-1", 0, b"abc")
    with pytest.raises(InvalidArgument, match="sha256"):
        uploads.read("upload-1", sha256(b"abd"))


def test_an_unknown_upload_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Uploads(tmp_path, 1000).read("upload-1", sha256(b""))


@pytest.mark.parametrize(
    "upload_id", ["", "short", "../../etc/passwd", "a" * 65, "with space", "nul\0byte!"]
)
def test_an_id_cannot_leave_the_folder(tmp_path: Path, upload_id: str) -> None:
    with pytest.raises(InvalidArgument, match="upload id"):
        Uploads(tmp_path / "in", 1000).append(upload_id, 0, b"x")
    assert not list(tmp_path.rglob("*.upload"))


def test_size_is_bounded(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, max_bytes=4)
    uploads.append("upload-1", 0, b"abcd")
    with pytest.raises(InvalidArgument, match="bytes 0 to 4"):
        uploads.append("upload-1", 4, b"e")


def test_abandoned_uploads_make_room(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, 1000, max_uploads=1, max_idle_s=60)
    uploads.append("upload-1", 0, b"a")
    with pytest.raises(Overloaded):
        uploads.append("upload-2", 0, b"b")
    old = time.time() - 61
    os.utime(tmp_path / "upload-1.upload", (old, old))
    assert uploads.append("upload-2", 0, b"b") == 1
    assert not (tmp_path / "upload-1.upload").exists()
