from __future__ import annotations

import hashlib
import os
import subprocess
import sys
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


FULL_DISK = """
import resource, sys
from pathlib import Path
from gateway.uploads import Uploads
from wintergarden.errors import Overloaded

uploads = Uploads(Path(sys.argv[1]), 10_000)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, hard))
uploads.append("upload-1", 0, b"a" * 1_000)
try:
    uploads.append("upload-1", 1_000, b"b" * 1_000)
except Overloaded as error:
    print(error.message)
print(uploads.append("upload-1", 0, b""))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(uploads.append("upload-1", 1_000, b"b" * 1_000))
print(uploads.read("upload-1", sys.argv[2]).count(b"b"))
"""


def test_a_full_disk_is_said_and_the_upload_goes_on_when_there_is_space(tmp_path: Path) -> None:
    digest = sha256(b"a" * 1_000 + b"b" * 1_000)
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), digest],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    refused, held, whole, letters = ran.stdout.splitlines()
    assert refused.startswith("no space left for the upload (File too large); its first 1500 bytes")
    assert (held, whole, letters) == ("1500", "2000", "1000")
