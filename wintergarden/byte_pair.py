"""Byte-pair encoding: words become pieces, and no text is unknown, for every byte is a piece.

Sennrich, Haddow, Birch, "Neural machine translation of rare words with subword units", ACL 2016,
§3.2, arXiv:1508.07909; over bytes, written as printable characters, as in Radford et al., "Language
models are unsupervised multitask learners", 2019, §2.2. Merges are learnt elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

CHUNK = r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+"
"""What pieces stay within: a word or signs with the space before them, or white space."""

_CHUNK = re.compile(CHUNK)
_CACHED_CHUNKS = 65_536
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
        return [piece for chunk in _CHUNK.findall(text) for piece in self._pieces_of(chunk)]

    def _merged(self, chunk: str) -> tuple[str, ...]:
        pieces = [_CHARACTER_OF[byte] for byte in chunk.encode()]
        while len(pieces) > 1:
            pairs = list(pairwise(pieces))
            first = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if first not in self._ranks:
                break
            pieces = _merge(pieces, first)
        return tuple(pieces)


def _merge(pieces: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """With every occurrence of a pair, from the left, made one piece."""
    merged: list[str] = []
    place = 0
    while place < len(pieces):
        if tuple(pieces[place : place + 2]) == pair:
            merged.append("".join(pair))
            place += 2
        else:
            merged.append(pieces[place])
            place += 1
    return merged
