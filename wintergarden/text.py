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
from typing import Any, Literal, Self

import numpy as np

from wintergarden.errors import InvalidArgument

Level = Literal["character", "word"]
PADDING, UNKNOWN, FIRST = 0, 1, 2

_WORD = re.compile(r"\w+|[^\w\s]")
_SPACE = re.compile(r"\s+")

Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their ids: 0 is no token, 1 one that is not here, i + 2 the i-th of `tokens`.

    Attributes:
        level: characters, as they are, or words and signs, in small letters.
        tokens: in the order of their ids.
        max_tokens: of a text; what follows them is cut off.
    """

    level: Level
    tokens: tuple[str, ...]
    max_tokens: int

    @classmethod
    def build(cls, texts: Iterable[str], level: Level, size: int, max_tokens: int = 1024) -> Self:
        """The most frequent tokens of texts, at most `size`; of equal ones the first in order."""
        counts = Counter(token for text in texts for token in split(text, level))
        ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return cls(level, tuple(token for token, _ in ordered[:size]), max_tokens)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """As a manifest has it, under `vocabulary`.

        Raises:
            InvalidArgument: it is none.
        """
        try:
            level, tokens = fields["level"], tuple(map(str, fields["tokens"]))
            if level not in ("character", "word"):
                raise ValueError(f"level {level!r:.40}")
            return cls(level, tokens, int(fields["max_tokens"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgument(f"no vocabulary: {error}", field="vocabulary") from error

    def to_fields(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"level": self.level, "tokens": list(self.tokens), "max_tokens": self.max_tokens}

    @property
    def size(self) -> int:
        """How many ids there are, padding and unknown among them."""
        return len(self.tokens) + FIRST

    def encode(self, texts: Sequence[str]) -> Ids:
        """Ids (N, T), T being that of the longest text, and 1 where all are empty."""
        rows = [
            [self._ids.get(token, UNKNOWN) for token in split(text, self.level)[: self.max_tokens]]
            for text in texts
        ]
        ids = np.full((len(rows), max([1, *map(len, rows)])), PADDING, np.int64)
        for row, found in zip(ids, rows, strict=True):
            row[: len(found)] = found
        return ids

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The token of each id, "" for padding and "�" for one that is unknown."""
        named = ("", "�", *self.tokens)
        return [named[number] for number in ids]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens, start=FIRST)}


def split(text: str, level: Level) -> list[str]:
    """The tokens of a text; Unicode's composed form, and one space for any white space."""
    plain = _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()
    return list(plain) if level == "character" else _WORD.findall(plain.lower())
