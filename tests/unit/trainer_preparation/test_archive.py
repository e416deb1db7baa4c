"""Archives that are traps, each made as an attacker would, and what is said of it."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.preparation import archive as archives
from trainer.preparation.archive import opened
from wintergarden.errors import InvalidArgument

Write = Callable[[bytes], Path]


def refusal(path: Path) -> str:
    with pytest.raises(InvalidArgument) as caught, opened(path):
        pass
    return caught.value.message


def test_its_files_are_read_and_litter_is_not(file: Write, archive: Any) -> None:
    content = archive({
        "b/2.txt": b"two", "a/1.txt": b"one", "__MACOSX/a/._1.txt": b"", "a/.DS_Store": b"",
        "c/": b"",
    })  # fmt: skip
    with opened(file(content)) as read:
        assert {name: read.read(entry) for name, entry in read.entries.items()} == {
            "a/1.txt": b"one", "b/2.txt": b"two",
        }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "a/../../evil.txt",
        "/etc/passwd",
        "C:/windows/evil.txt",
        "a\\..\\evil.txt",
        "a/evil\n.txt",
    ],
)
def test_names_that_lead_out_are_refused(file: Write, archive: Any, name: str) -> None:
    said = refusal(file(archive({"a/good.txt": b"x", name: b"x"})))
    assert "could lead out of its folder" in said
    assert repr(name)[1:-1] in said


def test_a_name_that_ends_at_a_zero_byte_is_refused(file: Write, archive: Any) -> None:
    content = archive({"a/evil_../x": b"x"}).replace(b"evil_", b"evil\0")
    assert "could lead out" in refusal(file(content))


def test_a_symbolic_link_is_refused(file: Write) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        link = zipfile.ZipInfo("a/passwords.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        written.writestr(link, "/etc/passwd")
    assert "'a/passwords.txt' is a symbolic link" in refusal(file(buffer.getvalue()))


def test_a_bomb_by_its_ratio_is_refused(file: Write, archive: Any) -> None:
    said = refusal(file(archive({"a/zeros.txt": bytes(8 * 2**20)})))
    assert "'a/zeros.txt' unpacks from" in said
    assert "a ZIP bomb" in said


def test_a_bomb_by_its_size_is_refused(
    file: Write, archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 1000)
    said = refusal(file(archive({f"a/{number}": bytes(400) for number in range(3)})))
    assert said == "the archive unpacks to 1200 bytes; at most 1000 are allowed"


def test_too_many_entries_are_refused(
    file: Write, archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 5)
    said = refusal(file(archive({f"a/{number}": b"" for number in range(6)})))
    assert said == "the archive has 6 entries; at most 5 are allowed"


def test_entries_that_share_their_bytes_are_refused(file: Write) -> None:
    """Fifield's bomb: every entry of the directory names the same packed bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        written.writestr("a/1", b"x" * 100)
        first = written.infolist()[0]
        for number in range(2, 5):
            twin = zipfile.ZipInfo(f"a/{number}")
            twin.header_offset, twin.CRC = first.header_offset, first.CRC
            twin.compress_size, twin.file_size = first.compress_size, first.file_size
            written.filelist.append(twin)
            written.NameToInfo[twin.filename] = twin
    assert "shares its bytes with another entry" in refusal(file(buffer.getvalue()))


def test_an_archive_within_is_refused(file: Write, archive: Any) -> None:
    inner = archive({"x": b"x"})
    for name in ("a/inner.zip", "a/INNER.ZIP", "a/inner.tar.gz"):
        assert "an archive within the archive" in refusal(file(archive({name: inner})))


def test_an_entry_that_is_more_than_it_says_is_refused(file: Write, archive: Any) -> None:
    content = bytearray(archive({"a/x": b"y" * 1000}))
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        struct.pack_into("<I", content, content.index(signature) + offset, 10)
    with opened(file(bytes(content))) as read, pytest.raises(InvalidArgument, match="is damaged"):
        read.read(read.entries["a/x"])


def test_what_is_spoilt_encrypted_or_strangely_packed_is_refused(file: Write, archive: Any) -> None:
    content = bytearray(archive({"a/x": b"y" * 1000}, zipfile.ZIP_STORED))
    content[100] ^= 1
    with opened(file(bytes(content))) as read, pytest.raises(InvalidArgument, match="is damaged"):
        read.read(read.entries["a/x"])
    locked = bytearray(archive({"a/x": b"y"}))
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        locked[locked.index(signature) + offset] |= 1
    assert "is encrypted" in refusal(file(bytes(locked)))
    strange = archive({"a/x": b"y" * 1000}, zipfile.ZIP_LZMA)
    assert "packed by method 14; allowed are stored and deflated" in refusal(file(strange))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(file: Write) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        for text in ("seen", "served"):
            written.writestr("a/x.txt", text)
    assert "two entries called 'a/x.txt'" in refusal(file(buffer.getvalue()))


@given(content=st.binary(max_size=300), cut=st.integers(0, 400), flip=st.integers(0, 400))
def test_nothing_but_a_refusal_comes_of_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, cut: int, flip: int
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("a/x", content)
    bad = bytearray(buffer.getvalue())
    if flip < len(bad):
        bad[flip] ^= 0xFF
    path = tmp_path_factory.mktemp("bytes") / "upload"
    path.write_bytes(bytes(bad[:cut]) if cut < len(bad) else bytes(bad))
    try:
        with opened(path) as read:
            for entry in read.entries.values():
                read.read(entry)
    except InvalidArgument as error:
        assert error.message
