from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.explanation.cache import ByteBoundedCache


def test_keeps_what_was_used_last_within_its_bytes() -> None:
    cache = ByteBoundedCache(10)
    for key in "abc":
        assert cache.get(key, lambda key=key: (key.upper(), 4)) == key.upper()
    assert cache.bytes == 8
    made: list[str] = []

    def again(key: str) -> str:
        return cache.get(key, lambda: (made.append(key) or key, 4))

    again("b"), again("c"), again("a"), again("c")
    assert made == ["a"]  # and b went, used longest ago
    again("b")
    assert made == ["a", "b"]


def test_what_is_too_large_is_given_and_not_kept() -> None:
    cache = ByteBoundedCache(10)
    assert cache.get("large", lambda: ("value", 11)) == "value"
    assert len(cache) == 0
    assert cache.bytes == 0


def test_many_who_ask_at_once_wait_for_one_to_make_it() -> None:
    cache, started, made = ByteBoundedCache(100), threading.Barrier(4), []

    def ask() -> str:
        started.wait()
        return cache.get("key", lambda: (made.append(1) or "value", 1))

    with ThreadPoolExecutor(4) as pool:
        assert {job.result() for job in [pool.submit(ask) for _ in range(4)]} == {"value"}
    assert len(made) == 1


def test_a_failure_is_not_kept() -> None:
    cache = ByteBoundedCache(100)
    with pytest.raises(ZeroDivisionError):
        cache.get("key", lambda: 1 / 0)
    assert cache.get("key", lambda: ("value", 1)) == "value"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=60))
def test_the_bound_holds(requests: list[tuple[int, int]]) -> None:
    cache, sizes = ByteBoundedCache(100), {}
    for key, size in requests:
        cache.get(key, lambda key=key, size=size: (sizes.setdefault(key, size), size))
        assert 0 <= cache.bytes <= 100


def test_what_is_made_twice_counts_once() -> None:
    """After a failure two may make the same: those that waited for it, and one that comes."""
    cache = ByteBoundedCache(10)
    for _ in range(3):
        cache._keep("a", "A", 4)
    assert cache.bytes == 4
    assert cache.get("b", lambda: ("B", 6)) == "B"
    assert (len(cache), cache.bytes) == (2, 10)
