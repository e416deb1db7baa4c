"""Byte-pair encoding: words become pieces, and no text is unknown, for every byte is a piece.

Sennrich, Haddow, Birch, "Neural machine translation of rare words with subword units", ACL 2016,
§3.2, arXiv:1508.07909; over bytes, written as printable characters, as in Radford et al., "Language
models are unsupervised multitask learners", 2019, §2.2. Merges are learnt elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from heapq import heapify, heappop, heappush

CHUNK = r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+"
"""What pieces stay within: a word or signs with the space before them, or white space."""

_CHUNK = re.compile(CHUNK)
_CACHED_CHUNKS, _LONGEST_CACHED = 65_536, 64
_PRINTABLE = (range(0x21, 0x7F), range(0xA1, 0xAD), range(0xAE, 0x100))


def _alphabet() -> dict[int, str]:
    """A printable character for each byte: itself where it is one, else one above U+00FF."""
    characters = {byte: chr(byte) for part in _PRINTABLE for byte in part}
    others = (byte for byte in range(0x100) if byte not in characters)
    return characters | {byte: chr(0x100 + place) for place, byte in enumerate(others)}


_CHARACTER_OF = _alphabet()
_BYTE_OF = {character: byte for byte, character in _CHARACTER_OF.items()}

ALPHABET = tuple(sorted(_CHARACTER_OF.values()))
"""The pieces that there are without any merge, one for each byte."""


def content(piece: str) -> bytes:
    """The bytes that a piece stands for; one may begin or end within a character.

    Raises:
        KeyError: it is none.
    """
    return bytes(_BYTE_OF[character] for character in piece)


class BytePairs:
    """Takes texts apart.

    Args:
        merges: "left right", those learnt first in front; they are made first.

    Raises:
        ValueError: a merge is not of that form.
    """

    def __init__(self, merges: Sequence[str]) -> None:
        self._ranks: dict[tuple[str, str], int] = {}
        for rank, merge in enumerate(merges):
            left, right = merge.split(" ")
            self._ranks[left, right] = rank
        self._pieces_of = lru_cache(_CACHED_CHUNKS)(self._merged)

    def split(self, text: str) -> list[str]:
        """The pieces of a text."""
        return [
            piece
            for chunk in _CHUNK.findall(text)
            for piece in (
                self._pieces_of(chunk) if len(chunk) <= _LONGEST_CACHED else self._merged(chunk)
            )
        ]

    def _merged(self, chunk: str) -> tuple[str, ...]:
        """Of all neighbours the pair learnt first, from the left, until none is known.

        Time grows as n log n: a chunk may be a text without any space.
        """
        pieces = [_CHARACTER_OF[byte] for byte in chunk.encode()]
        count, ranks = len(pieces), self._ranks
        # Neighbours of each piece that is left; one that has gone into another is empty.
        right, left = list(range(1, count + 1)), list(range(-1, count - 1))
        waiting = [
            (rank, place)
            for place in range(count - 1)
            if (rank := ranks.get((pieces[place], pieces[place + 1]))) is not None
        ]
        heapify(waiting)
        while waiting:
            rank, place = heappop(waiting)
            other = right[place]
            if other == count or ranks.get((pieces[place], pieces[other])) != rank:
                continue  # one of the two has changed since
            pieces[place] += pieces[other]
            pieces[other] = ""
            right[place] = right[other]
            if right[place] < count:
                left[right[place]] = place
            for first in (left[place], place):
                if first < 0 or right[first] == count:
                    continue
                rank = ranks.get((pieces[first], pieces[right[first]]), -1)
                if rank >= 0:
                    heappush(waiting, (rank, first))
        return tuple(filter(None, pieces))
