from __future__ import annotations

from pathlib import Path

import pytest

from wintergarden.errors import DataLoss, InvalidArgument, NotFound
from wintergarden.store import open_store
from wintergarden.store.job_files import jobs_with_files, open_job_files


@pytest.fixture(params=["directory", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "directory":
        return str(tmp_path / "store")
    return str(request.getfixturevalue("s3_uri"))


def test_files_of_a_job_are_its_own(uri: str, tmp_path: Path) -> None:
    first, second = open_job_files(uri, "a1"), open_job_files(uri, "a12")
    on_disk = tmp_path / "content"
    on_disk.write_bytes(b"of a file")
    assert first.put("1/checkpoint-5.ckpt", b"five").bytes == 4
    first.put("2/checkpoint-7.ckpt", on_disk)
    second.put("1/checkpoint-1.ckpt", b"one")
    assert first.names() == ["1/checkpoint-5.ckpt", "2/checkpoint-7.ckpt"]
    assert first.names("2") == ["2/checkpoint-7.ckpt"]
    assert first.read("2/checkpoint-7.ckpt", 1 << 40) == b"of a file"
    assert jobs_with_files(uri) == ["a1", "a12"]
    assert open_store(uri).list_models() == []

    first.delete("1/checkpoint-5.ckpt")
    first.delete("1/checkpoint-5.ckpt")
    assert first.names() == ["2/checkpoint-7.ckpt"]
    with pytest.raises(NotFound, match="no jobs/a1/1/checkpoint-5"):
        first.read("1/checkpoint-5.ckpt", 100)
    with pytest.raises(DataLoss):
        first.read("2/checkpoint-7.ckpt", 3)

    first.delete_folder("2")
    first.delete_folder("2")
    first.delete("2/checkpoint-7.ckpt")
    assert first.names() == []
    first.put("3/checkpoint-9.ckpt", b"nine")
    first.delete_folder()
    assert jobs_with_files(uri) == ["a12"]
    assert second.read("1/checkpoint-1.ckpt", 100) == b"one"


def test_a_file_is_read_in_parts_as_far_as_it_goes(uri: str) -> None:
    files = open_job_files(uri, "a1")
    files.put("1/values.npz", b"0123456789")
    assert files.read_part("1/values.npz", 0, 4) == b"0123"
    assert files.read_part("1/values.npz", 8, 4) == b"89"
    for beyond in (10, 11, 2**62):
        assert files.read_part("1/values.npz", beyond, 4) == b""
    with pytest.raises(NotFound, match=r"no jobs/a1/1/gone\.npz"):
        files.read_part("1/gone.npz", 0, 4)


def test_what_a_killed_writer_left_is_no_file_and_goes(tmp_path: Path) -> None:
    files = open_job_files(str(tmp_path), "a1")
    files.put("1/checkpoint-5.ckpt", b"five")
    (tmp_path / "jobs/a1/1/.part-0123").write_bytes(b"half of")
    assert files.names() == ["1/checkpoint-5.ckpt"]
    assert files.folders() == ["1"]
    files.delete_abandoned("1")
    assert [path.name for path in (tmp_path / "jobs/a1/1").iterdir()] == ["checkpoint-5.ckpt"]
    (tmp_path / "jobs/a1/1/.part-4567").write_bytes(b"half of")
    files.delete_folder("1")
    assert not (tmp_path / "jobs/a1/1").exists()


@pytest.mark.parametrize("name", ["", "../a2/x", "/etc/passwd", "1/../../x", ".x", "1//x"])
def test_names_stay_below_the_job(tmp_path: Path, name: str) -> None:
    files = open_job_files(str(tmp_path), "a1")
    with pytest.raises(InvalidArgument, match="is not allowed"):
        files.put(name, b"")


@pytest.mark.parametrize("job_id", ["", "..", "a/b", "a.b", "x" * 129])
def test_ids_of_jobs_are_validated(tmp_path: Path, job_id: str) -> None:
    with pytest.raises(InvalidArgument, match="job id"):
        open_job_files(str(tmp_path), job_id)
