"""From texts to token ids and back: one function for who trains, who serves and who asks.

    vocabulary = Vocabulary.build(texts, "word", 10_000)
    ids = vocabulary.encode(["Ein Haus", "a house"])  # (2, T) int64, 0 where a text has ended

Knows no network and no transport. Nothing here may change what it answers for a vocabulary that
exists: models in stores were trained with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any, Literal, Self, get_args

import numpy as np

from wintergarden.byte_pair import BytePairs, content
from wintergarden.errors import InvalidArgument

Level = Literal["character", "word", "byte-pair"]
PADDING, UNKNOWN, FIRST = 0, 1, 2
BEGIN, END = 2, 3
"""Of a vocabulary that is marked; its tokens come after them."""

_MARKS = 2
_WORD = re.compile(r"\w+|[^\w\s]")
_WORD_OR_SPACE = re.compile(r"\w+|[^\w\s]|\s+")
_SPACE = re.compile(r"\s+")

Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their ids.

    0 is no token and 1 one that is not here. Then come, where it is marked, 2 for the begin of a
    text and 3 for its end; then the tokens.

    Attributes:
        level: characters, as they are; words and signs, in small letters; or byte pairs.
        tokens: in the order of their ids.
        max_tokens: of a text, without its marks; what follows them is cut off.
        is_marked: whether there are ids for begin and end: texts of it can be generated.
        is_verbatim: whether white space and capital letters stay, as in source code.
        merges: of byte pairs: "left right", in the order in which they are made.
    """

    level: Level
    tokens: tuple[str, ...]
    max_tokens: int
    is_marked: bool = False
    is_verbatim: bool = False
    merges: tuple[str, ...] = ()

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        level: Level,
        size: int,
        max_tokens: int = 1024,
        *,
        is_marked: bool = False,
        is_verbatim: bool = False,
    ) -> Self:
        """The most frequent tokens of texts, at most `size`; of equal ones the first in order.

        Raises:
            InvalidArgument: byte pairs are not counted but learnt; the trainer does it.
        """
        if level == "byte-pair":
            raise InvalidArgument("byte pairs are learnt by the trainer", field="level")
        counts = Counter(token for text in texts for token in split(text, level, is_verbatim))
        ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        tokens = tuple(token for token, _ in ordered[:size])
        return cls(level, tokens, max_tokens, is_marked, is_verbatim)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """As a manifest has it, under `vocabulary` or `target_vocabulary`.

        Raises:
            InvalidArgument: it is none.
        """
        try:
            level, tokens = fields["level"], tuple(map(str, fields["tokens"]))
            if level not in get_args(Level):
                raise ValueError(f"level {level!r:.40}")
            merges = tuple(map(str, fields.get("merges", ())))
            if level == "byte-pair":
                BytePairs(merges)
                for token in tokens:
                    content(token)
            return cls(
                level,
                tokens,
                int(fields["max_tokens"]),
                bool(fields.get("is_marked", False)),
                bool(fields.get("is_verbatim", False)),
                merges,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgument(f"no vocabulary: {error}", field="vocabulary") from error

    def to_fields(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "level": self.level,
            "tokens": list(self.tokens),
            "max_tokens": self.max_tokens,
            "is_marked": self.is_marked,
            "is_verbatim": self.is_verbatim,
            "merges": list(self.merges),
        }

    @property
    def size(self) -> int:
        """How many ids there are, padding, unknown and marks among them."""
        return len(self.tokens) + self._first

    @property
    def is_spaced(self) -> bool:
        """Whether a space stands between tokens that are written down."""
        return self.level == "word" and not self.is_verbatim

    @property
    def begin(self) -> int | None:
        """The id that begins a text; None where texts have none."""
        return BEGIN if self.is_marked else None

    @property
    def end(self) -> int | None:
        """The id that ends a text; None where texts have none."""
        return END if self.is_marked else None

    def encode(self, texts: Sequence[str], *, begin: bool = False, end: bool = False) -> Ids:
        """Ids (N, T), T being that of the longest text, and 1 where all are empty.

        Args:
            texts: N.
            begin: put the mark of it before each.
            end: put the mark of it after each that is not cut off.

        Raises:
            InvalidArgument: marks of a vocabulary that has none.
        """
        if (begin or end) and not self.is_marked:
            raise InvalidArgument("the vocabulary has no ids for begin and end", field="vocabulary")
        rows = [self._row(text, begin, end) for text in texts]
        ids = np.full((len(rows), max([1, *map(len, rows)])), PADDING, np.int64)
        for row, found in zip(ids, rows, strict=True):
            row[: len(found)] = found
        return ids

    def split(self, text: str) -> list[str]:
        """The tokens of a text, all of them, known or not."""
        if self.level == "byte-pair":
            return self._pairs.split(_plain(text, self.is_verbatim))
        return split(text, self.level, self.is_verbatim)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The token of each id, "" for padding and marks and "�" for one that is unknown.

        Of byte pairs as people can read them: a part of a character is "�" too.
        """
        return [piece.decode(errors="replace") for piece in map(self._content, ids)]

    def pieces(self, ids: Iterable[int]) -> list[bytes]:
        """What each id adds to the text, in UTF-8; with its space, where words have no other."""
        space = b" " if self.is_spaced else b""
        found = map(self._content, ids)
        return [space + piece if piece else piece for piece in found]

    def text(self, ids: Iterable[int]) -> str:
        """The text that ids say, up to its end or to padding."""
        there = takewhile(lambda number: number not in (PADDING, self.end), map(int, ids))
        said = b"".join(self.pieces(there)).decode(errors="replace")
        return said if self.is_verbatim else said.lstrip(" ")

    def _row(self, text: str, begin: bool, end: bool) -> list[int]:
        tokens = self.split(text)
        ids = [self._ids.get(token, UNKNOWN) for token in tokens[: self.max_tokens]]
        is_whole = len(tokens) <= self.max_tokens
        return [BEGIN] * begin + ids + [END] * (end and is_whole)

    def _content(self, number: int) -> bytes:
        return self._contents[number]

    @property
    def _first(self) -> int:
        return FIRST + (_MARKS if self.is_marked else 0)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens, start=self._first)}

    @cached_property
    def _contents(self) -> tuple[bytes, ...]:
        read = content if self.level == "byte-pair" else _utf8
        special = [b"", "�".encode(), *([b""] * (self._first - FIRST))]
        return (*special, *map(read, self.tokens))

    @cached_property
    def _pairs(self) -> BytePairs:
        return BytePairs(self.merges)


def split(text: str, level: Level, is_verbatim: bool = False) -> list[str]:
    """A text's characters or words, in Unicode's composed form, with one space for white space.

    Verbatim, every character is in one of the tokens, as it is.
    """
    plain = _plain(text, is_verbatim)
    if level == "character":
        return list(plain)
    return _WORD_OR_SPACE.findall(plain) if is_verbatim else _WORD.findall(plain.lower())


def _utf8(token: str) -> bytes:
    return token.encode(errors="replace")  # a lone half of a surrogate pair has none


def _plain(text: str, is_verbatim: bool) -> str:
    if is_verbatim:
        return text
    return _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()
