from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from wintergarden.store import FileInfo
from wintergarden.store.cache import Cache


def info(content: bytes) -> FileInfo:
    return FileInfo(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def test_what_was_added_is_there(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "deep" / "cache")
    assert cache.get(info(b"abc")) is None
    path = cache.add([b"a", b"bc"], info(b"abc"))
    assert isinstance(path, Path)
    assert path.read_bytes() == b"abc"
    assert cache.get(info(b"abc")) == path


def test_what_was_not_expected_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.add([b"abd"], info(b"abc")) == info(b"abd")
    assert list(tmp_path.iterdir()) == []


def test_the_endless_is_cut_off(tmp_path: Path) -> None:
    endless = iter(lambda: b"x" * 1000, None)
    got = Cache(tmp_path).add(endless, info(b"x" * 10_000))
    assert isinstance(got, FileInfo)
    assert got.bytes == 11_000


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=25)
    contents = [bytes([i]) * 10 for i in range(4)]
    paths = []
    for age, content in zip((5, 4, 3), contents, strict=False):
        path = cache.add([content], info(content))
        assert isinstance(path, Path)
        os.utime(path, (0, time.time() - age * 86_400))
        paths.append(path)
    assert [path.exists() for path in paths] == [False, True, True]
    cache.get(info(contents[1]))  # used now
    cache.add([contents[3]], info(contents[3]))
    assert [path.exists() for path in paths] == [False, True, False]


def test_what_was_just_handed_out_stays_whatever_the_limit(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=0)
    first, second = (cache.add([c], info(c)) for c in (b"a", b"b"))
    assert isinstance(first, Path)
    assert isinstance(second, Path)
    assert first.exists()
    assert second.exists()
